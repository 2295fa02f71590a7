"""`rectexport verify PACKAGE`: check a package on the machine where it is deployed."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from rectexport.cli import options
from rectexport.cli.command import Command, Run, command_app
from rectexport.cli.display import Progress
from rectexport.runtime.base.runner import BackendOptions
from rectexport.runtime.base.texts import printable
from rectexport.runtime.errors import ParityError
from rectexport.runtime.verify import Verification, verify

app = command_app()


@app.command(cls=Command, name="verify")
def verify_package(
    context: typer.Context,
    package: options.PackageFolder,
    backend: options.Backend = options.DEFAULT_BACKEND,
    allow_unproven: options.AllowUnproven = BackendOptions.allow_unproven,
    device: options.Device = BackendOptions.device,
    threads: options.Threads = BackendOptions.threads,
    key: Annotated[Path | None, options.key("A public key: fail unless its private half signed the package.")] = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    as_json: options.AsJson = False,
) -> None:
    """Check a package where it is deployed; neither PyTorch nor ONNX is needed.

    Checks the manifest against its schema, every file against its sha256, and the stored example: run on this
    machine's engine, its outputs must match PyTorch's within the package's tolerances.

    **Examples**

    - `rectexport verify out/digits` — on the fastest engine of this machine
    - `rectexport verify out/digits --backend onnxruntime --json`
    - `rectexport verify out/digits --key release.key.pub` — also that the holder of release.key signed it
    """
    run = Run(context, as_json=as_json, quiet=quiet, verbose=verbose)
    with run.reported(), Progress(run.console, verbose) as progress:
        steps = _Steps(progress)
        chosen = BackendOptions(device=device, threads=threads, allow_unproven=allow_unproven, progress=progress.said)
        found = verify(package, backend, chosen, steps.begin, key)
        steps.end()
    _show(run, found)
    document = {**found.as_dict(), "seconds": round(run.seconds, 3)}
    run.end(document, code=0 if found.passed else ParityError.exit_code)


class _Steps:
    """Ends a step where the next one begins."""

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


def _show(run: Run, found: Verification) -> None:
    run.say(f"{found.package}: manifest valid, {found.files} files unchanged")
    if found.signed_by is not None:
        run.say(f"signed by the holder of {found.signed_by}")
    run.say(f"backend {found.backend.name}: {found.backend.description}")
    if run.verbose:
        for name, reason in found.backend.not_taken.items():
            run.say(f"  not {name}: {reason}")
    table = Table(title="Goldens", title_justify="left")
    for heading in ("output", "max abs", "relative L2", "cosine", "top-1"):
        table.add_column(heading, justify="left" if heading == "output" else "right", overflow="fold")
    for name, value in found.outputs.items():
        shown = Text(printable(name))
        top1 = "" if value.top1 is None else f"{value.top1:.2%}"
        table.add_row(shown, f"{value.max_abs:.1e}", f"{value.relative_l2:.1e}", f"{value.cosine:.9f}", top1)
    run.console.print(table)
    for failure in found.failures:
        run.fault(failure)
