"""`rectexport MODEL`: export, lower, check, package."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from rectexport.cli import engine
from rectexport.cli.command import RUN, AsJson, Command
from rectexport.cli.display import Progress, show_parity
from rectexport.cli.failure import reported, show_verdict
from rectexport.runtime.base.documents import strict
from rectexport.runtime.base.environment import require

if TYPE_CHECKING:
    from rectexport.exporter.pipeline import Exported
    from rectexport.runtime.engines.tensorrt.building.building import Built

app = typer.Typer(add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False)

#: bfloat16 convolutions and pools exist since opset 22.
DEFAULT_OPSETS = {"fp32": 18, "fp16": 18, "bf16": 22}
IN, SHAPES, OUT, CHECKS = "What goes in", "Shapes", "What comes out", "Checks"


def _version(wanted: bool) -> None:
    if wanted:
        import rectexport

        typer.echo(f"rectexport {rectexport.__version__}")
        raise typer.Exit


@app.command(cls=Command)
def export(
    context: typer.Context,
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help="A checkpoint of ours, a state_dict (with --arch), .pt2, TorchScript, .safetensors (with --arch), "
            "an ONNX file, or a pickled module (with --trust-pickle).",
            show_default=False,
        ),
    ],
    arch: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The network of bare weights; `rectexport models` lists them.", rich_help_panel=IN
        ),
    ] = None,
    trust_pickle: Annotated[
        bool,
        typer.Option("--trust-pickle", help="Unpickle the file. Runs its author's code.", rich_help_panel=IN),
    ] = False,
    rectify_model: Annotated[
        bool,
        typer.Option(
            "--rectify-model",
            help="Rectify every zero-padded convolution first, its weights as they are.",
            rich_help_panel=IN,
        ),
    ] = False,
    load_inputs: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Example inputs, one array a name, .npz.", rich_help_panel=IN),
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
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            metavar="FOLDER",
            help="Folder of the package; out/NAME for a model NAME.pt where none is given.",
            show_default=False,
            rich_help_panel=OUT,
        ),
    ] = None,
    opset: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="ONNX opset, 18 to 23. Without it 18, or 22 with --bf16. ONNX keeps its own, TorchScript ends at 20.",
            show_default=False,
            rich_help_panel=OUT,
        ),
    ] = None,
    rectify: Annotated[
        str,
        typer.Option(
            metavar="FORM",
            help="How rectification leaves: fold (constants; static H, W), graph (computed from the shapes), "
            "auto (fold what is static), plugin (left to a TensorRT plugin, or to its function body).",
            rich_help_panel=OUT,
        ),
    ] = "auto",
    target: Annotated[
        str | None,
        typer.Option(
            help="Engine that even kernels and CReLUs are lowered for: onnxruntime, openvino, tensorrt, portable. "
            "Without it tensorrt with --trt, else onnxruntime.",
            show_default=False,
            rich_help_panel=OUT,
        ),
    ] = None,
    fp16: Annotated[
        bool,
        typer.Option("--fp16", help="float16 in the graph; inputs and outputs stay float32.", rich_help_panel=OUT),
    ] = False,
    report: Annotated[
        bool,
        typer.Option("--report", help="Write report.html into the package, too.", rich_help_panel=OUT),
    ] = False,
    bf16: Annotated[
        bool,
        typer.Option("--bf16", help="The same in bfloat16, for TensorRT: few CPUs run it.", rich_help_panel=OUT),
    ] = False,
    trt: Annotated[
        bool,
        typer.Option(
            "--trt",
            help="Build a TensorRT engine for this machine too; sets --target tensorrt.",
            rich_help_panel=engine.PANEL,
        ),
    ] = False,
    profile: engine.Profiles = None,
    tf32: engine.Tf32 = False,
    workspace: engine.Workspace = None,
    timing_cache: engine.TimingCache = None,
    version_compatible: engine.VersionCompatible = False,
    hardware_compatibility: engine.Hardware = "none",
    strip_plan: engine.StripPlan = False,
    plugins: engine.Plugins = None,
    layers: engine.Layers = None,
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
        bool,
        typer.Option("--dry-run", help="Load the model, say what would be done, write nothing.", rich_help_panel=RUN),
    ] = False,
    as_json: AsJson = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version.", rich_help_panel=RUN),
    ] = False,
) -> None:
    """Turn a trained PyTorch model into a verified ONNX package.

    The model is traced, its rectified convolutions, even kernels and CReLUs are lowered by exact passes, and the
    result is compared with PyTorch in float64: every output, every inner layer, corners and edges apart. Only a
    package that agrees is written.

    **Examples**

    - `rectexport net.pt` — a checkpoint that says what it is
    - `rectexport weights.pth --arch resnet50 --input x:1x3x224x224 -o out/net`
    - `rectexport net.pt --trt --fp16` — with a TensorRT engine for this machine
    - `rectexport net.pt2 --min-shapes x:1x3x160x160 --opt-shapes x:1x3x224x224 --max-shapes x:32x3x320x320`

    **Other commands**: `bench` latency · `build` a TensorRT engine · `doctor` what a simplifier broke · `models` the
    zoo · `optimize` any ONNX file · `parity` compare a package · `ray-config` for Ray Serve · `report` a page about it
    · `serve` packages over HTTP and gRPC · `triton` a model repository · `sign` a package, `keygen` for its
    keys · `verify` a package where it is deployed;
    `rectexport COMMAND --help` tells more.

    **Exit codes**: 0 good · 1 bad input or model · 2 usage · 3 the package disagrees · 5 something is missing here
    """
    begin = time.perf_counter()
    console = Console(stderr=as_json, highlight=False, soft_wrap=False)
    progress = Progress(console)
    again = ["rectexport", *(context.obj or ())]
    folder = out or Path("out") / model.stem
    with reported(again, as_json), progress:
        precision = engine.graph_precision(fp16, bf16, tf32)
        engine_flags = engine.EngineFlags(
            profiles=tuple(profile or ()),
            tf32=tf32,
            workspace=workspace,
            timing_cache=timing_cache,
            version_compatible=version_compatible,
            hardware_compatibility=hardware_compatibility,
            strip_plan=strip_plan,
            plugins=tuple(plugins or ()),
            layers=layers,
        )
        if not trt:
            engine_flags.check_unused()
        elif not dry_run:
            engine_flags.check_used()
        flags = {"input": input_shapes or (), "min": min_shapes or (), "opt": opt_shapes or (), "max": max_shapes or ()}
        choices = {
            "opset": DEFAULT_OPSETS[precision] if opset is None else opset,
            "rectify": rectify,
            "target": target or ("tensorrt" if trt else "onnxruntime"),
            "fp16": fp16,
            "bf16": bf16,
            "guard": not no_guard,
            "report": report,
            "command": _without_out(again),
        }
        result = _run(
            progress,
            model,
            folder,
            {"arch": arch, "trust_pickle": trust_pickle, "rectify_model": rectify_model},
            {**flags, "load": load_inputs},
            {**choices, "atol": atol or (), "rtol": rtol or ()},
            dry_run,
        )
        progress.stop()
        built = engine.build_exported(console, folder, engine_flags) if trt and not isinstance(result, list) else None
    seconds = time.perf_counter() - begin
    if isinstance(result, list):
        console.print(f"dry run: nothing was written · {seconds:.1f} s")
        document: dict[str, Any] = {"dry_run": True, "seconds": round(seconds, 3), "plan": result}
    else:
        _show(console, result, built, seconds, again)
        document = _document(result, built, seconds)
    if as_json:
        typer.echo(json.dumps(document, indent=2))


def _without_out(words: list[str]) -> list[str]:
    """The command less its output folder, which reproduce.sh takes as an argument."""
    kept = []
    skip = False
    for word in words:
        if not skip and not word.startswith(("-o", "--out")):
            kept.append(word)
        skip = not skip and word in ("-o", "--out")
    return kept


def _run(
    progress: Progress,
    model: Path,
    out: Path,
    load: dict[str, Any],
    shapes: dict[str, Any],
    choices: dict[str, Any],
    dry_run: bool,
) -> Exported | list[str]:
    """Import the heavy libraries only now, so that --help and usage errors are instant."""
    from rectexport.exporter.frontend.model_file import check_model_file

    check_model_file(model, load["arch"])
    for library in ("torch", "onnx", "onnxscript", "onnx_graphsurgeon", "onnxruntime"):
        require(library)
    from rectexport.exporter.base.log import Log
    from rectexport.exporter.checking.tolerance import parse_bounds
    from rectexport.exporter.frontend.inputs import ShapeOptions
    from rectexport.exporter.frontend.load import LoadOptions, load_source
    from rectexport.exporter.pipeline import ExportOptions, describe_export, run_export

    bounds = {flag: parse_bounds(choices.pop(flag), f"--{flag}") for flag in ("atol", "rtol")}
    options = ExportOptions(**{**choices, **bounds})
    log = Log(progress)
    with log.step("load"):
        source = load_source(model, LoadOptions(**load))
        log.say(f"{model}: {source.description}")
    if dry_run:
        with log.step("plan"):
            plan = describe_export(source, ShapeOptions(**shapes), out, options)
            for line in plan:
                log.say(line)
        return plan
    return run_export(source, ShapeOptions(**shapes), out, options, log)


def _show(console: Console, result: Exported, built: Built | None, seconds: float, again: list[str]) -> None:
    show_parity(console, result.parity)
    if built is not None:
        engine.show_built(console, built)
    folder = result.package.path
    console.print(f"Files in {folder}:", markup=False, soft_wrap=True)
    for path in sorted(folder.glob("[!.]*")):
        console.print(f"  {path.name:<14}{path.stat().st_size / 1024:10.1f} KiB", markup=False)
    show_verdict(console, True, seconds, again)


def _document(result: Exported, built: Built | None, seconds: float) -> dict[str, Any]:
    document = {
        "passed": True,
        "seconds": round(seconds, 3),
        "package": str(result.package.path),
        "nodes": list(result.nodes),
        "passes": [entry.as_dict() for entry in result.passes],
        "parity": strict(result.parity.as_dict()),
    }
    return document if built is None else {**document, "plan": engine.document(built)}
