"""`rectexport bench PACKAGE`: its latency, alone or against something else."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from rectexport.cli import options
from rectexport.cli.bench.plan import Flags, make_plan
from rectexport.cli.bench.view import failure, show_bench
from rectexport.cli.command import Command, Run, command_app
from rectexport.cli.display import Progress
from rectexport.exporter.base.options import LoadOptions
from rectexport.runtime.base.files import replaced_file
from rectexport.runtime.base.temporary import scratch_folder
from rectexport.runtime.package.folder import check_outside
from rectexport.runtime.timing.bench import run_bench, too_slow

app = command_app()

AGAINST, TIMING = "Compared with", "Timing"
#: Exit code where a comparison fails --fail-if-slower.
TOO_SLOW = 4


@app.command(cls=Command)
def bench(
    context: typer.Context,
    package: options.PackageFolder,
    vs: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Another package, or the PyTorch model of --source: torch (eager) or torch-compile.",
            rich_help_panel=AGAINST,
        ),
    ] = Flags.vs,
    plain_twin: Annotated[
        bool,
        typer.Option(
            "--plain-twin",
            help="The same network with the rectification removed.",
            rich_help_panel=AGAINST,
        ),
    ] = Flags.plain_twin,
    source: Annotated[
        Path | None,
        typer.Option(metavar="MODEL", help="The PyTorch model for --vs torch.", rich_help_panel=AGAINST),
    ] = Flags.source,
    fail_if_slower: Annotated[
        str | None,
        typer.Option(
            metavar="PERCENT",
            help="Exit with code 4 if PACKAGE is slower by more than this, as in 5%; the whole interval must be above.",
            rich_help_panel=AGAINST,
        ),
    ] = Flags.fail_if_slower,
    own_model: options.OwnModel = None,
    model_args: options.ModelArgs = None,
    arch: options.Arch = None,
    weights: options.Weights = None,
    rectified: options.Rectified = None,
    trust_pickle: options.TrustPickle = False,
    rectify_model: options.RectifyModel = False,
    input_shapes: Annotated[
        list[str] | None, options.input_shapes("Shape of a dynamic input, as in x:1x3x224x224; repeatable.")
    ] = None,
    batch: Annotated[
        str | None,
        typer.Option(
            metavar="N[,N]", help="Batch sizes. [default: the package's usual one]", rich_help_panel=options.INPUTS
        ),
    ] = Flags.batch,
    backend: options.Backends = Flags.backend,
    allow_unproven: options.AllowUnproven = Flags.allow_unproven,
    device: options.Device = Flags.device,
    threads: options.Threads = Flags.threads,
    no_transfers: Annotated[
        bool,
        typer.Option(
            "--no-transfers",
            help="On a GPU, leave out the copies of inputs and outputs; no effect on a CPU.",
            rich_help_panel=options.ENGINE,
        ),
    ] = not Flags.transfers,
    warm_up: Annotated[
        float,
        typer.Option(metavar="MS", help="Milliseconds of untimed runs in each launch.", rich_help_panel=TIMING),
    ] = Flags.warm_up,
    duration: Annotated[
        float,
        typer.Option(
            metavar="S", help="Seconds of timed runs, for each contestant and batch size.", rich_help_panel=TIMING
        ),
    ] = Flags.duration,
    launches: Annotated[
        int,
        typer.Option(metavar="N", help="How often the processes are started, at least 6.", rich_help_panel=TIMING),
    ] = Flags.launches,
    percentile: Annotated[
        str, typer.Option(metavar="P[,P]", help="Percentiles of single runs.", rich_help_panel=TIMING)
    ] = Flags.percentile,
    out: Annotated[
        Path | None, options.out("FILE", "Also write the JSON document to this file, which `rectexport report` reads.")
    ] = None,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Measure a package's latency, alone or against something else.

    Every contestant has a process of its own, and only one runs at a time: in rounds, in random order, over several
    launches. The result is a ratio with a 95 % interval; "no difference" is a result.

    **Examples**

    - `rectexport bench out/net --batch 1,8 --backend onnxruntime,openvino`
    - `rectexport bench out/net --plain-twin --fail-if-slower 5%`
    - `rectexport bench out/net --vs torch --source net.pt`
    """
    run = Run(context, as_json=as_json, quiet=quiet)
    with run.reported():
        load = LoadOptions(arch, trust_pickle, rectify_model, own_model, tuple(model_args or ()), weights, rectified)
    flags = Flags(
        package=package,
        vs=vs,
        plain_twin=plain_twin,
        source=source,
        load=load,
        fail_if_slower=fail_if_slower,
        backend=backend,
        batch=batch,
        inputs=input_shapes or (),
        warm_up=warm_up,
        duration=duration,
        launches=launches,
        percentile=percentile,
        threads=threads,
        device=device,
        allow_unproven=allow_unproven,
        transfers=not no_transfers,
    )
    with run.reported(), Progress(run.console) as progress:
        if out is not None:
            check_outside(out)
        document = _run(flags, progress)
        if out is not None:
            _write(out, document)
    show_bench(run.console, document)
    allowed = document["settings"]["fail_if_slower"]
    for entry in too_slow(document["comparisons"], allowed):
        run.fault(failure(entry, allowed), "slower than allowed")
    run.end(document, code=0 if document["passed"] else TOO_SLOW)


def _run(flags: Flags, progress: Progress) -> dict[str, Any]:
    with scratch_folder() as workshop:
        with _step(progress, "prepare"):
            plan = make_plan(flags, workshop)
        with _step(progress, "time"):
            document = run_bench(str(flags.package), plan.match, plan.inputs, plan.options, progress.advanced)
    document["notes"] = plan.notes
    document["warnings"] = [*plan.warnings, *document["warnings"]]
    return document


@contextmanager
def _step(progress: Progress, name: str) -> Iterator[None]:
    begin = time.perf_counter()
    progress.started(name)
    yield
    progress.finished(name, time.perf_counter() - begin)


def _write(out: Path, document: dict[str, Any]) -> None:
    with replaced_file(out) as temporary:
        temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
