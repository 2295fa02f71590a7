"""docs/benchmarks.md: a table and a plot for every operator and engine, from measured results."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cases import FLOOR, KINDS, Case, Kind
from benchmarks.chains import Chain
from benchmarks.plotting import COLOURS, INK, MARKERS, QUIET, legend_of, new_figure, save_svg, set_title
from rectexport.exporter.passes.lowering.choice import Costs
from rectexport.exporter.passes.lowering.machinery.form import AS_WRITTEN

NAMES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
#: Conclusions written by hand, copied into the page.
NOTES = Path(__file__).with_name("notes.md")
#: Where the axis of the plots ends, in times of the graph as written.
RIGHT = 2.2
FLOOR_MARK = {"marker": "|", "color": QUIET, "markersize": 15, "markeredgewidth": 2}
CHOSEN_MARK = {"marker": "o", "color": INK, "markersize": 12, "markerfacecolor": "none"}
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
            if rows:  # an operator that was added since has not been measured
                sections.append(_section(kind, engine, [_Row(row, kind, table) for row in rows], out))
    sections.append(_nets(document["nets"], out))
    if NOTES.exists():
        sections.append(NOTES.read_text(encoding="utf-8"))
    (out / "benchmarks.md").write_text("\n".join(sections), encoding="utf-8")


def _is_of(row: Mapping[str, Any], kind: Kind, engine: str) -> bool:
    own = (engine, kind.operator, kind.kernel, kind.variant)
    return (row["engine"], row["operator"], row["kernel"], row.get("variant", "")) == own


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
        """The chosen form's time divided by the time as written; NaN where that form was not measured here.

        Kinds of one operator share its entries in the cost table, but not all of them are measured in each form.
        """
        return float(self.forms[self.chosen]["ratio"]) if self.chosen in self.forms else math.nan

    def cells(self, known: Sequence[str]) -> list[str]:
        """The row of the table, with a column for each of these forms."""
        row, forms = self.row, self.forms
        head = [str(row[name]) for name in ("channels", "size", "batch", "layers")]
        ratios = [f"{forms[form]['ratio']:.2f} ± {forms[form]['noise']:.2f}" for form in known]
        tail = [self.chosen, *(f"{value:.2f}".replace("nan", "–") for value in (self.ratio, self.ratio / self.floor))]
        return [*head, f"{forms[AS_WRITTEN]['ms']:.2f}", *ratios, f"{self.floor:.2f}", *tail]


def _section(kind: Kind, engine: str, rows: Sequence[_Row], out: Path) -> str:
    title = f"{kind.title} on {NAMES[engine]}"
    known = [form for form in kind.forms_for(engine) if all(form in row.forms for row in rows)]  # a new one is not yet
    heading = ["channels", "size", "batch", "layers", "as written, ms", *known, "floor", "chosen"]
    lines = [_line([*heading, "chosen / as written", "chosen / floor"])]
    lines += [_line(["---"] * (len(heading) + 2)), *(_line(row.cells(known)) for row in rows)]
    name = f"{kind.operator}-{kind.variant}" if kind.variant else kind.operator
    plot = f"benchmarks-{name}-{kind.kernel}-{engine}.svg"
    _plot(title, rows, known, out / plot)
    measured = [row for row in rows if not math.isnan(row.ratio)]
    floors = [row.ratio / row.floor for row in measured]
    worst = max(row.ratio for row in measured)
    summary = (
        f"The floor is {kind.floor_text}. Chosen / floor: median {np.median(floors):.2f}, worst {max(floors):.2f}; "
        f"chosen / as written: worst {worst:.2f}."
    )
    return f"## {title}\n\n{summary}\n\n" + "\n".join(lines) + f"\n\n![{title}]({plot})\n\n{_seen(rows)}\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plot(title: str, rows: Sequence[_Row], known: Sequence[str], path: Path) -> None:
    """A panel for each size and batch, a line of dots for each number of channels; times begin at zero."""
    sizes = sorted({row.row["size"] for row in rows})
    batches = sorted({row.row["batch"] for row in rows})
    channels = sorted({row.row["channels"] for row in rows})
    forms = [form for form in known if form != AS_WRITTEN]
    height = 1.1 + len(batches) * (0.55 + 0.33 * len(channels))
    figure, panels = new_figure(len(batches), len(sizes), (9.5, height), sharex=True, sharey=True)
    for batch, line in zip(batches, panels, strict=True):
        for size, axes in zip(sizes, line, strict=True):
            set_title(axes, f"{size} × {size}, batch {batch}")
            axes.axvline(1.0, color=INK, linewidth=1)
            for row in (row for row in rows if (row.row["size"], row.row["batch"]) == (size, batch)):
                _dots(axes, row, forms, channels.index(row.row["channels"]))
    panels[0, 0].set(xlim=(0, RIGHT), ylim=(len(channels) - 0.5, -0.5), yticks=range(len(channels)))
    panels[0, 0].set_yticklabels([str(count) for count in channels])
    for axes in panels[-1]:
        axes.set_xlabel("time / time as written")
    for axes in panels[:, 0]:
        axes.set_ylabel("channels")
    styles = {form: {"marker": MARKERS[i], "color": COLOURS[i], "markersize": 6} for i, form in enumerate(forms)}
    legend_of(figure, {**styles, "floor": FLOOR_MARK, "chosen": CHOSEN_MARK})
    save_svg(figure, path)


def _dots(axes: Any, row: _Row, forms: Sequence[str], place: int) -> None:
    """The forms of one shape. What is beyond the axis stands at its end with its number."""
    for index, form in enumerate(forms):
        ratio = row.forms[form]["ratio"]
        at = min(ratio, RIGHT - 0.06)
        axes.plot(at, place, linestyle="none", marker=MARKERS[index], color=COLOURS[index], markersize=6, zorder=3)
        if at < ratio:
            axes.annotate(f"{ratio:.1f}", (at - 0.05, place), ha="right", va="center", fontsize=8, color=COLOURS[index])
    axes.plot(row.floor, place, linestyle="none", **FLOOR_MARK)
    if not math.isnan(row.ratio):
        axes.plot(min(row.ratio, RIGHT - 0.06), place, linestyle="none", **CHOSEN_MARK)


def _seen(rows: Sequence[_Row]) -> str:
    """A sentence that says what is to be seen."""
    faster = [row for row in rows if row.chosen != AS_WRITTEN and not math.isnan(row.ratio)]
    if not faster:
        return "For every shape the graph as written is chosen (the ring on the line at 1)."
    best = min(faster, key=lambda row: row.ratio)
    return (
        f"For {len(faster)} of {len(rows)} shapes the chosen form (ringed) is faster than the graph as written, the "
        f"line at 1. The largest gain is at {best.row['channels']} channels, {best.row['size']} × "
        f"{best.row['size']}, batch {best.row['batch']}, where `{best.chosen}` takes {best.ratio:.2f} of its time."
    )


def _net_cell(entry: Mapping[str, Any] | None) -> str:
    return "–" if entry is None else f"{entry['ms']:.1f} ms ({entry['ratio']:.3f} ± {entry['noise']:.3f})"


def _net_bars(axes: Any, entries: Mapping[int, Mapping[str, Any]], forms: Sequence[str]) -> None:
    """A bar from zero for each form that the engine has, at its place, with its number."""
    colours = [COLOURS[0] if forms[place] == "chosen" else QUIET for place in entries]
    ratios, noise = ([entry[what] for entry in entries.values()] for what in ("ratio", "noise"))
    axes.barh(list(entries), ratios, 0.6, color=colours, xerr=noise)
    for place, entry in entries.items():
        axes.annotate(f"{entry['ratio']:.3f}", (entry["ratio"] + entry["noise"] + 0.02, place), va="center")
    axes.set_xlabel("time / time of the plain twin")
    axes.set(yticks=range(len(forms)), yticklabels=forms, xlim=(0, 1.1 * max(*ratios, 1.1)))
    axes.grid(axis="y", visible=False)


def _nets(results: Sequence[Mapping[str, Any]], out: Path) -> str:
    forms = list(dict.fromkeys(form for result in results for form in result["forms"]))
    lines = [_line(["engine", *(f"{form}" for form in forms)]), _line(["---"] * (len(forms) + 1))]
    figure, panels = new_figure(1, len(results), (9.5, 0.9 + 0.32 * len(forms)), sharex=True, sharey=True)
    for axes, result in zip(panels[0], results, strict=True):
        lines.append(_line([NAMES[result["engine"]], *(_net_cell(result["forms"].get(form)) for form in forms)]))
        _net_bars(axes, {forms.index(form): entry for form, entry in result["forms"].items()}, forms)
        set_title(axes, NAMES[result["engine"]])
    panels[0, 0].invert_yaxis()
    save_svg(figure, out / "benchmarks-resnet50.svg")
    seen = "; ".join(
        f"on {NAMES[entry['engine']]} the chosen forms cost {entry['forms']['chosen']['ratio'] - 1:+.1%} over the "
        f"plain twin, the graph as written {entry['forms']['as_written']['ratio'] - 1:+.1%}"
        for entry in results
        if {"chosen", "as_written"} <= entry["forms"].keys()
    )
    size = results[0]["size"]
    text = f"## RF-ResNet-50, {size}×{size}, batch 1\n\nRatios are to the plain twin.\n\n"
    return text + "\n".join(lines) + f"\n\n![RF-ResNet-50](benchmarks-resnet50.svg)\n\n{seen[:1].upper()}{seen[1:]}.\n"
