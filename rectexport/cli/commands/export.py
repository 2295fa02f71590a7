"""`rectexport export MODEL`, or `rectexport MODEL`: export, lower, check, package."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rectexport.cli import engine, options
from rectexport.cli.batch import jobs_of, run_batch
from rectexport.cli.command import Command, Run, command_app
from rectexport.cli.display import Progress, show_parity
from rectexport.cli.int8 import INT8, Int8Flags, from_package
from rectexport.exporter.base.options import ExportOptions, Int8, LoadOptions, ShapeOptions
from rectexport.exporter.base.processing import parse_answer, parse_image_input
from rectexport.runtime.base.documents import strict
from rectexport.runtime.base.environment import require
from rectexport.runtime.errors import RectexportError, UsageError
from rectexport.runtime.tuning.candidate import PLACEMENTS

if TYPE_CHECKING:
    from rectexport.exporter.pipeline import Exported
    from rectexport.runtime.engines.tensorrt.building.building import Built
    from rectexport.runtime.engines.tensorrt.building.rtx import RtxBuilt

app = command_app()

LIBRARIES = ("torch", "onnx", "onnxscript", "onnx_graphsurgeon", "onnxruntime")


def _option(*flags: str, panel: str, **settings: Any) -> Any:
    return typer.Option(*flags, rich_help_panel=panel, **settings)


@app.command(cls=Command)
def export(
    context: typer.Context,
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="MODEL",
            help="A rectexport checkpoint, .pt2, TorchScript, ONNX file, state_dict, training checkpoint, .safetensors "
            "or a folder with them (with --model or --arch), or pickled module (with --trust-pickle). May be left out "
            "with --model, whose own weights are then taken. Several models get a folder each.",
            show_default=False,
        ),
    ] = None,
    own_model: options.OwnModel = LoadOptions.model,
    model_args: options.ModelArgs = None,
    arch: options.Arch = LoadOptions.arch,
    weights: options.Weights = LoadOptions.weights,
    rectified: options.Rectified = LoadOptions.rectified,
    trust_pickle: options.TrustPickle = LoadOptions.trust_pickle,
    rectify_model: options.RectifyModel = LoadOptions.rectify_model,
    inputs: Annotated[
        Path | None, options.input_files("Example inputs: an .npz with one array per input name.")
    ] = None,
    input_shapes: options.InputShapes = None,
    min_shapes: options.MinShapes = None,
    opt_shapes: options.OptShapes = None,
    max_shapes: options.MaxShapes = None,
    multiple_of: Annotated[
        list[str] | None,
        _option(
            "--multiple-of",
            metavar="[NAME:]SHAPE",
            help="What the sizes of each axis are multiples of, as in x:1x1x32x32 for a network that halves its input "
            "five times.",
            show_default=False,
            panel=options.INPUTS,
        ),
    ] = None,
    out: Annotated[
        Path | None, options.out("FOLDER", "Folder of the package. [default: out/NAME for a model NAME.pt]")
    ] = None,
    opset: Annotated[
        int | None,
        _option(
            "--opset",
            metavar="N",
            help="ONNX opset, 18 to 23. [default: 18, or 22 with --bf16] An ONNX file keeps its own, TorchScript is "
            "exported in at most 20.",
            show_default=False,
            panel=options.OUTPUT,
        ),
    ] = ExportOptions.opset,
    rectify: Annotated[
        str,
        _option(
            "--rectify",
            metavar="FORM",
            help="How rectification is exported: fold (constants; static H, W), graph (computed from the shapes), auto "
            "(fold where static, else graph), plugin (a node that a TensorRT plugin or its function body computes).",
            panel=options.OUTPUT,
        ),
    ] = ExportOptions.rectify,
    fp16: Annotated[
        bool,
        _option(
            "--fp16",
            help="float16 in the graph; inputs and outputs stay float32. With --int8: what is not int8, for TensorRT.",
            panel=options.OUTPUT,
        ),
    ] = ExportOptions.fp16,
    bf16: Annotated[
        bool,
        _option("--bf16", help="bfloat16 in the graph, for TensorRT; few CPUs run it.", panel=options.OUTPUT),
    ] = ExportOptions.bf16,
    int8: Annotated[
        bool,
        _option("--int8", help="8-bit integers, from --calibrate; each target gets a model of its own.", panel=INT8),
    ] = False,
    calibrate: Annotated[
        Path | None,
        _option(
            "--calibrate",
            metavar="DIR|FILE.npz",
            help="Data as the network sees it in use, as `rectexport eval --data` takes it: at least 21 items, better "
            "300. A quarter, at most 256, is held out to check the result; labels give its accuracy.",
            show_default=False,
            panel=INT8,
        ),
    ] = None,
    calibration_method: Annotated[
        str,
        _option("--calibration-method", metavar="NAME", help="Ranges by mse, minmax or entropy.", panel=INT8),
    ] = Int8.method,
    calibration_images: Annotated[
        int, _option("--calibration-images", metavar="N", min=16, help="Most items to calibrate on.", panel=INT8)
    ] = Int8.images,
    labels: options.Labels = None,
    mean: options.Mean = "0",
    std: options.Std = "1",
    keep_float: Annotated[
        list[str] | None,
        _option(
            "--keep-float",
            metavar="GLOB",
            help="Layers that stay in float, by the name that --verbose and the manifest show; repeatable.",
            show_default=False,
            panel=INT8,
        ),
    ] = None,
    min_snr: Annotated[
        float | None,
        _option(
            "--min-snr",
            metavar="DB",
            help="Keep the noisiest layers in float until the outputs reach this signal-to-noise ratio.",
            show_default=False,
            panel=INT8,
        ),
    ] = Int8.min_snr,
    float_budget: Annotated[
        str,
        _option(
            "--float-budget",
            metavar="PERCENT",
            help="Largest share of the multiplications that --min-snr may keep in float.",
            panel=INT8,
        ),
    ] = "5%",
    portable_int8: Annotated[
        bool,
        _option(
            "--portable-int8",
            help="7-bit weights, for equal answers on processors with and without VNNI.",
            panel=INT8,
        ),
    ] = Int8.portable,
    force: Annotated[
        bool,
        _option(
            "--force",
            help="Write the package also if int8 is measured to be no faster than float32 on this machine.",
            panel=INT8,
        ),
    ] = Int8.force,
    int8_placement: Annotated[
        str,
        _option(
            "--int8-placement",
            metavar="NAME",
            help=f"For rectified convolutions on ONNX Runtime: {', '.join(PLACEMENTS)}; see docs/quantization.md.",
            panel=INT8,
        ),
    ] = Int8.placement,
    source: Annotated[
        Path | None,
        _option(
            "--source",
            metavar="FILE",
            help="If MODEL is a package: the model that it was made from. Sizes are then those of the package.",
            show_default=False,
            panel=INT8,
        ),
    ] = None,
    image_input: options.ImageInput = None,
    output: options.Answer = None,
    output_names: Annotated[
        str | None,
        _option(
            "--output-names",
            metavar="NAME[,NAME]",
            help="Names of the outputs, in order. [default: the keys and fields that forward returns them under]",
            show_default=False,
            panel=options.OUTPUT,
        ),
    ] = None,
    report: Annotated[
        bool, _option("--report", help="Also write report.html into the package.", panel=options.OUTPUT)
    ] = ExportOptions.report,
    target: Annotated[
        str | None, options.targets(" [default: onnxruntime, or tensorrt with --trt, --rtx]", show_default=False)
    ] = None,
    tensorrt_version: options.TensorRTVersion = None,
    trt: engine.Trt = False,
    rtx: engine.Rtx = False,
    compute_capability: engine.Capabilities = None,
    profile: engine.Profiles = None,
    tf32: engine.Tf32 = engine.EngineFlags.tf32,
    workspace: engine.Workspace = engine.EngineFlags.workspace,
    timing_cache: engine.TimingCache = engine.EngineFlags.timing_cache,
    version_compatible: engine.VersionCompatible = engine.EngineFlags.version_compatible,
    hardware_compatibility: engine.Hardware = engine.EngineFlags.hardware_compatibility,
    strip_plan: engine.StripPlan = engine.EngineFlags.strip_plan,
    dla_core: engine.DlaCore = engine.EngineFlags.dla_core,
    allow_gpu_fallback: engine.GpuFallback = engine.EngineFlags.allow_gpu_fallback,
    plugins: engine.Plugins = None,
    layers: engine.Layers = engine.EngineFlags.layers,
    atol: Annotated[
        list[str] | None,
        _option("--atol", metavar="[OUTPUT:]VALUE", help="Absolute bound of every element.", panel=options.CHECKS),
    ] = None,
    rtol: Annotated[
        list[str] | None,
        _option("--rtol", metavar="[OUTPUT:]VALUE", help="Relative bound of every element.", panel=options.CHECKS),
    ] = None,
    no_guard: options.NoGuard = not ExportOptions.guard,
    trace_timeout: Annotated[
        float,
        _option("--trace-timeout", metavar="SECONDS", help="Longest time that the trace may take.", panel=options.RUN),
    ] = ExportOptions.trace_timeout,
    dry_run: Annotated[
        bool,
        _option("--dry-run", help="Load the model and print what would be done; write nothing.", panel=options.RUN),
    ] = False,
    jobs: Annotated[
        int,
        _option("--jobs", min=1, metavar="N", help="Of several models, export this many at once.", panel=options.RUN),
    ] = 1,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    as_json: options.AsJson = False,
) -> None:
    """Export a trained PyTorch model, or an ONNX file, into a verified ONNX package.

    The model is traced; exact passes lower its rectified convolutions, even kernels and CReLUs; the result is compared
    with PyTorch in float64: every output and every inner layer, with corners and edges apart. The package is written
    only if it agrees.

    **Examples**

    - `rectexport net.pt` — a rectexport checkpoint
    - `rectexport weights.ckpt --model mynets.py:UNet --model-args width=8 --input x:1x3x256x256`
    - `rectexport weights.pth --arch resnet50 --plain --input x:1x3x224x224 -o out/net`
    - `rectexport a.pt b.pt -o out --jobs 2` — into out/a and out/b
    - `rectexport net.pt --trt --fp16` — with a TensorRT engine for this machine
    - `rectexport net.pt --int8 --calibrate photos --target auto`
    - `rectexport out/net --source net.pt --int8 --calibrate photos` — writes out/net-int8
    - `rectexport net.pt2 --min-shapes x:1x3x160x160 --opt-shapes x:1x3x224x224 --max-shapes x:32x3x320x320`
    """
    run = Run(context, as_json=as_json, quiet=quiet, verbose=verbose)
    if files and len(files) > 1:
        with run.reported():
            if source is not None or inputs is not None:
                raise UsageError("--source and --inputs are for one MODEL: export the models by commands of their own")
            folders = [(out or Path("out")) / _name(entry, own_model) for entry in files]
            several = jobs_of(context.obj or (), context.command, folders)
        run_batch(run, context.find_root().command, several, jobs, as_json)
        return
    file = files[0] if files else None
    folder = out or Path("out") / (_name(file, own_model) if source is None else f"{_name(file, own_model)}-int8")
    with run.reported(), Progress(run.console, verbose) as progress:
        engine_flags = engine.EngineFlags(
            profiles=tuple(profile or ()),
            tf32=tf32,
            workspace=workspace,
            timing_cache=timing_cache,
            version_compatible=version_compatible,
            hardware_compatibility=hardware_compatibility,
            strip_plan=strip_plan,
            dla_core=dla_core,
            allow_gpu_fallback=allow_gpu_fallback,
            plugins=tuple(plugins or ()),
            layers=layers,
            compute_capability=tuple(compute_capability or ()),
        )
        flags = Int8Flags(
            calibrate,
            calibration_method,
            calibration_images,
            labels,
            mean,
            std,
            tuple(keep_float or ()),
            min_snr,
            float_budget,
            portable_int8,
            force,
            int8_placement,
        )
        quantization = flags.options(int8)
        absent = _check_engine(engine_flags, trt, rtx, dry_run, fp16 or bf16 or int8)
        asked = ExportOptions(
            opset=opset,
            rectify=rectify,
            target=target or ("tensorrt" if trt or rtx else ExportOptions.target),
            fp16=fp16,
            bf16=bf16,
            int8=quantization,
            atol=_bounds(atol, "--atol"),
            rtol=_bounds(rtol, "--rtol"),
            guard=not no_guard,
            report=report,
            trace_timeout=trace_timeout,
            tensorrt_version=tensorrt_version,
            output_names=_listed(output_names),
            image_input=None if image_input is None else parse_image_input(image_input),
            answer=None if output is None else parse_answer(output),
            command=_without_out(run.again),
        )
        shapes = ShapeOptions(
            input_shapes or (), min_shapes or (), opt_shapes or (), max_shapes or (), inputs, multiple_of or ()
        )
        file, shapes = from_package(file, source, int8, shapes)
        load = LoadOptions(arch, trust_pickle, rectify_model, own_model, tuple(model_args or ()), weights, rectified)
        result = _run(progress, file, folder, load, shapes, asked, dry_run)
        progress.stop()
        if absent is not None:
            raise engine.without_engine(absent, folder, engine_flags, rtx)
        wanted = (trt or rtx) and not dry_run
        built = engine.build_exported(run.console, folder, engine_flags, rtx) if wanted else None
    if isinstance(result, list):
        _end_dry_run(run, result)
    else:
        _end(run, result, built)


def _name(file: Path | None, own_model: str | None) -> str:
    """Name of the package: the file's, the folder's, or that of the user's own network."""
    if file is None:
        return (own_model or "model").rpartition(":")[2].rpartition("/")[2].removesuffix(".py") or "model"
    if file.name.endswith(".index.json"):
        return file.resolve().parent.name
    return file.resolve().name if file.is_dir() else file.stem


def _check_engine(flags: engine.EngineFlags, trt: bool, rtx: bool, dry_run: bool, half: bool) -> RectexportError | None:
    """What is missing for the engine, found before the export. Raises UsageError for flags that do not fit."""
    if flags.tf32 and half:
        raise UsageError("--tf32 is for float32: leave out --fp16, --bf16 and --int8, one precision at a time")
    if trt and rtx:
        raise UsageError("--trt and --rtx: one engine at a time; rectexport build adds the other")
    if not trt and not rtx:
        flags.check_unused()
    elif not dry_run:
        return flags.check_used(rtx)
    return None


def _listed(names: str | None) -> tuple[str, ...]:
    return () if names is None else tuple(name.strip() for name in names.split(","))


def _bounds(texts: Sequence[str] | None, flag: str) -> dict[str, float]:
    from rectexport.exporter.checking.tolerance import parse_bounds

    return parse_bounds(texts or (), flag)


def _without_out(words: list[str]) -> list[str]:
    """The command without its output folder, which reproduce.sh takes as an argument."""
    kept = []
    skip = False
    for word in words:
        if not skip and not (word in ("-o", "--out") or word.startswith("--out=") or re.match(r"-o[^-]", word)):
            kept.append(word)
        skip = not skip and word in ("-o", "--out")
    return kept


def _run(
    progress: Progress,
    file: Path | None,
    out: Path,
    load: LoadOptions,
    shapes: ShapeOptions,
    asked: ExportOptions,
    dry_run: bool,
) -> Exported | list[str]:
    """Export, or describe the export. The heavy libraries are imported here, so that help and usage errors are fast."""
    from rectexport.exporter.frontend.model_file import check_inputs_file, check_model_file

    if file is not None:
        file = check_model_file(file, load.arch)
    elif load.model is None:
        raise UsageError("give MODEL, or --model with a network of your own")
    check_inputs_file(shapes.load)
    from rectexport.exporter.base.log import Log

    log = Log(progress)
    with log.step("import"):
        for library in LIBRARIES:
            require(library)
        from rectexport.exporter.frontend.load import load_source
        from rectexport.exporter.pipeline import describe_export, run_export

    with log.step("load"):
        source = load_source(file, load)
        log.say(f"{file or load.model}: {source.description}")
        for remark in source.remarks:
            log.say(remark)
    if not dry_run:
        return run_export(source, shapes, out, asked, log)
    with log.step("plan"):
        plan = describe_export(source, shapes, out, asked)
        for line in plan:
            log.say(line)
    return plan


def _end_dry_run(run: Run, plan: list[str]) -> None:
    run.conclude(f"dry run: nothing was written · {run.seconds:.1f} s")
    run.write({"dry_run": True, "seconds": round(run.seconds, 3), "plan": plan})


def _end(run: Run, result: Exported, built: Built | RtxBuilt | None) -> None:
    show_parity(run.console, result.parity)
    if built is not None:
        engine.show_built(run.console, built)
    folder = result.package.path
    run.say(f"Files in {folder}:")
    for path in sorted(folder.glob("[!.]*")):
        run.say(f"  {path.name:<14}{path.stat().st_size / 1024:10.1f} KiB")
    run.end(_document(result, built, run.seconds), proven=_proven(result, built))


def _proven(result: Exported, built: Built | RtxBuilt | None) -> str:
    """For the last line: the engines that agree with the source model, and why the target is not among them."""
    engines = [f"{entry.engine} {entry.version}" for entry in result.parity.proofs if entry.verdict == "agrees"]
    proven = f" on {', '.join(engines)}" if engines else ""
    proven = f"{proven}, {result.unproven}" if result.unproven and built is None else proven
    return "; ".join([proven, *result.remarks])


def _document(result: Exported, built: Built | RtxBuilt | None, seconds: float) -> dict[str, Any]:
    document = {
        "passed": True,
        "remarks": list(result.remarks),
        "unproven": result.unproven,
        "seconds": round(seconds, 3),
        "package": str(result.package.path),
        "nodes": list(result.nodes),
        "passes": [entry.as_dict() for entry in result.passes],
        "parity": strict(result.parity.as_dict()),
    }
    return document if built is None else {**document, "plan": engine.document(built)}
