"""`rectexport verify PACKAGE`: is it whole, and does it compute here what it computed where it was made?"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rectexport.cli.command import AsJson, Command
from rectexport.cli.display import Progress
from rectexport.cli.failure import reported, show_verdict
from rectexport.runtime.backends import AUTO, BACKENDS, TORCH, BackendOptions
from rectexport.runtime.errors import ParityError
from rectexport.runtime.verify import Verification, verify

app = typer.Typer(add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False)

_NAMES = ", ".join([AUTO, *(backend.name for backend in BACKENDS if backend.name != TORCH)])


@app.command(cls=Command, name="verify")
def verify_package(
    context: typer.Context,
    package: Annotated[Path, typer.Argument(metavar="PACKAGE", help="The folder of a package.", show_default=False)],
    backend: Annotated[str, typer.Option(metavar="NAME", help=f"Engine to run on: {_NAMES}.")] = AUTO,
    device: Annotated[int, typer.Option(metavar="N", min=0, help="Index of the GPU.")] = 0,
    threads: Annotated[int, typer.Option(metavar="N", min=0, help="Of a CPU engine; 0 leaves it to the engine.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Check a package where it is deployed; needs neither PyTorch nor ONNX.

    The manifest against its schema, every file against its sha256, and the example in it, run on this machine's
    engine, against PyTorch's own answer, within the package's tolerances.

    **Examples**

    - `rectexport verify out/digits` — on the fastest engine here
    - `rectexport verify out/digits --backend onnxruntime --json`

    **Exit codes**: 0 good · 1 damaged, or refused by the engine · 2 usage · 3 other answers than PyTorch's · 5 the
    engine is missing here
    """
    console = Console(stderr=as_json, highlight=False)
    again = ["rectexport", "verify", *(context.obj or ())]
    begin = time.perf_counter()
    with reported(again, as_json), Progress(console) as progress:
        steps = _Steps(progress)
        options = BackendOptions(device=device, threads=threads, progress=progress.said)
        found = verify(package, backend, options, steps.begin)
        steps.end()
    _show(console, found)
    seconds = time.perf_counter() - begin
    show_verdict(console, found.passed, seconds, again)
    if as_json:
        typer.echo(json.dumps({**found.as_dict(), "seconds": round(seconds, 3)}, indent=2))
    if not found.passed:
        raise typer.Exit(ParityError.exit_code)


class _Steps:
    """Turns the begin of each step into the end of the one before."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._end: Callable[[], None] = lambda: None

    def begin(self, step: str) -> None:
        self.end()
        began = time.perf_counter()
        self._end = lambda: self._progress.finished(step, time.perf_counter() - began)
        self._progress.started(step)

    def end(self) -> None:
        self._end()


def _show(console: Console, found: Verification) -> None:
    console.print(Text(f"{found.package}: manifest valid, {found.files} files as they were written"), soft_wrap=True)
    console.print(Text(f"backend {found.backend.name}: {found.backend.description}"), soft_wrap=True)
    for name, reason in found.backend.not_taken.items():
        console.print(Text(f"  not {name}: {reason}"), soft_wrap=True)
    table = Table(title="Goldens", title_justify="left")
    for heading in ("output", "max abs", "relative L2", "cosine", "top-1"):
        table.add_column(heading, justify="left" if heading == "output" else "right", overflow="fold")
    for name, value in found.outputs.items():
        top1 = "" if value.top1 is None else f"{value.top1:.2%}"
        table.add_row(Text(name), f"{value.max_abs:.1e}", f"{value.relative_l2:.1e}", f"{value.cosine:.9f}", top1)
    console.print(table)
    for failure in found.failures:
        console.print(Text(f"miss: {failure}"), soft_wrap=True)
