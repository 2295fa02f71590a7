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
from rectexport.runtime.base.runner import BackendOptions
from rectexport.runtime.base.texts import printable
from rectexport.runtime.engines.backends import AUTO, BACKENDS, TORCH
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
    key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A public key: the package must be signed with its other half."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a package where it is deployed; needs neither PyTorch nor ONNX.

    The manifest against its schema, every file against its sha256, and the example in it, run on this machine's
    engine, against PyTorch's own answer, within the package's tolerances.

    **Examples**

    - `rectexport verify out/digits` — on the fastest engine here
    - `rectexport verify out/digits --backend onnxruntime --json`
    - `rectexport verify out/digits --key release.key.pub` — and that it comes from whom you think

    **Exit codes**: 0 good · 1 damaged, not signed so, or refused by the engine · 2 usage · 3 other answers than
    PyTorch's · 5 the engine is missing here, or cryptography for --key
    """
    console = Console(stderr=as_json, highlight=False)
    again = ["rectexport", "verify", *(context.obj or ())]
    begin = time.perf_counter()
    with reported(again, as_json), Progress(console) as progress:
        steps = _Steps(progress)
        options = BackendOptions(device=device, threads=threads, progress=progress.said)
        found = verify(package, backend, options, steps.begin, key)
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
    _say(console, f"{found.package}: manifest valid, {found.files} files as they were written")
    if found.signed_by is not None:
        _say(console, f"signed by the holder of {found.signed_by}")
    _say(console, f"backend {found.backend.name}: {found.backend.description}")
    for name, reason in found.backend.not_taken.items():
        _say(console, f"  not {name}: {reason}")
    table = Table(title="Goldens", title_justify="left")
    for heading in ("output", "max abs", "relative L2", "cosine", "top-1"):
        table.add_column(heading, justify="left" if heading == "output" else "right", overflow="fold")
    for name, value in found.outputs.items():
        shown = Text(printable(name))
        top1 = "" if value.top1 is None else f"{value.top1:.2%}"
        table.add_row(shown, f"{value.max_abs:.1e}", f"{value.relative_l2:.1e}", f"{value.cosine:.9f}", top1)
    console.print(table)
    for failure in found.failures:
        _say(console, f"miss: {failure}")


def _say(console: Console, text: str) -> None:
    """A line that may hold what the package says."""
    console.print(Text(printable(text)), soft_wrap=True)
