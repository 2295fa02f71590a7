"""Calibration data: split from the hold-out, checked, and the distributions of tensors over it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto

from rectexport.exporter.base.options import LEAST_IMAGES
from rectexport.exporter.frontend.inputs import InputPlan
from rectexport.exporter.graph.inner import with_outputs
from rectexport.exporter.quantize.ranges import Distribution
from rectexport.runtime.base.runner import Array
from rectexport.runtime.engines.onnxruntime_runner import OnnxRuntimeRunner
from rectexport.runtime.errors import BadInput, Option
from rectexport.runtime.evaluation.examples import Examples, padded

#: Most items of the hold-out; a quarter of the data where there are fewer.
MOST_HELD_OUT = 256
#: How far the inputs' largest magnitude may be from the example's; halved pixels cost 16 dB.
_RATIO = 1.6


@dataclass(frozen=True)
class Items:
    """Inputs by name, one row an item; their targets [N, ...] if there are labels; and what the items are called."""

    feeds: Mapping[str, Array]
    targets: Array | None
    names: Sequence[str] = ()

    def __len__(self) -> int:
        return len(next(iter(self.feeds.values())))

    def name_of(self, row: int) -> str:
        """What the data calls an item."""
        return self.names[row] if self.names else f"item {row}"

    def rows(self, start: int, stop: int) -> dict[str, Array]:
        """Some items' inputs."""
        return {name: array[start:stop] for name, array in self.feeds.items()}

    @property
    def sha256(self) -> str:
        """Of names, shapes and values."""
        content = hashlib.sha256()
        for name, array in sorted(self.feeds.items()):
            content.update(f"{name} {array.dtype} {array.shape} ".encode())
            content.update(np.ascontiguousarray(array).tobytes())
        return content.hexdigest()


def split(examples: Examples, images: int, seed: int = 0) -> tuple[Items, Items]:
    """(calibration data, hold-out), no item in both.

    The items are drawn without replacement, the same in every run. Raises BadInput for fewer than LEAST_IMAGES items
    to calibrate on, items of different shapes, or a hold-out whose items are all in the calibration data.
    """
    count = len(examples)
    held = min(MOST_HELD_OUT, count // 4)
    taken = min(images, count - held)
    if taken < LEAST_IMAGES:
        raise BadInput(
            f"{examples.name}: {count} items, of which {held} are held out to check the result; calibration needs "
            f"at least {LEAST_IMAGES} others: give {LEAST_IMAGES * 4 // 3} items or more"
        )
    order = np.random.default_rng(seed).permutation(count)
    chosen = {int(index): place for place, index in enumerate(order[: taken + held])}
    rows = _rows(examples, chosen)
    calibration, hold_out = _stack(examples, rows[:taken]), _stack(examples, rows[taken:])
    return calibration, _without(hold_out, calibration, examples.name)


#: Name, inputs and target of an item.
_Row = tuple[str, Mapping[str, Array], Array | None]


def _rows(examples: Examples, chosen: Mapping[int, int]) -> list[_Row]:
    found: list[_Row | None] = [None] * len(chosen)
    index = 0
    for batch in examples.batches(32):
        for row in range(len(batch.names)):
            if index in chosen:
                feeds = {name: array[row] for name, array in batch.feeds.items()}
                target = None if batch.targets is None else batch.targets[row]
                found[chosen[index]] = (batch.names[row], feeds, target)
            index += 1
    return [row for row in found if row is not None]


def _stack(examples: Examples, rows: Sequence[_Row]) -> Items:
    inputs = list(rows[0][1])
    for name in inputs:
        shapes = {row[1][name].shape for row in rows}
        if len(shapes) > 1:
            shown = " and ".join(str(list(shape)) for shape in sorted(shapes)[:2])
            raise BadInput(f"{examples.name}: input {name} has items of shape {shown}; calibrate on one size")
    feeds = {name: np.stack([row[1][name] for row in rows]) for name in inputs}
    targets = [row[2] for row in rows if row[2] is not None]
    return Items(feeds, np.stack(targets) if len(targets) == len(rows) else None, [row[0] for row in rows])


def _without(hold_out: Items, calibration: Items, name: str) -> Items:
    """The hold-out without items that the calibration data has too."""
    known = {_digest(calibration, row) for row in range(len(calibration))}
    if len(known) < LEAST_IMAGES:
        raise BadInput(
            f"{name}: {len(known)} different items among {len(calibration)}; calibration needs {LEAST_IMAGES}"
        )
    kept = [row for row in range(len(hold_out)) if _digest(hold_out, row) not in known]
    if not kept:
        raise BadInput(f"{name}: every item of the hold-out is in the calibration data too; give different items")
    targets = hold_out.targets
    return Items(
        {key: array[kept] for key, array in hold_out.feeds.items()},
        None if targets is None else targets[kept],
        [hold_out.name_of(row) for row in kept],
    )


def _digest(items: Items, row: int) -> bytes:
    content = hashlib.sha256()
    for name in sorted(items.feeds):
        content.update(np.ascontiguousarray(items.feeds[name][row]).tobytes())
    return content.digest()


def check(items: Items, inputs: Sequence[InputPlan], given: bool, name: str) -> None:
    """Raise BadInput for data that ranges cannot be taken from.

    NaN or infinite values; a channel that is the same number everywhere; and, where the example was given and not drawn
    at random, a magnitude unlike the example's.
    """
    for entry in inputs:
        array = items.feeds[entry.name]
        floating = array.dtype.kind == "f"
        if floating and not np.isfinite(array).all():
            bad = int(np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(axis=1))[0])
            raise BadInput(
                f"{name}: input {entry.name} of {items.name_of(bad)} holds NaN or infinity, and no range holds these; "
                "leave the item out"
            )
        flat = np.moveaxis(array, 1, 0).reshape(array.shape[1], -1) if array.ndim > 1 else array.reshape(1, -1)
        for channel in np.flatnonzero(np.ptp(flat, axis=1) == 0) if array.ndim == 4 else ():
            raise BadInput(
                f"{name}: channel {channel} of input {entry.name} is {flat[channel, 0]:g} in every item, so it has no "
                "range; give data as the network sees it in use"
            )
        if floating and given:
            _check_magnitude(entry, array, name)


def _check_magnitude(entry: InputPlan, array: Array, name: str) -> None:
    ours, theirs = float(np.abs(array).max()), float(np.abs(entry.example).max())
    if not theirs / _RATIO <= ours <= theirs * _RATIO:
        raise BadInput(
            f"{name}: input {entry.name} reaches {ours:.3g}, and the model's own example {theirs:.3g}: they are scaled "
            "differently; for images see ",
            Option("mean"),
            " and ",
            Option("std"),
        )


_CONVOLUTIONS = ("Conv", "ConvTranspose")
#: Operators whose result has the places of what they read.
_BY_PIXEL = frozenset(
    (
        "Add",
        "AveragePool",
        "BatchNormalization",
        "Clip",
        "Concat",
        "Div",
        "Elu",
        "HardSigmoid",
        "HardSwish",
        "LeakyRelu",
        "MaxPool",
        "Mul",
        "PRelu",
        "Pad",
        "Relu",
        "Selu",
        "Sigmoid",
        "Sub",
        "Sum",
        "Tanh",
    )
)


@dataclass(frozen=True)
class Observed:
    """Distributions of tensors by name, and the shape of each."""

    distributions: Mapping[str, Distribution]
    shapes: Mapping[str, tuple[int, ...]]


def observe(
    model: ModelProto,
    items: Items,
    tensors: Collection[str],
    rows: tuple[int, int],
    advance: Callable[[int, int, str], None],
) -> Observed:
    """Run the float model on the items twice: for the ends of each tensor's range, then for its distribution.

    rows   the most and the least rows that a run takes
    """
    inputs = {name: array for name, array in items.feeds.items() if name in tensors}
    inner = [name for name in tensors if name not in inputs]
    stored = [value.name for value in model.graph.output]
    extended = with_outputs(model, [name for name in inner if name not in stored])
    runner = OnnxRuntimeRunner(extended.SerializeToString())
    places = _with_places(model)
    found = {name: Distribution(planes=name in places) for name in tensors}
    shapes: dict[str, tuple[int, ...]] = {}
    most, least = rows
    total = 2 * len(items)
    try:
        for step in (0, 1):
            for start in range(0, len(items), most):
                advance(step * len(items) + start, total, "calibrating")
                feeds = items.rows(start, start + most)
                count = len(next(iter(feeds.values())))
                values = runner.run(padded(feeds, least))
                for name in tensors:
                    array = feeds[name] if name in inputs else _own_rows(values[name], count, max(count, least))
                    shapes[name] = array.shape
                    (found[name].count if step else found[name].widen)(array.astype(np.float64))
    finally:
        runner.close()
    return Observed(found, shapes)


def _with_places(model: ModelProto) -> set[str]:
    """Tensors whose axes behind the channels are places: what convolutions read and make, and what follows.

    Not tokens, whose last axis is the features.
    """
    found: set[str] = set()
    for node in model.graph.node:
        if node.op_type in _CONVOLUTIONS:
            found.update((node.input[0], node.output[0]))
        elif node.op_type in _BY_PIXEL and found.intersection(node.input):
            found.update(node.output)
    return found


def _own_rows(array: Array, count: int, rows: int) -> Array:
    return array[:count] if array.ndim and len(array) == rows else array
