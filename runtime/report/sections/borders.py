"""What stands beyond the border of each layer, and how far its corner and edge are from the reference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rectexport.runtime.report.documents import Parity
from rectexport.runtime.report.network.names import Names
from rectexport.runtime.report.plots.heat import severity, values

REGIONS = ("corner", "edge", "interior")
_NOTHING = "nothing"


@dataclass(frozen=True)
class BorderRow:
    """One layer: relative L2 of each region, the worst over all shapes; None where it was not compared."""

    layer: str
    operator: str
    border: str
    amounts: str
    distances: tuple[float | None, ...]


@dataclass(frozen=True)
class Borders:
    """The table, how many layers each kind of border has, and how many rows were left out."""

    rows: tuple[BorderRow, ...]
    counts: tuple[tuple[str, int], ...]
    more: int


def border_table(entries: Iterable[Any], parity: Parity, labels: Names, most: int) -> Borders | None:
    """The table of the manifest's `borders`, at most `most` layers with one; None for a package without them."""
    worst, names = _worst(parity)
    rows = [_row(entry, worst, names, labels) for entry in entries]
    if not rows:
        return None
    counts = Counter(row.border for row in rows)
    shown = [row for row in rows if row.border != _NOTHING][:most]
    return Borders(tuple(shown), tuple(counts.most_common()), len(rows) - len(shown) - counts[_NOTHING])


def _worst(parity: Parity) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    """tensor -> region -> the worst relative L2 over all shapes, and tensor -> the module that makes it."""
    worst: dict[str, dict[str, float]] = {}
    names: dict[str, str] = {}
    for case in parity.cases:
        for layer in case.layers:
            names[layer.tensor] = layer.name
            found = worst.setdefault(layer.tensor, {})
            for region, distance in values(layer).items():
                found[region] = max(found.get(region, 0.0), distance.relative_l2, key=severity)
    return worst, names


def _row(entry: Any, worst: Mapping[str, Mapping[str, float]], names: Mapping[str, str], labels: Names) -> BorderRow:
    tensors = [str(name) for name in entry["tensors"]]
    compared = next((name for name in tensors if name in worst), None)
    found = worst.get(compared or "", {})
    sides = zip((int(value) for value in entry["begins"]), (int(value) for value in entry["ends"]), strict=True)
    return BorderRow(
        layer=_label(tensors, str(entry["node"]), labels) if compared is None else names[compared],
        operator=str(entry["operator"]),
        border=str(entry["kind"]),
        amounts=" × ".join(str(begin) if begin == end else f"{begin}+{end}" for begin, end in sides),
        distances=tuple(found.get(region) for region in REGIONS),
    )


def _label(tensors: Iterable[str], node: str, labels: Names) -> str:
    """The module that makes one of the tensors; the node's name where none is known."""
    return next((label for tensor in tensors if (label := labels.of_tensor(tensor)) != tensor), node)
