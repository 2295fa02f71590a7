"""`rectexport tune MODEL`: the fastest deployment within bounds of accuracy, latency and memory."""

from __future__ import annotations

from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rectexport.cli import options
from rectexport.cli.command import Command, Run, command_app
from rectexport.cli.display import Progress
from rectexport.cli.int8 import INT8
from rectexport.cli.profile.limit import size_of
from rectexport.cli.tune.flags import counts, duration, words
from rectexport.cli.tune.view import SearchView, show_tuning
from rectexport.exporter.base.options import LoadOptions, ShapeOptions
from rectexport.exporter.base.tuning import SEARCHED, TuneOptions, package_path
from rectexport.runtime.base.environment import require
from rectexport.runtime.base.files import check_replaceable_folder
from rectexport.runtime.errors import UsageError
from rectexport.runtime.layouts import LAYOUTS
from rectexport.runtime.package.folder import Package, check_outside
from rectexport.runtime.package.manifest import FILE_NAME
from rectexport.runtime.tuning.candidate import FORMS, GRAPHS, PLACEMENTS, PRECISIONS
from rectexport.runtime.tuning.choice import LATENCY, THROUGHPUT

if TYPE_CHECKING:
    from rectexport.exporter.tuning.tune import Tuned

app = command_app()

DATA, BOUNDS, SPACE = "Data", "Bounds", "What is tried"
#: Libraries that an export needs.
LIBRARIES = ("torch", "onnx", "onnx_graphsurgeon", "onnxscript")
#: Exit code where no candidate keeps the bounds.
NONE_KEEPS = 4
#: What an interrupted search leaves: its folder of work.
LEFT = "no package was written, and the same command goes on"


@app.command(cls=Command)
def tune(
    context: typer.Context,
    model: Annotated[
        Path | None,
        typer.Argument(metavar="MODEL|PACKAGE", help="A model file, or the folder of a package.", show_default=False),
    ] = None,
    own_model: options.OwnModel = None,
    model_args: options.ModelArgs = None,
    arch: options.Arch = None,
    weights: options.Weights = None,
    rectified: options.Rectified = None,
    trust_pickle: options.TrustPickle = False,
    rectify_model: options.RectifyModel = False,
    input_shapes: options.InputShapes = None,
    min_shapes: options.MinShapes = None,
    opt_shapes: options.OptShapes = None,
    max_shapes: options.MaxShapes = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR|FILE.npz",
            help="Labelled examples, as `rectexport eval` takes them, to judge accuracy on. Without --calibrate a "
            "quarter of them calibrates int8 instead.",
            rich_help_panel=DATA,
        ),
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR|FILE.npz", help="Examples to calibrate int8 on.", rich_help_panel=INT8, show_default=False
        ),
    ] = None,
    labels: options.Labels = None,
    metric: Annotated[
        str, typer.Option(metavar="NAME", help="As `rectexport eval --metric`.", rich_help_panel=DATA)
    ] = TuneOptions.metric,
    mean: options.Mean = "0",
    std: options.Std = "1",
    max_drop: Annotated[
        float | None,
        typer.Option(
            metavar="VALUE",
            help="How much lower the metric may be than float32's, in points or dB; the whole 95 % interval must "
            "keep it.",
            show_default=False,
            rich_help_panel=options.REFERENCE,
        ),
    ] = None,
    max_latency: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="What 99 % of the calls take at most, as in 5ms.", rich_help_panel=BOUNDS),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Most resident memory of the process, as in 500M.", rich_help_panel=BOUNDS),
    ] = None,
    goal: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help=f"{LATENCY} of a call, or {THROUGHPUT} in items a second. [default: {LATENCY}; {THROUGHPUT} with "
            "--max-latency]",
            rich_help_panel=BOUNDS,
        ),
    ] = None,
    backends: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[,NAME]",
            help=f"Engines, the preferred first: {', '.join(SEARCHED)}. [default: those that are here]",
            rich_help_panel=SPACE,
        ),
    ] = None,
    precisions: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[,NAME]",
            help=f"Some of {', '.join(PRECISIONS)}. [default: fp32, and int8 where there is data]",
            rich_help_panel=SPACE,
        ),
    ] = None,
    forms: Annotated[
        str,
        typer.Option(
            metavar="NAME[,NAME]",
            help=f"Some of {', '.join(FORMS)}: operators in the exporter's forms, or as the model has them.",
            rich_help_panel=SPACE,
        ),
    ] = "chosen",
    placements: Annotated[
        str,
        typer.Option(
            metavar="NAME[,NAME]",
            help=f"Some of {', '.join(PLACEMENTS)}: Q/DQ nodes in int8 on ONNX Runtime.",
            rich_help_panel=SPACE,
        ),
    ] = "auto",
    layouts: Annotated[
        str,
        typer.Option(
            metavar="NAME[,NAME]",
            help=f"Some of {', '.join(LAYOUTS)}: of tensors in float32 on ONNX Runtime; plain is NCHW throughout.",
            rich_help_panel=SPACE,
        ),
    ] = ",".join(TuneOptions.layouts),
    cuda_graphs: Annotated[
        str,
        typer.Option(
            metavar="NAME[,NAME]",
            help=f"Some of {', '.join(GRAPHS)}: whether cuda and tensorrt launch CUDA graphs.",
            rich_help_panel=SPACE,
        ),
    ] = ",".join(TuneOptions.cuda_graphs),
    threads: Annotated[
        str | None,
        typer.Option(
            metavar="N[,N]", help="Threads of a CPU engine. [default: the cores]", rich_help_panel=options.ENGINE
        ),
    ] = None,
    streams: Annotated[str, typer.Option(metavar="N[,N]", help="Calls at the same time.", rich_help_panel=SPACE)] = "1",
    batch: Annotated[
        str | None,
        typer.Option(
            metavar="N[,N]",
            help="Batch sizes. [default: 1, or the smallest that a package takes]",
            rich_help_panel=options.INPUTS,
        ),
    ] = None,
    search_time: Annotated[
        str,
        typer.Option("--time", metavar="TIME", help="How long to search, after the exports.", rich_help_panel=SPACE),
    ] = "10m",
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, help="Of the split of data and the order.", rich_help_panel=SPACE)
    ] = 0,
    out: Annotated[Path | None, options.out("FOLDER", "Folder of the package. [default: out/NAME-tuned]")] = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    as_json: options.AsJson = False,
) -> None:
    """Find the fastest deployment within bounds, and write its package.

    Engines, precisions, threads, streams and batch sizes are combined; on a GPU also CUDA graphs, and TensorRT gets a
    plan of every variant. Every candidate is proven against PyTorch before it is timed, in a process of its own; then
    candidates race until their 95 % intervals separate or the time is up. Of those that are not told apart, the
    simplest is taken. What was measured is kept in tuning.json of the package.

    **Examples**

    - `rectexport tune net.pt --data val.npz --max-drop 0.2`
    - `rectexport tune net.pt --goal throughput --batch 1,8 --streams 1,2 --max-latency 50ms`
    - `rectexport tune out/net --threads 1,2,4 --time 2m`
    """
    run = Run(context, as_json=as_json, quiet=quiet, verbose=verbose)
    view = SearchView(run.console)
    with run.reported(LEFT), Progress(run.console, verbose) as progress:
        load = LoadOptions(arch, trust_pickle, rectify_model, own_model, tuple(model_args or ()), weights, rectified)
        shapes = ShapeOptions(
            tuple(input_shapes or ()), tuple(min_shapes or ()), tuple(opt_shapes or ()), tuple(max_shapes or ())
        )
        if model is None and own_model is None:
            raise UsageError("give MODEL or PACKAGE, or --model with a network of your own")
        if max_drop is not None and not 0 <= max_drop < inf:
            raise UsageError(f"--max-drop {max_drop}: expected a finite number, 0 or more")
        scaling = options.image_scaling(mean, std)
        asked = TuneOptions(
            data=data,
            calibrate=calibrate,
            labels=labels,
            metric=metric,
            mean=scaling.mean,
            std=scaling.std,
            max_drop=max_drop,
            max_latency=None if max_latency is None else duration(max_latency, "--max-latency"),
            memory=None if memory is None else size_of(memory, "--memory"),
            goal=goal,
            backends=words(backends),
            precisions=words(precisions),
            forms=words(forms),
            placements=words(placements),
            layouts=words(layouts),
            cuda_graphs=words(cuda_graphs),
            threads=counts(threads, "--threads"),
            streams=counts(streams, "--streams"),
            batches=counts(batch, "--batch"),
            seconds=duration(search_time, "--time"),
            seed=seed,
            shapes=shapes,
            load=load,
        )
        try:
            result = _tuned(model, out or _default_out(model, own_model), asked, run, progress, view)
        finally:
            view.stop()
    passed = result.package is not None
    show_tuning(run.console, result.document, verbose or not passed)  # else nobody learns why none is left
    if not passed:
        run.fault(result.found.reason)
    document = {
        "passed": passed,
        "package": None if result.package is None else str(result.package.path),
        **result.document,
        "seconds_in_all": round(run.seconds, 3),
    }
    if result.package is not None:
        arguments = ", ".join(f"{name}={value!r}" for name, value in result.document["load"].items())
        run.say(f"rectexport.load({str(result.package.path)!r}, {arguments})")
    run.end(document, code=0 if passed else NONE_KEEPS)


def _default_out(model: Path | None, own_model: str | None) -> Path:
    name = model.resolve() if model is not None else Path((own_model or "model").rpartition(":")[2])
    return Path("out") / f"{name.name if model is not None and model.is_dir() else name.stem}-tuned"


def _tuned(model: Path | None, out: Path, asked: TuneOptions, run: Run, progress: Progress, view: SearchView) -> Tuned:
    if model is None or package_path(model) is None:
        from rectexport.exporter.frontend.model_file import check_model_file

        if model is not None:
            check_model_file(model, asked.load.arch)
        for library in LIBRARIES:
            require(library)
    else:
        if out.resolve() == model.resolve():
            raise UsageError(f"-o {out}: is the package itself; choose another folder")
        Package.open(model).verify_files()
    check_outside(out)
    check_replaceable_folder(out, FILE_NAME)  # before hours of search
    from rectexport.exporter.tuning.tune import Tuning

    return Tuning(model, out, asked, run.again, progress, view.tick, view.started).run()
