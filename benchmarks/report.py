"""docs/benchmarks.md: a table and a plot for every operator and engine, from measured results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.cases import FLOOR, KINDS, Case, Kind
from benchmarks.chains import Chain
from benchmarks.common import save_svg
from rectexport.exporter.passes.lowering.choice import Costs
from rectexport.exporter.passes.lowering.machinery.form import AS_WRITTEN

NAMES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
#: Conclusions written by hand, copied into the page.
NOTES = Path(__file__).with_name("notes.md")
INTRODUCTION = """# Benchmarks of exact forms

Written by `make bench` on {date}: {processor}, {cores} cores, {engines}.

Everything is float32. Each model runs in a process of its own, and the models take turns in rounds. Figures are
medians, and the ± is half of a 95 % interval of the median. Times are those of a chain of equal layers (the `layers`
column) with ReLU between them. Ratios are to the graph as written, in the same rounds. *Chosen* is the form that
`--target` takes according to the committed cost table.

The raw figures are in [benchmarks.json](benchmarks.json).
"""


def write(document: Mapping[str, Any], costs: Mapping[str, Costs], out: Path) -> None:
    """Write benchmarks.md and the plots into the folder `out`."""
    machine = document["machine"]
    engines = ", ".join(f"{NAMES[name]} {machine[name]}" for name in costs)
    head = INTRODUCTION.format(**{**machine, "engines": engines, "date": document["date"]})
    sections = [head]
    for kind in KINDS:
        for engine, table in costs.items():
            rows = [row for row in document["forms"] if _is_of(row, kind, engine)]
            sections.append(_section(kind, engine, [_Row(row, kind, table) for row in rows], out))
    sections.append(_nets(document["nets"], out))
    if NOTES.exists():
        sections.append(NOTES.read_text(encoding="utf-8"))
    (out / "benchmarks.md").write_text("\n".join(sections), encoding="utf-8")


def _is_of(row: Mapping[str, Any], kind: Kind, engine: str) -> bool:
    return (row["engine"], row["operator"], row["kernel"]) == (engine, kind.operator, kind.kernel)


class _Row:
    """One shape of one operator on one engine."""

    def __init__(self, row: Mapping[str, Any], kind: Kind, costs: Costs) -> None:
        self.row, self.kind = row, kind
        self.forms = row["forms"]
        chain = Chain(row["channels"], row["size"], row["batch"], row["layers"])
        self.chosen = Case(kind, chain).chosen(costs)
        self.label = f"{row['channels']}×{row['size']}²" + (f"×{row['batch']}" if row["batch"] > 1 else "")

    @property
    def floor(self) -> float:
        """The floor's time divided by the time as written."""
        return float(self.forms[FLOOR]["ratio"]) * self.kind.floor_factor

    @property
    def ratio(self) -> float:
        """The chosen form's time divided by the time as written."""
        return float(self.forms[self.chosen]["ratio"])

    def cells(self) -> list[str]:
        row, forms = self.row, self.forms
        head = [str(row[name]) for name in ("channels", "size", "batch", "layers")]
        ratios = [
            f"{forms[form]['ratio']:.2f} ± {forms[form]['noise']:.2f}" for form in self.kind.forms_for(row["engine"])
        ]
        tail = [self.chosen, f"{self.ratio:.2f}", f"{self.ratio / self.floor:.2f}"]
        return [*head, f"{forms[AS_WRITTEN]['ms']:.2f}", *ratios, f"{self.floor:.2f}", *tail]


def _section(kind: Kind, engine: str, rows: Sequence[_Row], out: Path) -> str:
    title = f"{kind.title} on {NAMES[engine]}"
    heading = ["channels", "size", "batch", "layers", "as written, ms", *kind.forms_for(engine), "floor", "chosen"]
    lines = [_line([*heading, "chosen / as written", "chosen / floor"])]
    lines += [_line(["---"] * (len(heading) + 2)), *(_line(row.cells()) for row in rows)]
    plot = f"benchmarks-{kind.operator}-{kind.kernel}-{engine}.svg"
    _plot(title, rows, kind.forms_for(engine), out / plot)
    floors = [row.ratio / row.floor for row in rows]
    worst = max(row.ratio for row in rows)
    summary = (
        f"The floor is {kind.floor_text}. Chosen / floor: median {np.median(floors):.2f}, worst {max(floors):.2f}; "
        f"chosen / as written: worst {worst:.2f}."
    )
    return f"## {title}\n\n{summary}\n\n" + "\n".join(lines) + f"\n\n![{title}]({plot})\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plot(title: str, rows: Sequence[_Row], forms: Sequence[str], path: Path) -> None:
    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(rows))
    for form in forms:
        axes.plot(places, [row.forms[form]["ratio"] for row in rows], marker="o", linewidth=1, label=form)
    axes.plot(places, [row.floor for row in rows], color="grey", linestyle="--", label="floor")
    axes.scatter(places, [row.ratio for row in rows], s=120, facecolors="none", edgecolors="black", label="chosen")
    axes.axhline(1.0, color="black", linewidth=0.8)
    axes.set_xticks(places, [row.label for row in rows], rotation=45, ha="right")
    axes.set(title=title, ylabel="time / time as written", ylim=(0, 2.2))
    axes.legend(fontsize=8, ncols=2)
    save_svg(figure, path)


def _nets(results: Sequence[Mapping[str, Any]], out: Path) -> str:
    forms = list(dict.fromkeys(form for result in results for form in result["forms"]))
    lines = [_line(["engine", *(f"{form}" for form in forms)]), _line(["---"] * (len(forms) + 1))]
    figure = Figure(figsize=(8, 3.5), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(forms))
    for index, result in enumerate(results):
        own = [form for form in forms if form in result["forms"]]
        figures = {form: result["forms"][form] for form in own}
        cells = {
            form: f"{entry['ms']:.1f} ms ({entry['ratio']:.3f} ± {entry['noise']:.3f})"
            for form, entry in figures.items()
        }
        lines.append(_line([NAMES[result["engine"]], *(cells.get(form, "–") for form in forms)]))
        bars, errors = ([figures[form][what] for form in own] for what in ("ratio", "noise"))
        axes.bar(
            places[[forms.index(form) for form in own]] + 0.4 * index,
            bars,
            0.4,
            yerr=errors,
            label=NAMES[result["engine"]],
        )
    axes.set_xticks(places + 0.2, forms)
    axes.set(title="RF-ResNet-50", ylabel="time / time of the plain twin", ylim=(0, 1.3))
    axes.legend()
    save_svg(figure, out / "benchmarks-resnet50.svg")
    size = results[0]["size"]
    text = f"## RF-ResNet-50, {size}×{size}, batch 1\n\nRatios are to the plain twin.\n\n"
    return text + "\n".join(lines) + "\n\n![RF-ResNet-50](benchmarks-resnet50.svg)\n"
