"""A comparison as plain text, for logs and failures of tests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rectexport.runtime.base.metrics import REGIONS
from rectexport.runtime.base.shapes import format_shape
from rectexport.runtime.base.texts import printable
from rectexport.runtime.parity.outcome import ParityOutcome
from rectexport.runtime.parity.reports import LayerReport

#: Most failures and layers that are listed.
MOST = 12


def outcome_text(outcome: ParityOutcome) -> str:
    """What differs, outputs by case, and the layers that are farthest off by region."""
    failures = [printable(text) for text in outcome.failures]
    more = [f"and {len(failures) - MOST} more"] if len(failures) > MOST else []
    parts = ["\n".join([*failures[:MOST], *more])] if failures else []
    layers = [layer for case in outcome.cases for layer in case.layers]
    parts += [_outputs(outcome)] + ([_layers(outcome, layers)] if layers else [])
    return "\n\n".join([*parts, *map(printable, outcome.notes)])


def _outputs(outcome: ParityOutcome) -> str:
    rows = []
    for case in outcome.cases:
        sizes = ", ".join(format_shape(shape) for shape in case.shapes.values())
        for name, whole in case.outputs.items():
            regions = case.regions.get(name, {})
            near = [f"{regions[region].relative_l2:.1e}" if region in regions else "-" for region in REGIONS]
            rows.append([f"{case.label} {sizes}", name, f"{whole.max_abs:.1e}", f"{whole.relative_l2:.1e}", *near])
    return _table(["case", "output", "max abs", "rel. L2", *REGIONS], rows)


def _layers(outcome: ParityOutcome, layers: Sequence[LayerReport]) -> str:
    """The first layer that diverges, then those that are farthest off."""
    worst = sorted(layers, key=lambda layer: layer.worst[1], reverse=True)
    first = [] if outcome.divergence is None else [outcome.divergence]
    shown: list[LayerReport] = []
    for layer in (*first, *worst):
        if all(layer.tensor != other.tensor for other in shown) and len(shown) < MOST:
            shown.append(layer)
    rows = []
    for layer in shown:
        near = [f"{layer.regions[name].relative_l2:.1e}" if name in layer.regions else "-" for name in REGIONS]
        rows.append([layer.layer, f"{layer.whole.relative_l2:.1e}", *near])
    title = "first layer to diverge, then the farthest off" if first else "layers that are farthest off"
    return _table([title, "rel. L2", *REGIONS], rows)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [[printable(cell) for cell in row] for row in (heads, *rows)]
    widths = [max(len(row[column]) for row in lines) for column in range(len(heads))]
    return "\n".join(
        "  ".join(cell.ljust(width) if column == 0 else cell.rjust(width) for column, (cell, width) in enumerate(pairs))
        for pairs in ([*zip(row, widths, strict=True)] for row in lines)
    )
