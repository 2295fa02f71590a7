"""Name the axes of inputs, and read the sizes that torch.export's dynamic_shapes ask for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch.export import Dim

from rectexport.exporter.frontend.inputs import InputPlan
from rectexport.runtime.base.shapes import MAX_DIMENSION, Shape, ShapeRange

#: Axis names of an image batch, used for dynamic dimensions of rank-4 inputs, by layout.
CHANNELS_FIRST = ("batch", "channels", "height", "width")
CHANNELS_LAST = ("batch", "height", "width", "channels")


@dataclass(frozen=True)
class AskedAxis:
    """A dimension that dynamic_shapes ask for. Axes with one symbol have one size; unnamed ones have none."""

    low: int
    high: int
    step: int = 1
    symbol: str = ""


def axis_names(inputs: Sequence[InputPlan]) -> dict[str, dict[int, str]]:
    """Names of the dynamic axes of each input; inputs with the same range share a name, and so a size."""
    ranges: dict[str, tuple[int, ...]] = {}
    names: dict[str, dict[int, str]] = {entry.name: {} for entry in inputs}
    for entry in inputs:
        bounds, own = entry.range, identifier(entry.name)
        for axis in bounds.dynamic_axes:
            named = entry.axes[axis] if entry.axes else image_axis(bounds, axis)
            name = named or ("batch" if axis == 0 else f"{own}_{axis}")
            sizes = (bounds.min[axis], bounds.opt[axis], bounds.max[axis], bounds.step_of(axis))
            shared = ranges.setdefault(name, sizes) == sizes
            names[entry.name][axis] = name if shared else f"{own}_{name}"
    return names


def image_axis(bounds: ShapeRange, axis: int) -> str:
    """What an axis of a batch of images is, empty for inputs of another rank.

    The channels come last, [N, H, W, C], where axis 1 may vary and axis 3 may not.
    """
    if len(bounds.opt) != 4:
        return ""
    last = 1 in bounds.dynamic_axes and 3 not in bounds.dynamic_axes
    return (CHANNELS_LAST if last else CHANNELS_FIRST)[axis]


def identifier(name: str) -> str:
    """The name with an underscore for every sign that an identifier may not have."""
    return re.sub(r"\W|^(?=\d)", "_", name)


def asked_dims(name: str, index: int, dynamic_shapes: Any) -> dict[int, Any]:
    """Dimensions that dynamic_shapes ask for in one input, by axis, in any form that torch.export takes."""
    if isinstance(dynamic_shapes, Mapping):
        entries = dynamic_shapes.get(name)
    elif isinstance(dynamic_shapes, Sequence) and index < len(dynamic_shapes):
        entries = dynamic_shapes[index]
    else:
        return {}
    pairs = entries.items() if isinstance(entries, Mapping) else enumerate(entries or ())
    return {axis: dim for axis, dim in pairs if is_dynamic(dim)}


def is_dynamic(dim: Any) -> bool:
    """Whether a value in dynamic_shapes is a dimension that may vary."""
    return isinstance(dim, Dim) or getattr(getattr(dim, "type", None), "name", "") in ("AUTO", "DYNAMIC")


def asked_axis(dim: Any) -> AskedAxis:
    """The sizes of one dimension: `Dim("h")`, a derived one such as `32 * Dim("h") + 1`, `Dim.AUTO`, `Dim.DYNAMIC`."""
    root, fn = getattr(dim, "root", None), getattr(dim, "fn", None)
    low, high = getattr(dim if root is None else root, "min", None), getattr(dim if root is None else root, "max", None)
    low, high = int(low or 1), _bounded(high)
    symbol = getattr(dim if root is None else root, "__name__", "")
    if root is None or fn is None:
        return AskedAxis(max(low, 1), high, 1, symbol)
    step = fn(2) - fn(1)
    top = fn(high) if high < MAX_DIMENSION else MAX_DIMENSION
    return AskedAxis(fn(low), min(top, MAX_DIMENSION), step, f"{symbol}_{step}_{fn(0)}".replace("-", "m"))


def _bounded(high: Any) -> int:
    try:
        return min(int(high), MAX_DIMENSION)
    except (AttributeError, OverflowError, TypeError, ValueError):  # None, or torch's own infinity
        return MAX_DIMENSION


def has_steps(dynamic_shapes: Any) -> bool:
    """Whether any dimension is derived from another, as in `32 * Dim("h")`."""
    return any(getattr(dim, "root", None) is not None for dim in _leaves(dynamic_shapes))


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for entry in value:
            yield from _leaves(entry)
    elif value is not None:
        yield value


def asked_ranges(
    inputs: Sequence[InputPlan], dynamic_shapes: Any
) -> tuple[tuple[InputPlan, ...], list[dict[int, AskedAxis]]]:
    """The inputs over the ranges that dynamic_shapes ask for by name, and every axis that they ask for, by input."""
    axes = [
        {axis: asked_axis(dim) for axis, dim in asked_dims(entry.name, index, dynamic_shapes).items()}
        for index, entry in enumerate(inputs)
    ]
    return tuple(_over(entry, asked) for entry, asked in zip(inputs, axes, strict=True)), axes


def _over(entry: InputPlan, asked: Mapping[int, AskedAxis]) -> InputPlan:
    low, high = list(entry.range.min), list(entry.range.max)
    steps = [1] * len(low)
    for axis, dim in asked.items():
        if axis < len(low) and dim.symbol:
            low[axis], high[axis], steps[axis] = min(dim.low, low[axis]), max(dim.high, low[axis]), dim.step
    bounds = ShapeRange(tuple(low), entry.range.opt, tuple(high), step_shape(steps))
    return replace(entry, range=bounds)


def step_shape(steps: Sequence[int]) -> Shape:
    """Steps as a ShapeRange keeps them: empty where every size fits."""
    return tuple(steps) if any(step > 1 for step in steps) else ()
