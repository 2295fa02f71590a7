"""How one model's answers differ from another's, item by item: changed classes and the worst place of a region."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rectexport.runtime.base.metrics import Difference, compare_regions
from rectexport.runtime.base.runner import Array


@dataclass(frozen=True)
class Flip:
    """An item whose class differs from the reference's.

    margin   by how much the reference prefers its class to the next one: the difference of the two largest outputs
    target   the item's label, None without labels
    """

    item: str
    target: int | None
    expected: int
    actual: int
    margin: float

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dict(vars(self))


@dataclass(frozen=True)
class WorstItem:
    """The item that is farthest off in one region of the plane."""

    item: str
    difference: Difference

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"item": self.item, **self.difference.as_dict()}


@dataclass
class Differences:
    """Collects the differences of one engine, batch by batch.

    agreed    items, or pixels of dense outputs, whose largest entry has the same index; of `compared`
    margins   the reference's margin of every item
    regions   the worst item of each region, for outputs [N, C, H, W]
    """

    agreed: int = 0
    compared: int = 0
    flips: list[Flip] = field(default_factory=list)
    margins: list[float] = field(default_factory=list)
    regions: dict[str, WorstItem] = field(default_factory=dict)

    @property
    def agreement(self) -> float | None:
        """Share of equal classes; None where outputs are no classes."""
        return self.agreed / self.compared if self.compared else None

    @property
    def median_margin(self) -> float | None:
        """The reference's usual margin, to judge those of the flips by."""
        return float(np.median(self.margins)) if self.margins else None

    def worst(self) -> dict[str, str]:
        """What is wrong with each changed or farthest item, by its name: largest margins first, then the regions."""
        told: dict[str, list[str]] = {}
        for flip in sorted(self.flips, key=lambda flip: -flip.margin):
            label = "" if flip.target is None else f", label {flip.target}"
            text = f"{flip.expected} becomes {flip.actual}, margin {flip.margin:.3g}{label}"
            told.setdefault(flip.item, []).append(text)
        for region, found in self.regions.items():
            told.setdefault(found.item, []).append(f"worst {region}, {found.difference.snr_db:.1f} dB")
        return {item: "; ".join(lines) for item, lines in told.items()}

    def add(self, names: Sequence[str], expected: Array, actual: Array, targets: Array | None) -> None:
        """Compare a batch of outputs [N, ...] of the reference and the engine."""
        if expected.ndim == 2 and expected.shape[1] > 1:
            self._classes(names, expected, actual, targets)
        elif expected.ndim == 4:
            self._planes(names, expected, actual)

    def add_indices(self, expected: Array, actual: Array) -> None:
        """Compare a batch of classes, integers of any equal shape; they have no margins."""
        self.compared += expected.size
        self.agreed += int((expected == actual).sum())

    def _classes(self, names: Sequence[str], expected: Array, actual: Array, targets: Array | None) -> None:
        wanted, got = expected.argmax(axis=1), actual.argmax(axis=1)
        margins = margins_of(expected)
        self.compared += len(names)
        self.agreed += int((wanted == got).sum())
        self.margins += margins.tolist()
        labelled = targets is not None and targets.ndim == 1 and targets.dtype.kind in "iu"
        for index in map(int, np.flatnonzero(wanted != got)):
            target = int(targets[index]) if labelled and targets is not None else None
            flip = Flip(names[index], target, int(wanted[index]), int(got[index]), float(margins[index]))
            self.flips.append(flip)

    def _planes(self, names: Sequence[str], expected: Array, actual: Array) -> None:
        if expected.shape[1] > 1:
            same = expected.argmax(axis=1) == actual.argmax(axis=1)
            self.agreed, self.compared = self.agreed + int(same.sum()), self.compared + same.size
        for index, name in enumerate(names):
            _, regions = compare_regions(expected[index : index + 1], actual[index : index + 1])
            for region, difference in regions.items():
                worst = self.regions.get(region)
                if worst is None or not difference.relative_l2 <= worst.difference.relative_l2:
                    self.regions[region] = WorstItem(name, difference)


def margins_of(outputs: Array) -> NDArray[np.float64]:
    """The difference of the two largest entries of each row of [N, classes]."""
    top = np.partition(outputs.astype(np.float64), -2, axis=1)[:, -2:]
    margins: NDArray[np.float64] = top[:, 1] - top[:, 0]
    return margins
