"""`rectexport MODEL`: export, lower, check, package."""

from __future__ import annotations

import json
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from rectexport.cli.display import Progress, show_parity
from rectexport.runtime.environment import require
from rectexport.runtime.errors import RectexportError

if TYPE_CHECKING:
    from rectexport.exporter.pipeline import Exported

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")

IN, SHAPES, OUT, CHECKS = "What goes in", "Shapes", "What comes out", "Checks"


def _version(wanted: bool) -> None:
    if wanted:
        import rectexport

        typer.echo(f"rectexport {rectexport.__version__}")
        raise typer.Exit


@app.command()
def export(
    model: Annotated[
        Path,
        typer.Argument(
            help="A checkpoint of ours, a state_dict (with --arch), .pt2, TorchScript, .safetensors (with --arch), "
            "an ONNX file, or a pickled module (with --trust-pickle).",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="Folder of the package.", show_default="out/MODEL", rich_help_panel=OUT),
    ] = None,
    arch: Annotated[
        str | None, typer.Option(help="The network that bare weights belong to.", rich_help_panel=IN)
    ] = None,
    trust_pickle: Annotated[
        bool,
        typer.Option("--trust-pickle", help="Unpickle the file. Runs its author's code.", rich_help_panel=IN),
    ] = False,
    load_inputs: Annotated[
        Path | None,
        typer.Option(help="Example inputs, one array a name, .npz.", rich_help_panel=IN),
    ] = None,
    input_shapes: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="NAME:SHAPE", help="Shape of an input: x:1x3x224x224.", rich_help_panel=SHAPES),
    ] = None,
    min_shapes: Annotated[
        list[str] | None,
        typer.Option(
            "--min-shapes",
            "--minShapes",
            metavar="NAME:SHAPE",
            help="Smallest shape. An axis where min and max differ becomes dynamic.",
            rich_help_panel=SHAPES,
        ),
    ] = None,
    opt_shapes: Annotated[
        list[str] | None,
        typer.Option(
            "--opt-shapes", "--optShapes", metavar="NAME:SHAPE", help="Most common shape.", rich_help_panel=SHAPES
        ),
    ] = None,
    max_shapes: Annotated[
        list[str] | None,
        typer.Option(
            "--max-shapes", "--maxShapes", metavar="NAME:SHAPE", help="Largest shape.", rich_help_panel=SHAPES
        ),
    ] = None,
    opset: Annotated[int, typer.Option(help="ONNX opset, 18 to 23.", rich_help_panel=OUT)] = 18,
    rectify: Annotated[
        str,
        typer.Option(
            help="How rectification leaves: fold (constants; static H, W), graph (computed from the shapes), "
            "auto (fold what is static).",
            rich_help_panel=OUT,
        ),
    ] = "auto",
    target: Annotated[
        str,
        typer.Option(
            help="Engine that even kernels and CReLUs are lowered for: onnxruntime, openvino, tensorrt, portable.",
            rich_help_panel=OUT,
        ),
    ] = "onnxruntime",
    fp16: Annotated[
        bool, typer.Option("--fp16", help="float16 in the graph; inputs and outputs stay float32.", rich_help_panel=OUT)
    ] = False,
    atol: Annotated[
        list[str] | None,
        typer.Option(metavar="[OUTPUT:]VALUE", help="Also bound every element: absolute part.", rich_help_panel=CHECKS),
    ] = None,
    rtol: Annotated[
        list[str] | None,
        typer.Option(metavar="[OUTPUT:]VALUE", help="Also bound every element: relative part.", rich_help_panel=CHECKS),
    ] = None,
    no_guard: Annotated[
        bool,
        typer.Option("--no-guard", help="Do not compare the model around every pass.", rich_help_panel=CHECKS),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Load the model, say what would be done, write nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout; the rest on stderr.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Turn a trained PyTorch model into a verified ONNX package.

    The model is traced, its rectified convolutions, even kernels and CReLUs are lowered by exact passes, and the
    result is compared with PyTorch in float64: every output, every inner layer, corners and edges apart. Only a
    package that agrees is written.

    **Examples**

    - `rectexport net.pt` — a checkpoint that says what it is
    - `rectexport weights.pth --arch resnet50 --input x:1x3x224x224 -o out/net`
    - `rectexport net.pt2 --min-shapes x:1x3x160x160 --opt-shapes x:1x3x224x224 --max-shapes x:32x3x320x320`

    **Exit codes**: 0 good · 1 bad input or model · 2 usage · 3 the package disagrees · 5 something is missing here
    """
    begin = time.perf_counter()
    console = Console(stderr=as_json, highlight=False, soft_wrap=False)
    progress = Progress(console)
    again = ["rectexport", *_typed_arguments()]
    folder = out or Path("out") / model.stem
    try:
        flags = {"input": input_shapes or (), "min": min_shapes or (), "opt": opt_shapes or (), "max": max_shapes or ()}
        choices = {"opset": opset, "rectify": rectify, "target": target, "fp16": fp16, "guard": not no_guard}
        result = _run(
            progress,
            model,
            folder,
            {"arch": arch, "trust_pickle": trust_pickle},
            {**flags, "load": load_inputs},
            {**choices, "command": again, "atol": atol or (), "rtol": rtol or ()},
            dry_run,
        )
    except RectexportError as error:
        progress.stop()
        _fail(console, error, as_json, time.perf_counter() - begin, again)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        progress.stop()
        console.print("interrupted; nothing was written")
        raise typer.Exit(130) from None
    seconds = time.perf_counter() - begin
    if result is None:
        console.print(f"dry run: nothing was written · {seconds:.1f} s")
        return
    _show(console, result, seconds, again)
    if as_json:
        typer.echo(json.dumps(_document(result, seconds), indent=2))


def _typed_arguments() -> list[str]:
    return sys.argv[1:]


def _run(
    progress: Progress,
    model: Path,
    out: Path,
    load: dict[str, Any],
    shapes: dict[str, Any],
    choices: dict[str, Any],
    dry_run: bool,
) -> Exported | None:
    """Import the heavy libraries only now, so that --help and usage errors are instant."""
    for library in ("torch", "onnx", "onnxscript", "onnx_graphsurgeon", "onnxruntime"):
        require(library)
    from rectexport.exporter.inputs import ShapeOptions
    from rectexport.exporter.load import LoadOptions, load_source
    from rectexport.exporter.log import Log
    from rectexport.exporter.pipeline import ExportOptions, describe_export, run_export
    from rectexport.exporter.tolerance import parse_bounds

    bounds = {flag: parse_bounds(choices.pop(flag), f"--{flag}") for flag in ("atol", "rtol")}
    options = ExportOptions(**{**choices, **bounds})
    log = Log(progress)
    with log.step("load"):
        source = load_source(model, LoadOptions(**load))
        log.say(f"{model}: {source.description}")
    if dry_run:
        with log.step("plan"):
            for line in describe_export(source, ShapeOptions(**shapes), out, options):
                log.say(line)
        return None
    return run_export(source, ShapeOptions(**shapes), out, options, log)


def _show(console: Console, result: Exported, seconds: float, again: list[str]) -> None:
    show_parity(console, result.parity)
    folder = result.package.path
    console.print(f"Files in {folder}:")
    for path in sorted(folder.iterdir()):
        console.print(f"  {path.name:<14}{path.stat().st_size / 1024:10.1f} KiB")
    console.print(f"[bold green]PASSED[/] in {seconds:.1f} s · again: {shlex.join(again)}", soft_wrap=True)


def _document(result: Exported, seconds: float) -> dict[str, Any]:
    return {
        "passed": True,
        "seconds": round(seconds, 3),
        "package": str(result.package.path),
        "nodes": list(result.nodes),
        "passes": [entry.as_dict() for entry in result.passes],
        "parity": result.parity.as_dict(),
    }


def _fail(console: Console, error: RectexportError, as_json: bool, seconds: float, again: list[str]) -> None:
    console.print("error: ", style="bold red", end="")
    console.print(str(error), markup=False, soft_wrap=True)
    console.print(f"[bold red]FAILED[/] after {seconds:.1f} s · again: ", end="")
    console.print(shlex.join(again), markup=False, soft_wrap=True)
    if as_json:
        document = {"passed": False, "error": str(error), "kind": type(error).__name__, "exit_code": error.exit_code}
        typer.echo(json.dumps(document, indent=2))
