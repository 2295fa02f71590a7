"""`rectexport bench PKG`: how fast, and is it slower than something else?"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from rectexport.cli.bench.plan import Flags, make_plan
from rectexport.cli.bench.view import failure, show_bench
from rectexport.cli.command import RUN, AsJson, Command
from rectexport.cli.display import Progress
from rectexport.cli.failure import reported, show_verdict
from rectexport.runtime.base.files import replaced_file
from rectexport.runtime.base.temporary import scratch_folder
from rectexport.runtime.package.folder import check_outside
from rectexport.runtime.timing.bench import run_bench, too_slow

app = typer.Typer(add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False)

AGAINST, HOW = "Against what", "How"
#: Exit code where a comparison fails --fail-if-slower.
TOO_SLOW = 4


@app.command(cls=Command)
def bench(
    context: typer.Context,
    package: Annotated[Path, typer.Argument(metavar="PKG", help="The folder of a package.", show_default=False)],
    vs: Annotated[
        str | None,
        typer.Option(metavar="PKG2|torch|torch-compile", help="Time it against this.", rich_help_panel=AGAINST),
    ] = None,
    plain_twin: Annotated[
        bool,
        typer.Option(
            "--plain-twin",
            help="Time it against the same net with the rectification removed.",
            rich_help_panel=AGAINST,
        ),
    ] = False,
    source: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL", help="The PyTorch model, for --vs torch and torch-compile.", rich_help_panel=AGAINST
        ),
    ] = None,
    arch: Annotated[
        str | None, typer.Option(metavar="NAME", help="The network of bare weights.", rich_help_panel=AGAINST)
    ] = None,
    trust_pickle: Annotated[
        bool,
        typer.Option("--trust-pickle", help="Unpickle MODEL. Runs its author's code.", rich_help_panel=AGAINST),
    ] = False,
    rectify_model: Annotated[
        bool,
        typer.Option("--rectify-model", help="Rectify MODEL first, as its export did.", rich_help_panel=AGAINST),
    ] = False,
    fail_if_slower: Annotated[
        str | None,
        typer.Option(
            metavar="PERCENT",
            help="Exit 4 if it is slower by more than this, as in 5%: the whole interval has to say so.",
            rich_help_panel=AGAINST,
        ),
    ] = None,
    backend: Annotated[
        str, typer.Option(metavar="NAME[,NAME]", help="onnxruntime, openvino, cuda, tensorrt.", rich_help_panel=HOW)
    ] = "onnxruntime",
    batch: Annotated[
        str | None,
        typer.Option(metavar="N[,N]", help="Batch sizes; the package's usual one by default.", rich_help_panel=HOW),
    ] = None,
    input_shapes: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="NAME:SHAPE", help="Shape of a dynamic input.", rich_help_panel=HOW),
    ] = None,
    warm_up: Annotated[
        float, typer.Option(metavar="MS", help="Milliseconds that each launch runs untimed first.", rich_help_panel=HOW)
    ] = 200.0,
    duration: Annotated[
        float,
        typer.Option(metavar="S", help="Seconds that each contestant is timed at each batch.", rich_help_panel=HOW),
    ] = 5.0,
    launches: Annotated[
        int,
        typer.Option(metavar="N", help="How often the processes start anew, at least 6.", rich_help_panel=HOW),
    ] = 10,
    percentile: Annotated[
        str, typer.Option(metavar="P[,P]", help="Percentiles of single runs.", rich_help_panel=HOW)
    ] = "50,90,99",
    threads: Annotated[
        int | None, typer.Option(metavar="N", help="Threads of each contestant; all cores.", rich_help_panel=HOW)
    ] = None,
    device: Annotated[int, typer.Option(metavar="N", help="Index of the GPU.", rich_help_panel=HOW)] = 0,
    no_transfers: Annotated[
        bool,
        typer.Option(
            "--no-transfers",
            help="On a GPU, leave out the copies of inputs and outputs; nothing changes on a CPU.",
            rich_help_panel=HOW,
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", metavar="FILE", help="Also write the document, as latency.json.", rich_help_panel=RUN
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure a package's latency, alone or against something else.

    Every contestant has a process of its own, and only one runs at any time: in rounds, in an order drawn by lot,
    over several launches. The answer is a ratio with a 95 % interval; "no difference" is an answer.

    **Examples**

    - `rectexport bench out/net --batch 1,8 --backend onnxruntime,openvino`
    - `rectexport bench out/net --plain-twin --fail-if-slower 5%`
    - `rectexport bench out/net --vs torch --source net.pt`

    **Exit codes**: 0 good · 1 bad input or model · 2 usage · 4 slower than allowed · 5 something is missing here
    """
    begin = time.perf_counter()
    console = Console(stderr=as_json, highlight=False, soft_wrap=True)
    progress = Progress(console)
    again = ["rectexport", "bench", *(context.obj or ())]
    flags = Flags(
        package=package,
        vs=vs,
        plain_twin=plain_twin,
        source=source,
        load={"arch": arch, "trust_pickle": trust_pickle, "rectify_model": rectify_model},
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
        transfers=not no_transfers,
    )
    with reported(again, as_json), progress:
        if out is not None:
            check_outside(out)
        document = _run(flags, progress)
        if out is not None:
            _write(out, document)
    show_bench(console, document)
    seconds = time.perf_counter() - begin
    for entry in too_slow(document["comparisons"], document["settings"]["fail_if_slower"]):
        console.print("slower than allowed: ", style="bold red", end="")
        console.print(failure(entry, document["settings"]["fail_if_slower"]), markup=False)
    show_verdict(console, document["passed"], seconds, again)
    if as_json:
        typer.echo(json.dumps(document, indent=1))
    if not document["passed"]:
        raise typer.Exit(TOO_SLOW)


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
