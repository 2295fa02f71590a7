"""`rectexport parity PACKAGE`: compare a package with a reference, on an engine, over its range of sizes."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from rectexport.cli import options
from rectexport.cli.command import Command, Run, command_app
from rectexport.cli.display import Progress
from rectexport.cli.parity.display import show_outcome
from rectexport.cli.parity.keep import Finished, Request
from rectexport.cli.parity.reference import Against
from rectexport.cli.parity.setup import compare_package
from rectexport.exporter.base.options import LoadOptions
from rectexport.runtime.base.documents import strict
from rectexport.runtime.errors import ParityError

app = command_app()


@app.command(cls=Command)
def parity(
    context: typer.Context,
    package: options.PackageFolder,
    against: Annotated[
        Path | None,
        options.against(
            "Reference: a checkpoint or other model that `rectexport export` takes (run by PyTorch in float64), "
            "an ONNX file, or another package. [default: the package's own ONNX file in ONNX Runtime, unoptimized]"
        ),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            metavar="VALUE",
            min=0,
            help="Relative L2 allowed at the outputs, instead of the package's own; inner tensors get ten times that.",
            show_default=False,
            rich_help_panel=options.REFERENCE,
        ),
    ] = None,
    own_model: options.OwnModel = None,
    model_args: options.ModelArgs = None,
    arch: options.Arch = None,
    weights: options.Weights = None,
    rectified: options.Rectified = None,
    trust_pickle: options.TrustPickle = False,
    rectify_model: options.RectifyModel = False,
    inputs: Annotated[
        Path | None,
        options.input_files(
            "Compare on these alone: an .npz with one array per input name, an .npy, or a folder of images. "
            "[default: the package's example and a sweep over its range of sizes]"
        ),
    ] = None,
    input_shapes: Annotated[
        list[str] | None,
        options.input_shapes(
            "Compare at this shape instead of the sweep, as in x:2x3x97x131; repeatable. A name given again begins "
            "another size."
        ),
    ] = None,
    mean: options.Mean = "0",
    std: options.Std = "1",
    backend: options.Backend = options.DEFAULT_BACKEND,
    allow_unproven: options.AllowUnproven = False,
    per_layer: Annotated[
        bool,
        typer.Option(
            "--per-layer",
            help="Compare every inner tensor that both sides have, by region.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = False,
    memory: Annotated[
        str,
        typer.Option(metavar="SIZE", help="Memory for inner tensors at a time.", rich_help_panel=options.OUTPUT),
    ] = "1G",
    heat_map: Annotated[
        Path | None,
        typer.Option(
            "--heat-map",
            metavar="FILE.png",
            help="Draw the first tensor that differs too much, or else the one that differs most.",
            show_default=False,
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    out: Annotated[
        Path | None, options.out("FOLDER", "Folder for the inputs and heat map of a failure. [default: PACKAGE.parity]")
    ] = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    as_json: options.AsJson = False,
) -> None:
    """Compare a package with a reference over its range of sizes, and with itself.

    Outputs are compared by maximum, relative L2, cosine, signal-to-noise ratio and top-k, with --per-layer every layer
    too; corners, edges and interior apart. Without a reference it is checked that equal rows have equal answers, that
    batch size, row order and padding make no difference, that a second run repeats every bit, and that a rebuilt
    session agrees.

    **Examples**

    - `rectexport parity out/net` — the stored example, a sweep over sizes, and the checks without reference
    - `rectexport parity out/net --against net.pt --per-layer`
    - `rectexport parity out/net --inputs photos --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225`
    """
    run = Run(context, as_json=as_json, quiet=quiet, verbose=verbose)
    with run.reported():
        load = LoadOptions(arch, trust_pickle, rectify_model, own_model, tuple(model_args or ()), weights, rectified)
    request = Request(
        package=package,
        against=Against(against, load, tolerance),
        backend=backend,
        allow_unproven=allow_unproven,
        inputs=inputs,
        mean=mean,
        std=std,
        shapes=tuple(input_shapes or ()),
        per_layer=per_layer,
        memory=memory,
        heat_map=heat_map,
        out=out,
    )
    with run.reported(), Progress(run.console, verbose) as progress:
        done = compare_package(request, progress)
    show_outcome(run.console, done.outcome, per_layer or verbose)
    for line in (*done.outcome.notes, *done.written):
        run.say(line)
    for text in done.outcome.failures:
        run.fault(text)
    document = strict(_document(done, package, run.seconds))
    run.end(document, code=0 if done.outcome.passed else ParityError.exit_code, again=done.reproduce)


def _document(done: Finished, package: Path, seconds: float) -> dict[str, Any]:
    failed: dict[str, Any] = {}
    if not done.outcome.passed:
        failed = {"error": done.outcome.failures[0], "kind": "ParityError", "exit_code": ParityError.exit_code}
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
