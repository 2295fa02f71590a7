"""`rectexport profile PACKAGE`: where its time and memory go."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isnan
from pathlib import Path
from typing import Annotated, Any

import typer

from rectexport.cli import options
from rectexport.cli.bench.plan import MOST_BATCH, MOST_LAUNCHES, MOST_SECONDS
from rectexport.cli.command import Command, Run, command_app
from rectexport.cli.display import Progress
from rectexport.cli.profile.limit import memory_limit
from rectexport.cli.profile.view import show_changes, show_profile
from rectexport.runtime.base.files import replaced_file
from rectexport.runtime.base.shapes import parse_shape_flags
from rectexport.runtime.errors import UsageError
from rectexport.runtime.package.folder import Package, check_outside
from rectexport.runtime.profiling.changes import changes
from rectexport.runtime.profiling.profile import NAMES, Profile, ProfileOptions, profile
from rectexport.runtime.profiling.trace import chrome_trace
from rectexport.runtime.timing.inputs import check_same_inputs

app = command_app()

TIMING = "Timing"
#: Exit code where a package takes more memory than --fail-if-more allows.
TOO_MUCH = 4


@app.command("profile", cls=Command)
def profile_package(
    context: typer.Context,
    package: options.PackageFolder,
    against: Annotated[
        Path | None,
        options.against("Another package, profiled in turns with the first: the times are compared by module."),
    ] = None,
    fail_if_more: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE|PERCENT",
            help="Exit with code 4 if more memory is resident in a phase: 300M, or 5% more than --against.",
            rich_help_panel=options.REFERENCE,
        ),
    ] = None,
    input_shapes: Annotated[
        list[str] | None, options.input_shapes("Shape of a dynamic input, as in x:1x3x224x224; repeatable.")
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            max=MOST_BATCH,
            help="Batch size. [default: the package's usual one]",
            rich_help_panel=options.INPUTS,
        ),
    ] = None,
    backend: Annotated[str, options.backend(f"Engine: {', '.join(NAMES)}.")] = ProfileOptions.backend,
    threads: options.Threads = ProfileOptions.threads,
    duration: Annotated[
        float,
        typer.Option(metavar="S", min=0, max=MOST_SECONDS, help="Seconds of runs in all.", rich_help_panel=TIMING),
    ] = ProfileOptions.seconds,
    launches: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, max=MOST_LAUNCHES, help="How often the process is started.", rich_help_panel=TIMING
        ),
    ] = ProfileOptions.launches,
    trace: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also write a Chrome trace, for ui.perfetto.dev.",
            rich_help_panel=options.OUTPUT,
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None, options.out("FILE", "Also write the JSON document to this file, which `rectexport report` draws.")
    ] = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    as_json: options.AsJson = False,
) -> None:
    """Show where a package's time goes: layers of the engine, ONNX nodes, PyTorch modules, passes; and its memory.

    The engine's own profiler is on, which costs some time: for latency, use `rectexport bench`. Each launch is a
    process of its own. What is no layer is named: reorders, transfers, the framework around the layers.

    **Examples**

    - `rectexport profile out/net --backend openvino`
    - `rectexport profile out/net --against out/before --fail-if-more 5%`
    - `rectexport profile out/net --trace trace.json -o profile.json`
    """
    run = Run(context, as_json=as_json, quiet=quiet, verbose=verbose)
    with run.reported(), Progress(run.console) as progress:
        if isnan(duration):
            raise UsageError("--duration nan: expected a finite number")
        limit = None if fail_if_more is None else memory_limit(fail_if_more, against is not None)
        for path in (out, trace):
            if path is not None:
                check_outside(path)
        how = ProfileOptions(backend, threads, duration, launches, batch)
        if out is not None and trace is not None and out.resolve() == trace.resolve():
            raise UsageError(f"--trace {trace} and -o {out}: are one file; give two")
        opened = [Package.open(path) for path in (package, against) if path is not None]
        if against is not None:
            check_same_inputs(opened[0].manifest, opened[1].manifest, str(package), str(against))
        progress.started("profile")
        found = profile(opened, how, parse_shape_flags(input_shapes or (), "--input"), progress.advanced)
        progress.finished("profile", run.seconds)
        document = _document(found)
        for path, content in ((out, document), (trace, chrome_trace(found[0]))):
            if path is not None:
                _write(path, content)
    show_profile(run.console, found[0], verbose)
    if against is not None:
        show_changes(run.console, changes(*found), found[1], verbose)
    faults = limit.faults(found[0], found[1] if against is not None else None) if limit is not None else []
    for text in faults:
        run.fault(text, "more memory than allowed")
    run.end({"passed": not faults, **document}, code=TOO_MUCH if faults else 0)


def _document(found: list[Profile]) -> dict[str, Any]:
    document = found[0].as_dict()
    if len(found) > 1:
        document["against"] = found[1].as_dict()
        document["changes"] = [row.as_dict() for row in changes(*found)]
    return document


def _write(out: Path, document: Mapping[str, Any]) -> None:
    with replaced_file(out) as temporary:
        temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
