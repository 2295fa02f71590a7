"""Tables of `rectexport parity`: outputs by case, layers by region, and the checks without reference."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from rectexport.cli.display import show_regions
from rectexport.runtime.base.metrics import Difference
from rectexport.runtime.base.shapes import format_shape
from rectexport.runtime.parity.metamorphic import Check
from rectexport.runtime.parity.outcome import ParityOutcome
from rectexport.runtime.parity.reports import CaseReport, LayerReport, worst_region

#: Most rows of the table of cases; the cases that agree best are left out.
MOST_CASES = 24


def show_outcome(console: Console, outcome: ParityOutcome, per_layer: bool) -> None:
    """Print all tables; the table of layers only if asked for, or if a layer diverges."""
    _show_cases(console, outcome.cases)
    layers = [layer for case in outcome.cases for layer in case.layers]
    if layers:
        show_regions(console, layers)
        if per_layer or outcome.divergence is not None:
            _show_layers(console, _worst_of_each(layers))
    _show_checks(console, outcome.checks)


def _show_cases(console: Console, cases: Sequence[CaseReport]) -> None:
    rows = [(case, name, value) for case in cases for name, value in case.outputs.items()]
    outputs = {name for _, name, _ in rows}
    texts = ("case", "output") if len(outputs) > 1 else ("case",)
    title = "Outputs" if len(outputs) != 1 else f"Output {outputs.pop()}"
    table = _table(title, texts, ("max abs", "rel. L2", "SNR dB", "cosine", "top-1", "top-5"), ("worst at",))
    worst = sorted(rows, key=lambda row: (not row[0].failures, -row[2].relative_l2))[:MOST_CASES]
    kept = {id(row) for row in worst}
    for row in rows:
        if id(row) in kept:
            table.add_row(*_case_row(*row, several=len(texts) > 1), style="red" if row[0].failures else None)
    console.print(table)
    if len(rows) > len(kept):
        console.print(f"and {len(rows) - len(kept)} more that agree better")


def _case_row(case: CaseReport, name: str, value: Difference, several: bool) -> list[str]:
    sizes = ", ".join(format_shape(shape) for shape in case.shapes.values())
    label = case.label if sizes in case.label else f"{case.label} {sizes}"
    distances = (f"{value.max_abs:.1e}", f"{value.relative_l2:.1e}", _decibels(value), f"{value.cosine:.7f}")
    top = ["" if share is None else f"{share:.0%}" for share in (value.top1, value.top5)]
    regions = case.regions.get(name, {})
    region = f" {worst_region(value, regions)[0]}" if regions else ""
    return [label, *([name] if several else []), *distances, *top, _at(value) + region]


def _show_layers(console: Console, layers: Sequence[LayerReport]) -> None:
    title = f"{len(layers)} inner tensors in the order they run, each at its worst"
    numbers = ("max abs", "rel. L2", "SNR dB")
    table = _table(title, ("layer", "tensor", "operator"), numbers, ("region", "worst pixel"))
    for layer in layers:
        region, relative = layer.worst
        pixel = "" if layer.worst_pixel is None else str(layer.worst_pixel.index)
        name = "" if layer.layer == layer.tensor else layer.layer
        distances = (f"{layer.whole.max_abs:.1e}", f"{relative:.1e}", _decibels(layer.regions.get(region, layer.whole)))
        table.add_row(name, layer.tensor, layer.operator, *distances, region, pixel)
    console.print(table)


def _worst_of_each(layers: Iterable[LayerReport]) -> list[LayerReport]:
    worst: dict[str, LayerReport] = {}
    for layer in layers:
        known = worst.get(layer.tensor)
        if known is None or not layer.worst[1] <= known.worst[1]:
            worst[layer.tensor] = layer
    return list(worst.values())


def _show_checks(console: Console, checks: Sequence[tuple[str, Check]]) -> None:
    table = _table("Without reference", ("check", "at", "found", "allowed"))
    for at, check in checks:
        table.add_row(check.name, at, _found(check), str(check.bound), style="red" if check.failures else None)
    console.print(table)
    for bound in dict.fromkeys(check.bound for _, check in checks):
        console.print(f"{bound}: {bound.reason}", markup=False, soft_wrap=True)


def _table(title: str, texts: Sequence[str], numbers: Sequence[str] = (), more: Sequence[str] = ()) -> Table:
    """A table without lines between columns, to fit 80 characters. Long texts are folded."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in (*texts, *numbers, *more):
        left = heading not in numbers
        table.add_column(heading, justify="left" if left else "right", no_wrap=heading not in texts, overflow="fold")
    return table


def _found(check: Check) -> str:
    if check.skipped:
        return f"skipped: {check.skipped}"
    found = "bit-equal" if check.bit_equal else f"relative L2 {check.worst:.1e}"
    return f"FAILED, {found}" if check.failures else found


def _decibels(value: Difference) -> str:
    return f"{value.snr_db:.0f}"


def _at(value: Difference) -> str:
    return "" if value.worst is None else str(value.worst.index)
