"""`rectexport optimize IN.onnx -o OUT.onnx`: the same model, in the forms that are fastest on a target."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from rectexport.cli.command import AsJson, Command
from rectexport.cli.display import Progress, show_decisions
from rectexport.cli.failure import reported, show_verdict
from rectexport.runtime.base.environment import require
from rectexport.runtime.base.shapes import parse_shape_flags, resolve_names

if TYPE_CHECKING:
    from rectexport.exporter.optimize import Optimized

app = typer.Typer(add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False)


@app.command(cls=Command)
def optimize(
    context: typer.Context,
    model: Annotated[Path, typer.Argument(metavar="IN.onnx", help="Any ONNX model.", show_default=False)],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="OUT.onnx", help="Where it is written.", show_default=False)
    ],
    target: Annotated[
        str, typer.Option(help="Engine to be fastest on: onnxruntime, openvino, tensorrt, portable.")
    ] = "onnxruntime",
    tune: Annotated[
        bool, typer.Option("--tune", help="Measure the forms on this machine (a few minutes), and remember the result.")
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Print the forms considered at each place, their cost, and the one taken.")
    ] = False,
    input_shapes: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="NAME:SHAPE", help="Shape of an input that the model leaves open."),
    ] = None,
    no_guard: Annotated[bool, typer.Option("--no-guard", help="Do not compare the model around every pass.")] = False,
    as_json: AsJson = False,
) -> None:
    """Find rectified convolutions, even kernels and CReLUs in an ONNX model, and compute each the fastest way.

    Every rewrite is exact: the outputs are compared around every pass, relative L2 at most 1e-6. Costs come from a
    table measured for the target, or with --tune from this machine.

    **Exit codes**: 0 good · 1 bad input or model · 2 usage · 3 a pass changed the outputs · 5 something is missing here
    """
    begin = time.perf_counter()
    console = Console(stderr=as_json, highlight=False, soft_wrap=False)
    progress = Progress(console)
    again = ["rectexport", "optimize", *(context.obj or ())]
    with reported(again, as_json), progress:
        done = _run(progress, model, out, input_shapes or (), {"target": target, "tune": tune, "guard": not no_guard})
    if explain:
        show_decisions(console, done.decisions)
    seconds = time.perf_counter() - begin
    console.print(f"{out} {out.stat().st_size / 1024:.1f} KiB", markup=False, soft_wrap=True)
    show_verdict(console, True, seconds, again)
    if as_json:
        typer.echo(json.dumps(_document(done, out, seconds), indent=2))


def _run(progress: Progress, model: Path, out: Path, shapes: Sequence[str], choices: dict[str, Any]) -> Optimized:
    """Import the heavy libraries only now, so that --help and usage errors are instant."""
    from rectexport.exporter.frontend.model_file import check_model_file

    flags = parse_shape_flags(shapes, "--input")
    check_model_file(model)
    for library in ("onnx", "onnxscript", "onnx_graphsurgeon", "onnxruntime"):
        require(library)
    from rectexport.exporter.base.log import Log
    from rectexport.exporter.frontend.onnx_file import read_onnx
    from rectexport.exporter.optimize import OptimizeOptions, input_names, run_optimize, write_model

    loaded = read_onnx(model)
    given = resolve_names(flags, input_names(loaded), "--input")
    sizes = {name: flag.shape for name, flag in given.items()}
    done = run_optimize(loaded, OptimizeOptions(**choices, shapes=sizes), Log(progress))
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
