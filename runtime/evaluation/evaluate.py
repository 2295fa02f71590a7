"""`rectexport.evaluate`: a package's accuracy on labelled data, and how it differs from a reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from rectexport.runtime.arrays.input_files import ImageScaling
from rectexport.runtime.base.notebook import as_html, bar
from rectexport.runtime.base.runner import Array, BackendOptions
from rectexport.runtime.engines.backends import AUTO, TORCH, choose_backend
from rectexport.runtime.errors import BadInput, Option, ParityError, UsageError
from rectexport.runtime.evaluation.differences import Differences
from rectexport.runtime.evaluation.examples import (
    Batch,
    Examples,
    PixelLayout,
    batch_rows,
    open_examples,
    padded,
    unused_scaling,
)
from rectexport.runtime.evaluation.intervals import bootstrap_difference, proportion_difference
from rectexport.runtime.evaluation.metrics import CLASS_METRICS, Metric, Values, find_metric, numbered_alike
from rectexport.runtime.evaluation.sample import Sample, stored_picture
from rectexport.runtime.package.folder import Package
from rectexport.runtime.package.manifest import TensorEntry
from rectexport.runtime.session import Session

DEFAULT_METRIC = "top1"

#: Worst items of an engine that the document of an evaluation shows.
WORST_LISTED = 8

#: (items done, items in all, what is running).
Advance = Callable[[int, int, str], None]


class Predictor(Protocol):
    """A model that answers a batch."""

    @property
    def description(self) -> str:
        """What computes the answers, for people."""

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs by name."""


@dataclass(frozen=True)
class Interval:
    """The engine's metric minus the reference's, with a 95 % interval; low and high are None for too few items."""

    value: float
    low: float | None = None
    high: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dict(vars(self))


@dataclass
class Answers:
    """What one model answered.

    value        the metric; None for data without labels
    difference   from the reference's metric; None without reference or labels
    against      the single differences from the reference; None without one
    dropped      whether the whole interval lies below -max_drop
    """

    description: str
    value: float | None = None
    difference: Interval | None = None
    against: Differences | None = None
    dropped: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        document: dict[str, Any] = {"description": self.description, "value": self.value}
        if self.difference is not None:
            document["difference"] = self.difference.as_dict()
        if self.against is not None:
            document.update(
                agreement=self.against.agreement,
                agreed=self.against.agreed,
                compared=self.against.compared,
                median_margin=self.against.median_margin,
                flips=[flip.as_dict() for flip in self.against.flips],
                regions={name: worst.as_dict() for name, worst in self.against.regions.items()},
            )
        return document


@dataclass(repr=False)
class Evaluation:
    """The result of `evaluate`. engines has one entry for each backend, in the order they were asked for.

    pictures   the first input of the worst items, by their names; empty unless `evaluate` was asked for them
    sample     the first item with every model's answer, which `rectexport report` shows
    """

    data: str
    items: int
    output: str
    metric: str
    unit: str
    max_drop: float | None
    reference: Answers | None = None
    engines: list[Answers] = field(default_factory=list)
    pictures: dict[str, Array] = field(default_factory=dict)
    sample: Sample | None = None

    def __repr__(self) -> str:
        told = [
            entry.description if entry.value is None else f"{entry.description} {self.metric} {entry.value:.4g}"
            for entry in (*([self.reference] if self.reference else []), *self.engines)
        ]
        return f"<Evaluation of {self.items} items of {self.data}: {'; '.join(told)}>"

    def _repr_html_(self) -> str | None:
        return as_html("evaluation", self)

    @property
    def passed(self) -> bool:
        """Whether no engine is worse than the reference by more than max_drop for certain."""
        return not any(entry.dropped for entry in self.engines)

    def failures(self) -> list[str]:
        """One line for each engine that is too much worse."""
        return [
            f"{entry.description}: {self.metric} is {-entry.difference.value:.3g} {self.unit} lower than the "
            f"reference's, and with 95 % confidence more than the {self.max_drop:g} allowed".replace("  ", " ")
            for entry in self.engines
            if entry.dropped and entry.difference is not None
        ]

    def _worst_of(self, entry: Answers) -> dict[str, Any]:
        """The worst items of an engine that have pictures."""
        told = {} if entry.against is None else entry.against.worst()
        items = [
            {"item": item, "told": text, "picture": stored_picture(self.pictures[item])}
            for item, text in told.items()
            if item in self.pictures
        ]
        return {"worst": items[:WORST_LISTED]} if items else {}

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "passed": self.passed,
            "data": self.data,
            "items": self.items,
            "output": self.output,
            "metric": self.metric,
            "unit": self.unit,
            "max_drop": self.max_drop,
            "reference": None if self.reference is None else self.reference.as_dict(),
            "engines": [{**entry.as_dict(), **self._worst_of(entry)} for entry in self.engines],
            "sample": None if self.sample is None else self.sample.as_dict(),
        }


def evaluate(
    package: str | Path | Package | Session,
    data: str | Path | Mapping[str, Any],
    labels: Any = None,
    *,
    metric: str = DEFAULT_METRIC,
    against: Any = None,
    backend: str = AUTO,
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
    max_drop: float | None = None,
    pictures: int = 0,
    progress: Advance | None = None,
) -> Evaluation:
    """Measure a package on labelled data, on one engine or several, and compare it with a reference item by item.

    package      its folder, or a session, which is used as it is
    data         a folder of images, an .npz with one array for each input, or such arrays by name; one row an item
    labels       targets: an array; for a folder a .csv of images and labels, or a text file of class names. None takes
                 the array `labels` of data, or the names of the folders that the images lie in
    metric       "top1", "top5" (percent), "miou" (percent), "psnr" (dB), "ssim", or "module:function", which takes the
                 first output [N, ...] and the targets [N, ...] and returns one number an item, larger being better
    against      reference: an nn.Module in eval mode, another package, or an object with run(feeds) and description
    backend      engine, or several joined by commas; not with a session
    mean, std    for images: the input is (pixel / 255 - mean) / std
    max_drop     the result's `passed` is False where the metric is lower than the reference's by more than this, in the
                 metric's unit, with 95 % confidence
    pictures     keep the inputs of so many of the worst items of each engine: changed classes with the largest margins,
                 and the worst of each region
    progress     called as progress(items done, items in all, what runs); a notebook shows a bar by itself

    Returns an Evaluation. Raises BadInput for data that the package does not take and labels that do not fit the
    output, UsageError for options that contradict each other, MissingDependency for a missing engine or library.
    """
    found = find_metric(metric)
    if max_drop is not None and against is None:
        raise UsageError(Option("max_drop", max_drop), ": needs a reference to drop from; give ", Option("against"))
    with ExitStack() as stack:
        folder, engines = _engines(package, backend, stack)
        entries = folder.manifest.inputs
        scaling = ImageScaling(tuple(mean), tuple(std))
        unused = unused_scaling(data, entries, scaling)
        if unused:
            raise BadInput(Option("mean"), ", ", Option("std"), f": are for images of a floating-point input; {unused}")
        layout = PixelLayout.of(folder.manifest.data.get("preprocessing"))
        _check_answer(folder.manifest.data.get("postprocessing"), found)
        examples = open_examples(data, entries, labels, scaling, layout)
        _check(examples, against, max_drop)
        reference = None if against is None else _reference(against, folder, backend.split(",")[0], stack)
        own = bar() if progress is None else None
        result = _Evaluator(folder, found, examples, engines, reference, max_drop).run(progress or own)
        if own is not None:
            own.close()
        if pictures:
            result.pictures = _inputs_of(_worst(result, pictures), examples)
        return result


def _worst(result: Evaluation, most: int) -> set[str]:
    """Names of the worst items of all engines, at most so many of each."""
    names: set[str] = set()
    for entry in result.engines:
        if entry.against is not None:
            names.update(list(entry.against.worst())[:most])
    return names


def _inputs_of(names: set[str], examples: Examples) -> dict[str, Array]:
    """The first input of these items; the data is read once more, and no model runs."""
    found: dict[str, Array] = {}
    for batch in examples.batches(32) if names else ():
        array = next(iter(batch.feeds.values()))
        found.update({name: array[row] for row, name in enumerate(batch.names) if name in names})
        if len(found) == len(names):
            break
    return found


def _check_answer(postprocessing: Any, metric: Metric) -> None:
    """Of outputs that are chosen classes, and no score for each class, the class is not the largest one's place."""
    kind = postprocessing.get("kind") if isinstance(postprocessing, Mapping) else None
    if metric.name in CLASS_METRICS and kind in ("topk", "argmax"):
        raise UsageError(
            Option("metric", metric.name),
            f": needs a score for each class, and the package answers with {kind}; evaluate the package without it, or "
            "give module:function",
        )


def _check(examples: Examples, against: Any, max_drop: float | None) -> None:
    if examples.labelled:
        return
    if against is None:
        raise UsageError(
            f"{examples.name}: has no labels and there is no reference, so nothing can be measured; add labels, or ",
            Option("against"),
        )
    if max_drop is not None:
        raise UsageError(f"{examples.name}: has no labels, so no metric can drop; leave out ", Option("max_drop"))


@dataclass(frozen=True)
class _OfSession:
    """A session as a Predictor."""

    session: Session

    @property
    def description(self) -> str:
        return self.session.backend.description

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        return self.session.run(feeds)


def _engines(package: Any, backend: str, stack: ExitStack) -> tuple[Package, list[Predictor]]:
    if hasattr(package, "run") and hasattr(package, "package"):
        return package.package, [_OfSession(package)]
    opened = package if isinstance(package, Package) else Package.open(package)
    opened.verify_files()
    names = list(dict.fromkeys(backend.split(",")))
    return opened, [_OfSession(_session(opened, name, stack)) for name in names]


def _session(package: Package, backend: str, stack: ExitStack) -> Session:
    # An engine that disagrees is measured, not refused: the result shows by how much.
    runner, choice = choose_backend(package, backend, BackendOptions(allow_unproven=True), prove=backend == AUTO)
    return stack.enter_context(Session(package, runner, choice))


def _reference(against: Any, package: Package, backend: str, stack: ExitStack) -> Predictor:
    if isinstance(against, (str, Path, Package)):
        other = against if isinstance(against, Package) else Package.open(against)
        other.verify_files()
        _check_same_inputs(other, package)
        return _Named(_session(other, backend, stack), other.path)
    if hasattr(against, "parameters"):
        runner, _ = choose_backend(package, TORCH, BackendOptions(model=against))
        return runner
    if not hasattr(against, "run"):
        raise UsageError(
            Option("against"), f": expected a module, a package or an object with run(), got {type(against).__name__}"
        )
    predictor: Predictor = against
    return predictor


def _check_same_inputs(other: Package, package: Package) -> None:
    theirs, ours = ([entry.name for entry in side.manifest.inputs] for side in (other, package))
    if theirs != ours:
        raise BadInput(f"{other.path}: takes {', '.join(theirs)}, and {package.path} takes {', '.join(ours)}")


@dataclass(frozen=True)
class _Named:
    """Another package's session."""

    session: Session
    path: Path

    @property
    def description(self) -> str:
        return f"{self.path} on {self.session.backend.description}"

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        return self.session.run(feeds)


class _Evaluator:
    """Runs all models batch by batch, and keeps what the metric needs of each item."""

    def __init__(
        self,
        package: Package,
        metric: Metric,
        examples: Examples,
        engines: Sequence[Predictor],
        reference: Predictor | None,
        max_drop: float | None,
    ) -> None:
        self._entries: Sequence[TensorEntry] = package.manifest.inputs
        self._output = package.manifest.outputs[0].name
        self._metric, self._examples, self._max_drop = metric, examples, max_drop
        self._models = [*([] if reference is None else [reference]), *engines]
        self._compared = reference is not None
        self._statistics: list[list[Values]] = [[] for _ in self._models]
        self._differences = [Differences() for _ in engines]
        self._sample: Sample | None = None

    def run(self, progress: Advance | None) -> Evaluation:
        most, least = batch_rows(self._entries)
        done, total = 0, len(self._examples)
        for batch in self._examples.batches(most):
            if progress is not None:
                progress(done, total, batch.names[0])
            self._add(batch, least)
            done += len(batch.names)
        return self._result(done)

    def _add(self, batch: Batch, least: int) -> None:
        _check_numbers(batch)
        feeds = padded(batch.feeds, least)
        outputs = [self._answer(model, feeds, batch) for model in self._models]
        if self._sample is None:
            self._sample = self._first(batch, outputs)
        if batch.targets is not None:
            self._check_classes(outputs[0])
            for statistics, values in zip(self._statistics, outputs, strict=True):
                statistics.append(self._scores(values, batch))
        if self._compared:
            for differences, actual in zip(self._differences, outputs[1:], strict=True):
                differences.add(batch.names, outputs[0], actual, batch.targets)

    def _check_classes(self, outputs: Array) -> None:
        """Folders are numbered by their names, which is a guess unless each of the output's classes has one."""
        folders = self._examples.classes
        if self._metric.binary and not numbered_alike(folders, outputs):
            raise BadInput(
                f"{self._examples.name}: {folders} folders of images, and the output has {outputs.shape[1]} classes; "
                "list the names of all classes, one a line in the order of the outputs, in a text file for ",
                Option("labels"),
            )

    def _scores(self, values: Array, batch: Batch) -> Values:
        assert batch.targets is not None
        try:
            return self._metric.of_items(values, batch.targets)
        except BadInput as error:
            raise BadInput(f"{self._examples.name}, {batch.names[0]} to {batch.names[-1]}: ", *error.args) from None

    def _first(self, batch: Batch, outputs: Sequence[Array]) -> Sample:
        target = None if batch.targets is None else np.asarray(batch.targets[0])
        whole = target is not None and target.ndim == 0 and target.dtype.kind in "iu"
        given = next(iter(batch.feeds.values()))[0].copy()
        answers = [(model.description, values[0].copy()) for model, values in zip(self._models, outputs, strict=True)]
        return Sample(batch.names[0], int(target) if whole and target is not None else None, given, answers)

    def _answer(self, model: Predictor, feeds: Mapping[str, Array], batch: Batch) -> Array:
        found = model.run(feeds)
        # A reference may name its outputs otherwise; their order is the package's.
        values = found[self._output] if self._output in found else next(iter(found.values()))
        rows = len(next(iter(feeds.values())))
        if values.ndim == 0 or len(values) != rows:
            raise BadInput(
                f"output {self._output}: shape {list(values.shape)} for {rows} items; expected one row an item"
            )
        values = values[: len(batch.names)]
        if values.dtype.kind == "f" and np.isnan(values).any():
            first = int(np.flatnonzero(np.isnan(values).reshape(len(values), -1).any(axis=1))[0])
            raise ParityError(f"output {self._output} of {batch.names[first]} holds NaN on {model.description}")
        return values

    def _result(self, items: int) -> Evaluation:
        metric, examples = self._metric, self._examples
        answers = [Answers(model.description) for model in self._models]
        if examples.labelled:
            statistics = [np.concatenate(entries) for entries in self._statistics]
            for entry, own in zip(answers, statistics, strict=True):
                entry.value = float(metric.value(own.mean(axis=0)))
                if not np.isfinite(entry.value):
                    raise BadInput(
                        f"{examples.name}: {metric.name} of {entry.description} is {entry.value}: no label counts"
                    )
        reference = answers.pop(0) if self._compared else None
        for index, entry in enumerate(answers if self._compared else ()):
            entry.against = self._differences[index]
            if examples.labelled:
                entry.difference = difference(metric, statistics[0], statistics[index + 1])
                entry.dropped = self._has_dropped(entry.difference)
        shown = metric if examples.labelled else None
        return Evaluation(
            examples.name,
            items,
            self._output,
            "" if shown is None else shown.name,
            "" if shown is None else shown.unit,
            self._max_drop,
            reference,
            answers,
            sample=self._sample,
        )

    def _has_dropped(self, difference: Interval) -> bool:
        if self._max_drop is None:
            return False
        if difference.high is None:
            raise BadInput(
                f"{self._examples.name}: too few items for a confidence interval, which ",
                Option("max_drop", self._max_drop),
                " needs",
            )
        return difference.high < -self._max_drop


def _check_numbers(batch: Batch) -> None:
    """Raise BadInput for NaN in the inputs: an engine may turn it into a number, and the metric would look right."""
    for name, array in batch.feeds.items():
        if array.dtype.kind == "f" and np.isnan(array).any():
            bad = int(np.flatnonzero(np.isnan(array).reshape(len(array), -1).any(axis=1))[0])
            raise BadInput(f"input {name} of {batch.names[bad]} holds NaN; leave the item out, or give its values")


def difference(metric: Metric, first: Values, second: Values) -> Interval:
    """second's metric minus first's, from statistics of the same items [N, K]."""
    value = float(metric.value(second.mean(axis=0)) - metric.value(first.mean(axis=0)))
    if metric.binary:
        low, high = proportion_difference(first[:, 0] > 0, second[:, 0] > 0)
        return Interval(value, 100 * low, 100 * high)
    ends = bootstrap_difference(first, second, metric.value)
    return Interval(value) if ends is None else Interval(value, *ends)
