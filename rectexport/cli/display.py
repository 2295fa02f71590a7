"""Progress of the steps of a command, and the tables of an export."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

from rectexport.cli.failure import check_interrupted
from rectexport.runtime.base.metrics import REGIONS
from rectexport.runtime.base.texts import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rectexport.exporter.checking.parity import ParityReport
    from rectexport.exporter.passes.lowering import Considered, Decision
    from rectexport.runtime.parity.reports import LayerReport

BAR_WIDTH = 24


class Progress:
    """A listener that shows the running step with a spinner and each finished one with its seconds.

    verbose keeps the lines of detail too.
    """

    def __init__(self, console: Console, verbose: bool = False) -> None:
        self._console = console
        self._verbose = verbose
        self._status: Status | None = None
        self._lines: list[str] = []

    def started(self, step: str) -> None:
        """Show the spinner."""
        self._lines = []
        self._status = self._console.status(Text(f"{step} …"))
        self._status.start()

    def said(self, text: str) -> None:
        """Keep a line for when the step ends; show it beside the spinner meanwhile."""
        self._lines.append(text)
        self._show(text)

    def detailed(self, text: str) -> None:
        """The same for a detail, which is kept only when verbose."""
        if self._verbose:
            self._lines.append(text)
        self._show(text)

    def advanced(self, done: int, total: int, text: str) -> None:
        """Show a bar of the step's parts beside the spinner."""
        if self._status:
            filled = BAR_WIDTH * done // total
            self._status.update(Text(f"{'━' * filled}{'╌' * (BAR_WIDTH - filled)} {done}/{total} {text}"))

    def named(self, text: str) -> None:
        """Show what is being done beside the spinner; it is not kept."""
        check_interrupted()
        self._show(text)

    def finished(self, step: str, seconds: float) -> None:
        """Print the step with its time and its lines; raise an interrupt that the step swallowed."""
        check_interrupted()
        self.stop()
        self._console.print(Text(f"{step:<10}{seconds:7.2f} s", style="bold"))
        for line in self._lines:
            self._console.print(Text(f"  {line}"), soft_wrap=True)  # unbroken, to be copied or searched

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Remove the spinner."""
        if self._status:
            self._status.stop()
            self._status = None

    def _show(self, text: str) -> None:
        if self._status:
            self._status.update(Text(text))


def show_parity(console: Console, report: ParityReport) -> None:
    """Outputs by case, then the worst layer of each region."""
    table = Table(title=f"Parity with {report.reference}", title_justify="left")
    for heading in ("case", "output", "max abs", "relative L2", "cosine", "top-1"):
        table.add_column(heading, justify="left" if heading in ("case", "output") else "right", overflow="fold")
    for case in report.cases:
        shapes = ", ".join("x".join(map(str, shape)) for shape in case.shapes.values())
        for name, value in case.outputs.items():
            top1 = "" if value.top1 is None else f"{value.top1:.2%}"
            numbers = (f"{value.max_abs:.1e}", f"{value.relative_l2:.1e}", f"{value.cosine:.9f}", top1)
            table.add_row(f"{case.label} {shapes}", Text(printable(name)), *numbers)
    console.print(table)
    layers = [layer for case in report.cases for layer in case.layers]
    if not layers:
        console.print("Inner layers were not compared: this kind of model does not name them.")
        return
    show_regions(console, layers)


def show_regions(console: Console, layers: Sequence[LayerReport]) -> None:
    """The worst layer of each region."""
    table = Table(title=f"By region, worst of {len(layers)} inner tensors", title_justify="left")
    for heading in ("region", "max abs", "relative L2", "layer"):
        table.add_column(heading, justify="right" if heading in ("max abs", "relative L2") else "left", overflow="fold")
    for region in REGIONS:
        present = [layer for layer in layers if region in layer.regions]
        if present:
            worst = max(present, key=lambda layer: layer.regions[region].relative_l2)
            value = worst.regions[region]
            table.add_row(region, f"{value.max_abs:.1e}", f"{value.relative_l2:.1e}", Text(printable(worst.layer)))
    console.print(table)


def show_decisions(console: Console, decisions: Sequence[Decision]) -> None:
    """The forms considered at every site, each with its cost or the reason against it; an arrow marks the one taken."""
    for decision in decisions:
        size = decision.shape
        shape = "" if size is None else f" {size.channels}→{size.outputs}, {size.height or '?'}×{size.width or '?'}"
        console.print(Text(printable(f"{decision.operator} {decision.node}{shape}"), style="bold"), soft_wrap=True)
        for entry in decision.considered:
            arrow = "→" if entry.form == decision.taken else " "
            console.print(Text(f"  {arrow} {entry.form:<12} {_cost(entry)}"), soft_wrap=True)
    if not decisions:
        console.print("No rectified convolution, even kernel or CReLU was found, so there was no form to choose.")


def _cost(entry: Considered) -> str:
    if entry.refusal:
        return f"refused: {entry.refusal}"
    return "cost unknown" if entry.cost is None else f"{entry.cost:.3f}"
