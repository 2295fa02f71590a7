"""`rectexport parity PKG`: does the package still compute what it should, on this engine, at every size?"""

from __future__ import annotations

import json
import shlex
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from rectexport.cli.command import RUN, AsJson, Command
from rectexport.cli.display import Progress
from rectexport.cli.failure import reported, show_verdict
from rectexport.cli.parity.display import show_outcome
from rectexport.cli.parity.keep import Finished, Request
from rectexport.cli.parity.reference import Against
from rectexport.cli.parity.setup import compare_package
from rectexport.runtime.base.documents import strict

app = typer.Typer(add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False)

REFERENCE, FED, OUT = "What it is compared with", "What it is fed", "What comes out"


@app.command(cls=Command)
def parity(
    context: typer.Context,
    package: Annotated[Path, typer.Argument(metavar="PKG", help="The folder of a package.", show_default=False)],
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL",
            help="A checkpoint or another model file that `rectexport` takes (compared in PyTorch, float64), an ONNX "
            "file, or another package. Without it: the package's own ONNX in ONNX Runtime, unoptimized.",
            show_default=False,
            rich_help_panel=REFERENCE,
        ),
    ] = None,
    arch: Annotated[
        str | None, typer.Option(metavar="NAME", help="The network of bare weights.", rich_help_panel=REFERENCE)
    ] = None,
    trust_pickle: Annotated[
        bool,
        typer.Option("--trust-pickle", help="Unpickle MODEL. Runs its author's code.", rich_help_panel=REFERENCE),
    ] = False,
    rectify_model: Annotated[
        bool,
        typer.Option("--rectify-model", help="Rectify MODEL first, as the export did.", rich_help_panel=REFERENCE),
    ] = False,
    tolerance: Annotated[
        float | None,
        typer.Option(
            metavar="VALUE",
            min=0,
            help="Relative L2 allowed at the outputs, instead of the package's own; inner tensors get ten times that.",
            show_default=False,
            rich_help_panel=REFERENCE,
        ),
    ] = None,
    inputs: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Only these: an .npz by input name, an .npy, or a folder of images. "
            "Default: the goldens and a sweep over the package's range of sizes.",
            show_default=False,
            rich_help_panel=FED,
        ),
    ] = None,
    mean: Annotated[
        str,
        typer.Option(metavar="M[,M,M]", help="Of images: (pixel / 255 - mean) / std is fed.", rich_help_panel=FED),
    ] = "0",
    std: Annotated[str, typer.Option(metavar="S[,S,S]", help="Of images, too.", rich_help_panel=FED)] = "1",
    shapes: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME:SHAPE", help="A size to try instead of the sweep; repeatable.", rich_help_panel=FED),
    ] = None,
    per_layer: Annotated[
        bool,
        typer.Option(
            "--per-layer", help="Compare every inner tensor that both sides have, by region.", rich_help_panel=OUT
        ),
    ] = False,
    memory: Annotated[
        str, typer.Option(metavar="SIZE", help="What inner tensors may take at a time.", rich_help_panel=OUT)
    ] = "1G",
    heat_map: Annotated[
        Path | None,
        typer.Option(
            "--heat-map",
            metavar="FILE.png",
            help="Draw the first tensor that is off, or the one farthest off.",
            show_default=False,
            rich_help_panel=OUT,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            metavar="FOLDER",
            help="Where a failure's inputs and heat map go; PKG.parity where none is given.",
            show_default=False,
            rich_help_panel=OUT,
        ),
    ] = None,
    backend: Annotated[str, typer.Option(metavar="NAME", help="The engine to check.", rich_help_panel=RUN)] = "auto",
    as_json: AsJson = False,
) -> None:
    """Compare a package with a reference, at every size it is made for, and with itself.

    Outputs by maximum, relative L2, cosine, signal to noise and top-k, with --per-layer every layer; corners, edges
    and interior apart. And what needs no reference: equal rows have equal answers, neither batch size nor row order
    nor padding matters, a second run repeats every bit, a rebuilt session agrees.

    **Examples**

    - `rectexport parity out/net` — goldens, a sweep over sizes, and the checks without reference
    - `rectexport parity out/net --against net.pt --per-layer`
    - `rectexport parity out/net --inputs photos --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225`

    **Exit codes**: 0 good · 1 bad input or model · 2 usage · 3 something differs · 5 something is missing here
    """
    begin = time.perf_counter()
    console = Console(stderr=as_json, highlight=False, soft_wrap=False)
    progress = Progress(console)
    again = ["rectexport", "parity", *(context.obj or ())]
    request = Request(
        package=package,
        against=Against(against, arch, trust_pickle, rectify_model, tolerance),
        backend=backend,
        inputs=inputs,
        mean=mean,
        std=std,
        shapes=tuple(shapes or ()),
        per_layer=per_layer,
        memory=memory,
        heat_map=heat_map,
        out=out,
    )
    with reported(again, as_json), progress:
        done = compare_package(request, progress)
    show_outcome(console, done.outcome, per_layer)
    for line in (*done.outcome.notes, *done.written):
        console.print(line, markup=False, soft_wrap=True)
    _conclude(console, done, time.perf_counter() - begin, again)
    if as_json:
        typer.echo(json.dumps(strict(_document(done, package, time.perf_counter() - begin)), indent=2))
    if not done.outcome.passed:
        raise typer.Exit(3)


def _conclude(console: Console, done: Finished, seconds: float, again: list[str]) -> None:
    for text in done.outcome.failures:
        console.print("error: ", style="bold red", end="")
        console.print(text, markup=False, soft_wrap=True)
    show_verdict(console, done.outcome.passed, seconds, done.reproduce or again)


def _document(done: Finished, package: Path, seconds: float) -> dict[str, Any]:
    failed: dict[str, Any] = {}
    if not done.outcome.passed:
        failed = {"error": done.outcome.failures[0], "kind": "ParityError", "exit_code": 3}
    return {
        **done.outcome.as_dict(),
        **failed,
        "package": str(package),
        "reference": done.reference,
        "backend": done.backend,
        "seconds": round(seconds, 3),
        "reproduce": shlex.join(done.reproduce) if done.reproduce else None,
        "files": [str(path) for path in done.files],
    }
