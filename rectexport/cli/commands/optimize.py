"""`rectexport optimize MODEL.onnx -o OUT.onnx`: write an ONNX file's operators in their fastest forms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rectexport.cli import options
from rectexport.cli.command import Command, Run, command_app
from rectexport.cli.display import Progress, show_decisions
from rectexport.exporter.base.options import OptimizeOptions
from rectexport.runtime.base.environment import require
from rectexport.runtime.base.shapes import ShapeFlag, parse_shape_flags, resolve_names

if TYPE_CHECKING:
    from rectexport.exporter.optimize import Optimized

app = command_app()

LIBRARIES = ("onnx", "onnxscript", "onnx_graphsurgeon", "onnxruntime")


@app.command(cls=Command)
def optimize(
    context: typer.Context,
    model: options.OnnxFile,
    out: Annotated[Path, options.out("OUT.onnx", "The file to write.")],
    input_shapes: Annotated[
        list[str] | None, options.input_shapes("Shape of an input that the model leaves open, as in x:1x3x224x224.")
    ] = None,
    inputs: Annotated[
        Path | None, options.input_files("Inputs to compare on, where they cannot be drawn: an .npz of arrays by name.")
    ] = None,
    target: Annotated[str, options.target()] = OptimizeOptions.target,
    tune: Annotated[
        bool,
        typer.Option(
            "--tune",
            help="Measure the forms on this machine (a few minutes), and remember the result.",
            rich_help_panel=options.ENGINE,
        ),
    ] = OptimizeOptions.tune,
    no_guard: options.NoGuard = not OptimizeOptions.guard,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Print the forms considered at each site, their costs, and the one taken.",
            rich_help_panel=options.RUN,
        ),
    ] = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    as_json: options.AsJson = False,
) -> None:
    """Find rectified convolutions, even kernels and CReLUs in an ONNX file, and write each in its fastest form.

    Every rewrite is exact: the outputs are compared with those of the file around every pass, relative L2 at most 1e-6
    in float32, and a pass that changes them is skipped. Costs come from a table measured for the target, or with --tune
    from this machine.
    """
    run = Run(context, as_json=as_json, quiet=quiet, verbose=verbose)
    with run.reported(), Progress(run.console, verbose) as progress:
        shapes = parse_shape_flags(input_shapes or (), "--input")
        asked = OptimizeOptions(target=target, tune=tune, guard=not no_guard)
        done = _run(progress, model, out, shapes, inputs, asked)
    if explain:
        show_decisions(run.console, done.decisions)
    run.say(f"{out} {out.stat().st_size / 1024:.1f} KiB")
    run.end(_document(done, out, run.seconds))


def _run(
    progress: Progress,
    model: Path,
    out: Path,
    shapes: Mapping[str | None, ShapeFlag],
    inputs: Path | None,
    asked: OptimizeOptions,
) -> Optimized:
    """The heavy libraries are imported here, so that help and usage errors are fast."""
    from rectexport.exporter.frontend.model_file import check_model_file

    check_model_file(model)
    from rectexport.exporter.base.log import Log

    log = Log(progress)
    with log.step("import"):
        for library in LIBRARIES:
            require(library)
        from rectexport.exporter.frontend.inputs import load_npz
        from rectexport.exporter.frontend.onnx_file import read_onnx
        from rectexport.exporter.optimize import input_names, run_optimize, write_model

    with log.step("load"):
        loaded, outside = read_onnx(model)
        if outside.tensors:
            log.say(f"{len(outside.tensors)} large tensors, {outside.size / 1e9:.1f} GB, stay in their files")
    given = resolve_names(shapes, [name for name in input_names(loaded) if name not in outside.tensors], "--input")
    feeds = None if inputs is None else load_npz(inputs)
    asked = replace(asked, shapes={name: flag.shape for name, flag in given.items()}, feeds=feeds)
    done = run_optimize(loaded, asked, log, outside.feeds())
    with log.step("write"):
        if outside.tensors:
            outside.put_back({out: done.model})
        else:
            write_model(done.model, out)
    return done


def _document(done: Optimized, out: Path, seconds: float) -> dict[str, Any]:
    return {
        "passed": True,
        "seconds": round(seconds, 3),
        "model": str(out),
        "passes": [entry.as_dict() for entry in done.passes],
        "decisions": [entry.as_dict() for entry in done.decisions],
    }
