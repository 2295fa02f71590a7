"""The passes' changes, as the page shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rectexport.runtime.report.documents import PassChange, Rewrite, Rewrites
from rectexport.runtime.report.network.names import Names
from rectexport.runtime.report.rewrites.drawing import draw

#: How many node names the page lists for a pass; the manifest has all.
MAX_NAMES = 60
MAX_REASONS = 20

PURPOSES = {
    "batch_norm": "BatchNorm is folded into the convolution before it; across rectification, its shift stays after r",
    "lower_norm_conv": "normalisation before a convolution is folded into it",
    "lower_linear_convs": "adjacent convolutions without an activation between them become one",
    "lower_symmetric_conv": "even kernels with symmetric padding take the fastest exact form",
    "lower_crelu": "CReLU takes the fastest exact form",
    "lower_neg_concat": "a concatenation of x and −x takes the fastest exact form",
    "lower_rectify": "rectified convolution takes the fastest exact form",
    "boundary_pad": "borders become operators that every engine takes",
    "lower_boundary": "borders take the fastest exact form",
    "lower_circular": "circular borders take the fastest exact form",
    "wrap_pad": "circular padding becomes slices, which every engine takes",
    "resize_matrix": "resizing that the engine computes otherwise becomes products with constant matrices",
    "ceil_pool": "pools that round their size up are written so that the engine counts the right windows",
    "narrow_arithmetic": "8-bit arithmetic that wraps around is computed in 32 bits",
    "early_cast": "uint8 is cast before anything else is done with it",
    "dft_matrix": "a Fourier transform becomes a product with a constant matrix",
    "shared_weights": "a weight that convolutions of different kinds read is stored once for each kind",
    "rectify_fold": "height and width are fixed: the rectification r becomes a constant",
    "rectify_graph": "height or width is dynamic: r is computed from the shapes, once for each geometry",
    "inline": "remaining operators of ours become standard ones",
    "cleanup": "identities, duplicate constants and unused nodes are removed",
    "float16": "half precision, with float32 for nodes that need it",
}


@dataclass(frozen=True)
class OperatorRow:
    """Nodes of one operator before and after; shares are both counts in percent of the largest count."""

    name: str
    before: int
    after: int
    shares: tuple[str, str]


@dataclass(frozen=True)
class Drawing:
    """A kind of rewrite and its two drawings, as SVG; place: the module where it happened."""

    anchor: str
    place: str
    rewrite: Rewrite
    before: str
    after: str


@dataclass(frozen=True)
class PassView:
    """One pass; `delta` and `drawings` are empty if the package did not record them."""

    anchor: str
    name: str
    purpose: str
    fired: int
    names: tuple[tuple[str, str], ...]
    refused: int
    reasons: tuple[tuple[str, int, str], ...]
    delta: tuple[tuple[str, int], ...]
    kinds: int
    drawings: tuple[Drawing, ...]

    @property
    def idle(self) -> bool:
        """Whether the pass neither changed nor refused anything in this model."""
        return not self.fired and not self.refused and not self.delta


def operator_rows(rewrites: Rewrites) -> list[OperatorRow]:
    """Every operator of either graph: ours first, then by frequency."""
    names = {*rewrites.before, *rewrites.after}
    most = max([*rewrites.before.values(), *rewrites.after.values()], default=0) or 1
    rows = []
    for name in sorted(
        names, key=lambda name: (not name.startswith("rectexport."), -rewrites.after.get(name, 0), name)
    ):
        counts = rewrites.before.get(name, 0), rewrites.after.get(name, 0)
        rows.append(OperatorRow(name, *counts, (f"{100 * counts[0] / most:.1f}", f"{100 * counts[1] / most:.1f}")))
    return rows


def pass_views(
    passes: Sequence[Mapping[str, Any]], rewrites: Rewrites | None, names: Names, drawn: int
) -> list[PassView]:
    """The passes of a manifest, with their recorded changes and at most `drawn` drawings of each."""
    changes = {entry.name: entry for entry in rewrites.passes} if rewrites else {}
    return [
        _view(f"pass-{index}", entry, changes.get(str(entry["name"])), names, drawn)
        for index, entry in enumerate(passes)
    ]


def anchors(views: Sequence[PassView]) -> dict[str, str]:
    """Where the page shows a rewrite, by pass and by the tensor of a drawing."""
    by_pass = {view.name: view.anchor for view in views if not view.idle}
    by_tensor = {drawing.rewrite.tensor: drawing.anchor for view in views for drawing in view.drawings}
    return {**by_tensor, **by_pass}


def _view(anchor: str, entry: Mapping[str, Any], change: PassChange | None, names: Names, drawn: int) -> PassView:
    name, fired, refused = str(entry["name"]), entry["fired"], entry["refused"]
    reasons: dict[str, list[str]] = {}
    for refusal in refused:
        reasons.setdefault(str(refusal["reason"]), []).append(str(refusal["node"]))
    places = [str(place) for place in fired]
    return PassView(
        anchor=anchor,
        name=name,
        purpose=PURPOSES.get(name, ""),
        fired=len(fired),
        names=tuple((names.of_tensor(place), place) for place in places[:MAX_NAMES]),
        refused=len(refused),
        reasons=tuple(
            (reason, len(nodes), names.of_tensor(nodes[0])) for reason, nodes in list(reasons.items())[:MAX_REASONS]
        ),
        delta=tuple(change.delta.items()) if change else (),
        kinds=change.kinds if change else 0,
        drawings=tuple(
            Drawing(f"{anchor}-{index}", names.of_tensor(example.tensor), example, *draw(example, names))
            for index, example in enumerate(change.examples[:drawn])
        )
        if change
        else (),
    )
