"""`rectexport eval PACKAGE`: accuracy on the user's own data, on each engine and against a reference."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rectexport.cli import options
from rectexport.cli.command import Command, Run, command_app
from rectexport.cli.display import Progress
from rectexport.cli.parity.reference import Against, open_reference
from rectexport.exporter.base.options import LoadOptions
from rectexport.runtime.base.documents import strict
from rectexport.runtime.base.environment import require
from rectexport.runtime.base.texts import printable
from rectexport.runtime.errors import ParityError
from rectexport.runtime.package.folder import Package, check_outside

if TYPE_CHECKING:
    from rectexport.exporter.base.log import Log
    from rectexport.runtime.evaluation.evaluate import Answers, Evaluation
    from rectexport.runtime.parity.stored_reference import ParityReference

app = command_app()

DATA = "Data"
#: Flips that are printed; --verbose and --json have all.
SHOWN = 5
#: Items of each engine that --html shows with their pictures; the document of --json has fewer.
PICTURES = 24


@app.command("eval", cls=Command)
def evaluate_package(
    context: typer.Context,
    package: options.PackageFolder,
    data: Annotated[
        Path,
        typer.Option(
            metavar="DIR|FILE.npz",
            help="Images in one folder a class, images with a CSV of labels, or an .npz with one array for each input "
            "by its name, and `labels`; one row an item.",
            show_default=False,
            rich_help_panel=DATA,
        ),
    ],
    labels: options.Labels = None,
    metric: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="top1, top5, miou (in percent), psnr (in dB), ssim, or module:function, which takes outputs and "
            "labels and returns one number an item, larger being better.",
            rich_help_panel=DATA,
        ),
    ] = "top1",
    mean: options.Mean = "0",
    std: options.Std = "1",
    against: Annotated[
        Path | None,
        options.against(
            "Compare item by item with a checkpoint or other model that `rectexport export` takes (run by PyTorch in "
            "float64), an ONNX file, or another package."
        ),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            metavar="VALUE",
            min=0,
            help="Exit with code 3 if the metric is lower than the reference's by more than this, in points or dB, "
            "with 95 % confidence.",
            show_default=False,
            rich_help_panel=options.REFERENCE,
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html",
            help="Write a page with the figures and pictures of the worst items; needs --against for these.",
            show_default=False,
        ),
    ] = None,
    own_model: options.OwnModel = None,
    model_args: options.ModelArgs = None,
    arch: options.Arch = None,
    weights: options.Weights = None,
    rectified: options.Rectified = None,
    trust_pickle: options.TrustPickle = False,
    rectify_model: options.RectifyModel = False,
    backend: options.Backends = options.DEFAULT_BACKEND,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    as_json: options.AsJson = False,
) -> None:
    """Measure a package's accuracy on labelled data, and how it differs from a reference.

    With a reference the difference has a 95 % interval over the same items, every item whose class changes is listed
    with the reference's margin, and of dense outputs the worst item of each region is named.

    **Examples**

    - `rectexport eval out/net --data photos --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225`
    - `rectexport eval out/net-int8 --data test.npz --against out/net --max-drop 0.2 --backend onnxruntime,openvino`
    - `rectexport eval out/net --data frames --labels masks.csv --metric miou`
    """
    run = Run(context, as_json=as_json, quiet=quiet, verbose=verbose)
    with run.reported(), Progress(run.console, verbose) as progress, ExitStack() as stack:
        from rectexport.exporter.base.log import Log
        from rectexport.runtime.evaluation.evaluate import evaluate
        from rectexport.runtime.report.evaluation_page import write_evaluation

        if html is not None:  # found out now, not after the evaluation
            require("jinja2")
            check_outside(html)
        load = LoadOptions(arch, trust_pickle, rectify_model, own_model, tuple(model_args or ()), weights, rectified)
        scaling = options.image_scaling(mean, std)
        log = Log(progress)
        with log.step("load"):
            opened = Package.open(package)
            found = _reference(Against(against, load, None), opened, log, stack)
        with log.step("evaluate"):
            result = evaluate(
                opened,
                data,
                labels,
                metric=metric,
                against=found,
                backend=backend,
                mean=scaling.mean,
                std=scaling.std,
                max_drop=max_drop,
                pictures=PICTURES if html is not None or as_json else 0,
                progress=log.advance,
            )
        if html is not None:
            write_evaluation(result, html)
    _show(run.console, result)
    for answers in result.engines:
        _show_differences(run, answers, verbose)
    for text in result.failures():
        run.fault(text)
    document = {"package": str(package), **strict(result.as_dict()), "seconds": round(run.seconds, 3)}
    run.end(document, code=0 if result.passed else ParityError.exit_code)


@dataclass(frozen=True)
class _Answering:
    """A model file as the evaluation takes it."""

    reference: ParityReference

    @property
    def description(self) -> str:
        return self.reference.description

    def run(self, feeds: Any) -> dict[str, Any]:
        return self.reference.outputs(feeds)


def _reference(against: Against, package: Package, log: Log, stack: ExitStack) -> Path | _Answering | None:
    """What to compare with: a package by its folder, which the evaluation opens, or a model."""
    if against.model is None or (against.model.is_dir() and against.load == LoadOptions()):
        against.check_alone()
        return against.model
    reference, _ = open_reference(against, package, log)
    stack.callback(reference.close)
    log.say(f"reference: {reference.description}")
    return _Answering(reference)


def _show(console: Console, result: Evaluation) -> None:
    """One row for each model."""
    table = Table(title=f"{result.items} items of {printable(result.data)}, output {printable(result.output)}")
    table.title_justify = "left"
    headings = ["model", *([result.metric] if result.metric else [])]
    compared = result.reference is not None
    headings += ["difference, 95 % interval"] if compared and result.metric else []
    headings += ["agreement"] if compared else []
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="right" if index else "left", overflow="fold")
    for answers in (*([result.reference] if result.reference else []), *result.engines):
        cells = [Text(printable(answers.description))]
        if result.metric:
            cells.append(Text(_number(answers.value, result.unit)))
        if compared and result.metric:
            cells.append(Text(_interval(answers)))
        if compared:
            share = None if answers.against is None else answers.against.agreement
            cells.append(Text("" if share is None else f"{share:.2%}"))
        table.add_row(*cells)
    console.print(table)


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    return f"{value:.2f} %" if unit == "points" else f"{value:.4g} {unit}".strip()


def _interval(answers: Answers) -> str:
    difference = answers.difference
    if difference is None:
        return ""
    if difference.low is None or difference.high is None:
        return f"{difference.value:+.3g}, too few items for an interval"
    return f"{difference.value:+.3g} ({difference.low:+.3g} to {difference.high:+.3g})"


def _show_differences(run: Run, answers: Answers, every: bool) -> None:
    """Items that changed their class, and the worst item of each region."""
    found = answers.against
    if found is None:
        return
    flips = sorted(found.flips, key=lambda flip: -flip.margin)
    if flips:
        usual = f", the median of all items is {found.median_margin:.3g}" if found.median_margin is not None else ""
        run.say(f"{answers.description}: {len(flips)} of {found.compared} items change their class; margins{usual}:")
    for flip in flips if every else flips[:SHOWN]:
        label = "" if flip.target is None else f", label {flip.target}"
        run.say(f"  {flip.item}: {flip.expected} becomes {flip.actual}, margin {flip.margin:.3g}{label}")
    if len(flips) > SHOWN and not every:
        run.say(f"  and {len(flips) - SHOWN} more: --verbose lists all")
    for region, worst in found.regions.items():
        difference = worst.difference
        where = "" if difference.worst is None else f", worst at {difference.worst}"
        run.say(f"{answers.description}: {region} of {worst.item} {difference.snr_db:.1f} dB{where}")
