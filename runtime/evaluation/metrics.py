"""Metrics of a model's answers. Each gives some numbers for every item; the metric is computed from their means.

So one pass over the data yields the metric, and the items can be drawn again for a confidence interval.
Larger is better for every metric.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rectexport.runtime.base.environment import require
from rectexport.runtime.base.texts import summary
from rectexport.runtime.errors import BadInput, Option, UsageError

Array = NDArray[Any]
Values = NDArray[np.float64]
#: Segmentation data sets mark pixels without a label with this value, or with -1.
IGNORED = 255


@dataclass(frozen=True)
class Metric:
    """A metric by name.

    unit     of its values and of --max-drop: "points" are percent
    of_items from outputs [N, ...] and targets [N, ...] to statistics [N, K]
    value    from mean statistics [..., K] to the metric [...]
    binary   whether the statistic of an item is one number, 0 or 1
    """

    name: str
    unit: str
    of_items: Callable[[Array, Array], Values]
    value: Callable[[Values], Values]
    binary: bool = False


def find_metric(name: str) -> Metric:
    """The metric of this name, or of a Python function given as module:function.

    Raises UsageError for an unknown name, BadInput for a function that cannot be imported.
    """
    if ":" in name:
        function = _imported(name)
        return Metric(name, "", lambda outputs, targets: _called(name, function, outputs, targets), _mean)
    if name not in METRICS:
        raise UsageError(Option("metric", name), f": expected one of {', '.join(METRICS)}, or module:function")
    return METRICS[name]


def _imported(name: str) -> Callable[..., Any]:
    module, _, attribute = name.partition(":")
    place = os.getcwd()
    sys.path.insert(0, place)
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except Exception as error:  # importing runs the user's code
        raise BadInput(Option("metric", name), f": cannot be imported from {place}: {summary(error)}") from None
    finally:
        sys.path.remove(place)
    if not callable(found):
        raise BadInput(Option("metric", name), f": is a {type(found).__name__}, expected a function")
    function: Callable[..., Any] = found
    return function


def _called(name: str, function: Callable[..., Any], outputs: Array, targets: Array) -> Values:
    try:
        scores = np.asarray(function(outputs, targets), np.float64)
    except (Exception, SystemExit) as error:  # the user's code
        shapes = f"outputs {list(outputs.shape)} and targets {list(targets.shape)}"
        raise BadInput(Option("metric", name), f": failed with {shapes}: {summary(error)}") from error
    if scores.shape != (len(outputs),):
        raise BadInput(
            Option("metric", name),
            f": returned shape {list(scores.shape)} for {len(outputs)} items; "
            "return one number for each item, so that a confidence interval can be computed",
        )
    if not np.isfinite(scores).all():
        place = int(np.flatnonzero(~np.isfinite(scores))[0])
        raise BadInput(
            Option("metric", name),
            f": returned {scores[place]} for item {place} of {len(scores)}; return finite numbers",
        )
    return scores[:, None]


def _mean(statistics: Values) -> Values:
    mean: Values = statistics[..., 0]
    return mean


def _points(statistics: Values) -> Values:
    return 100 * _mean(statistics)


def _top(count: int) -> Callable[[Array, Array], Values]:
    def of_items(outputs: Array, targets: Array) -> Values:
        classes = _classes(outputs, targets, 2)
        if count >= classes:
            raise BadInput(f"top{count} needs more than {count} classes, and the output has {classes}")
        logits = outputs.astype(np.float64)
        own = np.take_along_axis(logits, targets.astype(np.int64)[:, None], axis=1)
        # Of equal logits the first counts as the largest, as in argmax.
        before = np.arange(classes) < targets[:, None]
        rank = ((logits > own) | ((logits == own) & before)).sum(axis=1)
        right: Values = (rank < count).astype(np.float64)[:, None]
        return right

    return of_items


def _intersections(outputs: Array, targets: Array) -> Values:
    """Intersection and union of each class, [N, 2 * classes]."""
    classes = _classes(outputs, targets, 4)
    if targets.shape[1:] != outputs.shape[2:]:
        raise BadInput(f"miou: labels are {list(targets.shape[1:])}, and the output's plane {list(outputs.shape[2:])}")
    chosen, counted = outputs.argmax(axis=1), (targets >= 0) & (targets != IGNORED)
    wanted = np.where(counted, targets, 0).astype(np.int64)
    rows = np.arange(len(outputs))[:, None, None] * classes

    def tally(values: Array, mask: NDArray[np.bool_]) -> Values:
        found = np.bincount((values + rows)[mask], minlength=len(outputs) * classes)
        return found.reshape(len(outputs), classes).astype(np.float64)

    both = tally(wanted, counted & (chosen == wanted))
    union = tally(wanted, counted) + tally(chosen, counted) - both
    return np.concatenate([both, union], axis=1)


def _mean_iou(statistics: Values) -> Values:
    """The mean over the classes that occur, in points; NaN where none does."""
    both, union = np.split(statistics, 2, axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = np.where(union > 0, both / union, 0)
        return np.asarray(100 * ratios.sum(axis=-1) / (union > 0).sum(axis=-1))


def _classes(outputs: Array, targets: Array, rank: int) -> int:
    """The number of classes of outputs [N, classes, ...]. Raises BadInput for targets that are none of them."""
    if outputs.ndim != rank or outputs.shape[1] < 2:
        shape = "[N, classes]" if rank == 2 else "[N, classes, H, W]"
        raise BadInput(
            f"the output has shape {list(outputs.shape)}, and this metric needs {shape}; see ", Option("metric")
        )
    if targets.dtype.kind not in "iu" or targets.ndim != rank - 1:
        shape = "[N]" if rank == 2 else "[N, H, W]"
        raise BadInput(
            f"labels: expected integers {shape}, got {targets.dtype} {list(targets.shape)}{_way_out(outputs, targets)}"
        )
    classes = outputs.shape[1]
    wrong = (targets < 0) | (targets >= classes)
    if rank == 4:
        wrong &= (targets != IGNORED) & (targets != -1)
    if wrong.any():
        raise BadInput(f"labels: class {targets[wrong][0]} is none of the output's {classes} classes, 0..{classes - 1}")
    return int(classes)


def numbered_alike(folders: int | None, outputs: Array) -> bool:
    """Whether class numbers given to so many folders can be those of outputs [N, classes]."""
    return folders is None or outputs.ndim != 2 or folders == outputs.shape[1]


def _way_out(outputs: Array, targets: Array) -> str:
    """How labels of another form become class numbers; empty where that is not known."""
    if targets.shape == outputs.shape:
        return "; one number for each class becomes its index by .argmax(axis=1)"
    if targets.ndim == outputs.ndim and targets.shape[1] == 1:
        return "; take [:, 0] of them"
    return "; cast them by .astype(numpy.int64)" if targets.ndim == outputs.ndim - 1 else ""


def _pictures(outputs: Array, targets: Array) -> tuple[Values, Values]:
    """Both as values in 0..1, [N, C, H, W]; uint8 is divided by 255."""
    if outputs.ndim == 4 and outputs.shape[1] == 1 and targets.ndim == 3:
        targets = targets[:, None]
    if outputs.shape != targets.shape or outputs.ndim != 4:
        raise BadInput(
            f"labels: expected pictures of the output's shape {list(outputs.shape)}, got {list(targets.shape)}"
        )
    scaled = [side / 255.0 if side.dtype == np.uint8 else side.astype(np.float64) for side in (outputs, targets)]
    return scaled[0], scaled[1]


def _psnr(outputs: Array, targets: Array) -> Values:
    library = require("skimage.metrics")
    with np.errstate(divide="ignore"):
        pairs = zip(*_pictures(outputs, targets), strict=True)
        values = [library.peak_signal_noise_ratio(wanted, got, data_range=1.0) for got, wanted in pairs]
    return np.minimum(np.array(values, np.float64), MOST_PSNR)[:, None]


def _ssim(outputs: Array, targets: Array) -> Values:
    library = require("skimage.metrics")
    gaussian = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}  # as in Wang et al., 2004
    pairs = zip(*_pictures(outputs, targets), strict=True)
    if min(outputs.shape[2:]) < 11:
        raise BadInput(f"ssim needs a plane of at least 11 by 11 pixels, and the output's is {list(outputs.shape[2:])}")
    values = [
        library.structural_similarity(wanted, got, data_range=1.0, channel_axis=0, **gaussian) for got, wanted in pairs
    ]
    return np.array(values, np.float64)[:, None]


#: PSNR of equal pictures is infinite; it counts as this many decibels, more than float32 can show.
MOST_PSNR = 150.0
#: Metrics of outputs with a score for each class.
CLASS_METRICS = ("top1", "top5", "miou")
METRICS = {
    "top1": Metric("top1", "points", _top(1), _points, binary=True),
    "top5": Metric("top5", "points", _top(5), _points, binary=True),
    "miou": Metric("miou", "points", _intersections, _mean_iou),
    "psnr": Metric("psnr", "dB", _psnr, _mean),
    "ssim": Metric("ssim", "", _ssim, _mean),
}
