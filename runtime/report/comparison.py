"""Builds the page that compares two packages: figures side by side, what differs, modules, operators, passes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rectexport.runtime.base.environment import require
from rectexport.runtime.base.files import replaced_file
from rectexport.runtime.package.folder import Package, check_outside
from rectexport.runtime.profiling.origins import Graph
from rectexport.runtime.report import text
from rectexport.runtime.report.documents import Latency, Parity
from rectexport.runtime.report.network.names import TOP
from rectexport.runtime.report.page import Documents, Read, read_documents
from rectexport.runtime.report.plots.heat import severity, values
from rectexport.runtime.report.plots.violin import plots
from rectexport.runtime.report.reading import faults_as_bad_input
from rectexport.runtime.report.scale import STEPS, Scale
from rectexport.runtime.report.sections.card import card
from rectexport.runtime.report.sections.headline import tiles
from rectexport.runtime.report.sections.quantized import quantized
from rectexport.runtime.report.template import rendered

#: Most modules in the table; those that differ come first.
MOST_MODULES = 300


@dataclass(frozen=True)
class Pair:
    """A fact of both packages; "" where one has none."""

    name: str
    first: str
    second: str

    @property
    def differs(self) -> bool:
        """Whether the two are not the same."""
        return self.first != self.second


@dataclass(frozen=True)
class ModuleRow:
    """A module in both: its operators as text, its worst relative L2 (None: not compared) and that one's colour."""

    path: str
    operators: tuple[str, str]
    distances: tuple[float | None, float | None]
    colours: tuple[str, str]

    @property
    def differs(self) -> bool:
        """Whether the operators are not the same."""
        return self.operators[0] != self.operators[1]


def write_comparison(package: Package, against: Package, out: Path, documents: Documents | None = None) -> None:
    """Write a page that compares a package with another one to `out`, which is replaced atomically.

    documents   of the first package; the latency of `rectexport bench PACKAGE --vs AGAINST` has both

    Raises as `write_report`.
    """
    require("jinja2")
    check_outside(out)
    first, second = _titles(package.path, against.path)
    page = build_comparison(package, against, first, second, documents)
    with replaced_file(out) as work:
        work.write_text(page, encoding="utf-8")


def _titles(first: Path, second: Path) -> tuple[str, str]:
    """The folders' names, or their paths where both have the same name."""
    paths = first.resolve(), second.resolve()
    if paths[0].name != paths[1].name:
        return paths[0].name, paths[1].name
    return str(first), str(second)


def build_comparison(
    package: Package, against: Package, first: str, second: str, documents: Documents | None = None
) -> str:
    """The page as text; first and second are what it calls the packages."""
    sides = []
    for side, name, given in ((package, first, documents), (against, second, None)):
        read = read_documents(side, name, given or Documents())
        with faults_as_bad_input(side.path / "manifest.json", "a manifest as an export writes it"):
            sides.append((read, _facts(read), _passes(read), _operators(read.graph)))
    (mine, facts, passes, operators), (theirs, other_facts, other_passes, other_operators) = sides
    latency = mine.latency
    view = {
        "sides": (mine, theirs),
        "figures": _pairs(facts["figures"], other_facts["figures"]),
        "facts": _pairs(facts["facts"], other_facts["facts"]),
        "passes": [pair for pair in _pairs(passes, other_passes) if pair.differs],
        "operators": _counted(operators, other_operators),
        "modules": _modules(mine, theirs),
        "most": MOST_MODULES,
        "steps": STEPS,
        "scale": _scale(mine.parity, theirs.parity),
        "latency": latency,
        "speed": _speed(latency, first, second),
        "plots": plots(latency.contestants) if latency else [],
    }
    return rendered("comparison.html.j2", view)


def _facts(read: Read) -> dict[str, dict[str, str]]:
    """Figures and facts of one package by name."""
    data = read.package.manifest.data
    own = card(read.package, read.name, read.rewrites)
    shown = tiles(data, own.size, read.parity, read.rewrites, read.latency, read.evaluated, quantized(data))
    tensors = {f"{entry.direction} {entry.name}": f"{entry.dtype} {entry.shape}" for entry in own.tensors}
    versions = {str(name): str(found or "not installed") for name, found in data["versions"].items()}
    proofs = {
        f"proof on {entry['engine']}": f"{entry['verdict']}, version {entry['version']}"
        for entry in data.get("proofs", ())
    }
    figures = {tile.name: tile.figure for tile in shown}
    return {"figures": figures, "facts": {**dict(own.facts), **tensors, **proofs, **versions}}


def _passes(read: Read) -> dict[str, str]:
    """How often each pass fired."""
    return {str(entry["name"]): str(len(entry["fired"])) for entry in read.package.manifest.data["passes"]}


def _pairs(first: Mapping[str, str], second: Mapping[str, str]) -> list[Pair]:
    """Both sides of every name, in the order of the first."""
    return [Pair(name, first.get(name, ""), second.get(name, "")) for name in dict.fromkeys([*first, *second])]


def _operators(graph: Graph) -> Counter[str]:
    return Counter(node.op for node in graph.nodes)


def _counted(first: Counter[str], second: Counter[str]) -> list[tuple[str, int, int, str, str]]:
    """Nodes of each operator in both, the most frequent first; and both counts in percent of the largest."""
    names = sorted({*first, *second}, key=lambda name: (-first[name] - second[name], name))
    most = max([*first.values(), *second.values()], default=0) or 1
    return [
        (name, first[name], second[name], f"{100 * first[name] / most:.1f}", f"{100 * second[name] / most:.1f}")
        for name in names
    ]


def _modules(mine: Read, theirs: Read) -> list[ModuleRow]:
    """Every module that has nodes or a distance in one of them; those whose operators differ first."""
    operators = [_operators_of(side.graph) for side in (mine, theirs)]
    distances = [_distances(side) for side in (mine, theirs)]
    scale = _scale(mine.parity, theirs.parity)
    names = dict.fromkeys([*operators[0], *operators[1], *distances[0], *distances[1]])
    rows = []
    for name in names:
        near = distances[0].get(name), distances[1].get(name)
        colours = ["" if value is None or scale is None else scale.colour(value) for value in near]
        told = operators[0].get(name, ""), operators[1].get(name, "")
        rows.append(ModuleRow(name, told, near, (colours[0], colours[1])))
    return sorted(rows, key=lambda row: not row.differs)


def _operators_of(graph: Graph) -> dict[str, str]:
    """Module -> its nodes in words."""
    found: dict[str, Counter[str]] = {}
    for node in graph.nodes:
        if node.module not in ("", TOP):
            found.setdefault(node.module, Counter())[node.op] += 1
    return {
        module: ", ".join(name if count == 1 else f"{count} {name}" for name, count in sorted(counts.items()))
        for module, counts in found.items()
    }


def _distances(read: Read) -> dict[str, float]:
    """Module -> the worst relative L2 of its tensors, over all shapes and regions."""
    found: dict[str, float] = {}
    for case in read.parity.cases:
        for layer in case.layers:
            for distance in values(layer).values():
                found[layer.name] = max(found.get(layer.name, 0.0), distance.relative_l2, key=severity)
    return found


def _scale(*sides: Parity) -> Scale | None:
    """One scale of colours for both, within the wider of the two tolerances."""
    found = [
        distance.relative_l2
        for side in sides
        for case in side.cases
        for layer in case.layers
        for distance in values(layer).values()
    ]
    if not found:
        return None
    return Scale.over(found, max(10 * side.tolerances.get("relative_l2", 0.0) for side in sides))


def _speed(latency: Latency | None, first: str, second: str) -> list[str]:
    """The measured ratios of the two packages' times, in words."""
    names = {first, second}
    known: Iterable[Any] = () if latency is None else latency.comparisons
    return [
        f"{text.short(entry.name, 60)} takes {entry.ratio:.3f} of the time of {text.short(entry.base, 60)} "
        f"({entry.low:.3f} to {entry.high:.3f} with 95 % confidence), "
        f"{text.short(entry.backend, 30)}, batch {entry.batch}: {text.short(entry.verdict, 40)}"
        for entry in known
        if {Path(entry.name).name, Path(entry.base).name} == {Path(name).name for name in names}
        or {entry.name, entry.base} == names
    ]
