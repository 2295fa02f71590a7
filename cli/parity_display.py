"""What `rectexport parity` shows: outputs by case, layers by region, and the checks without reference."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

from rectexport.cli.display import show_regions
from rectexport.runtime.metamorphic import Check
from rectexport.runtime.metrics import Difference
from rectexport.runtime.parity import CaseReport, LayerReport, worst_region
from rectexport.runtime.parity_run import Outcome
from rectexport.runtime.shapes import format_shape

#: Rows of the table of cases; beyond them those that agree best are left out.
MOST_CASES = 24


def show_outcome(console: Console, outcome: Outcome, per_layer: bool) -> None:
    """All tables; every layer only where asked for, or where one diverges."""
    _show_cases(console, outcome.cases)
    layers = [layer for case in outcome.cases for layer in case.layers]
    if layers:
        show_regions(console, layers)
        if per_layer or outcome.divergence is not None:
            _show_layers(console, _worst_of_each(layers))
    _show_checks(console, outcome.checks)


def _show_cases(console: Console, cases: Sequence[CaseReport]) -> None:
    rows = [(case, name, value) for case in cases for name, value in case.outputs.items()]
    table = Table(title="Outputs", title_justify="left")
    for heading in ("case", "output", "max abs", "rel. L2", "SNR dB", "cosine", "top-1", "top-5", "worst at"):
        left = heading in ("case", "output", "worst at")
        table.add_column(heading, justify="left" if left else "right", overflow="fold")
    worst = sorted(rows, key=lambda row: (not row[0].failures, -row[2].relative_l2))[:MOST_CASES]
    kept = {id(row) for row in worst}
    for row in rows:
        if id(row) in kept:
            table.add_row(*_case_row(*row))
    console.print(table)
    if len(rows) > len(kept):
        console.print(f"and {len(rows) - len(kept)} more that agree better")


def _case_row(case: CaseReport, name: str, value: Difference) -> list[str]:
    sizes = ", ".join(format_shape(shape) for shape in case.shapes.values())
    top = ["" if share is None else f"{share:.0%}" for share in (value.top1, value.top5)]
    cosine = f"{value.cosine:.7f}"
    regions = case.regions.get(name, {})
    region = f" {worst_region(value, regions)[0]}" if regions else ""
    label = case.label if case.label in (sizes, *case.shapes) or sizes in case.label else f"{case.label} {sizes}"
    return [
        label,
        name,
        f"{value.max_abs:.1e}",
        f"{value.relative_l2:.1e}",
        _decibels(value),
        cosine,
        *top,
        _at(value) + region,
    ]


def _show_layers(console: Console, layers: Sequence[LayerReport]) -> None:
    table = Table(title=f"{len(layers)} inner tensors in the order they run, each at its worst", title_justify="left")
    for heading in ("layer", "tensor", "operator", "max abs", "rel. L2", "SNR dB", "worst region", "worst pixel"):
        left = heading not in ("max abs", "rel. L2", "SNR dB")
        table.add_column(heading, justify="left" if left else "right", overflow="fold")
    for layer in layers:
        region, relative = layer.worst
        pixel = "" if layer.worst_pixel is None else str(layer.worst_pixel.index)
        name = "" if layer.layer == layer.tensor else layer.layer
        numbers = (f"{layer.whole.max_abs:.1e}", f"{relative:.1e}", _decibels(layer.regions.get(region, layer.whole)))
        table.add_row(name, layer.tensor, layer.operator, *numbers, region, pixel)
    console.print(table)


def _worst_of_each(layers: Iterable[LayerReport]) -> list[LayerReport]:
    worst: dict[str, LayerReport] = {}
    for layer in layers:
        known = worst.get(layer.tensor)
        if known is None or not layer.worst[1] <= known.worst[1]:
            worst[layer.tensor] = layer
    return list(worst.values())


def _show_checks(console: Console, checks: Sequence[tuple[str, Check]]) -> None:
    table = Table(title="Without reference", title_justify="left")
    for heading in ("check", "at", "found", "allowed"):
        table.add_column(heading, overflow="fold")
    for at, check in checks:
        table.add_row(check.name, at, _found(check), str(check.bound))
    console.print(table)
    for bound in dict.fromkeys(check.bound for _, check in checks):
        console.print(f"{bound}: {bound.reason}", markup=False, soft_wrap=True)


def _found(check: Check) -> str:
    if check.skipped:
        return f"skipped: {check.skipped}"
    found = "bit-equal" if check.bit_equal else f"relative L2 {check.worst:.1e}"
    return f"FAILED, {found}" if check.failures else found


def _decibels(value: Difference) -> str:
    return f"{value.snr_db:.0f}"


def _at(value: Difference) -> str:
    return "" if value.worst is None else str(value.worst.index)
