"""The sizes that a package is compared at: ends of its ranges, odd, tall and wide sizes, several batch sizes.

Sizes belong to dimensions, not to inputs: two inputs that share a dimension's name always get the same size.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rectexport.runtime.base.runner import Array
from rectexport.runtime.base.shapes import MAX_DIMENSION, Shape
from rectexport.runtime.package.manifest import TensorEntry

#: Most elements of an input; larger sizes of a range are not run.
MAX_ELEMENTS = 1 << 25
#: An axis without an upper bound is run up to this multiple of its opt size.
UNBOUNDED_FACTOR = 4
#: Batch sizes besides the ends of the range: small ones, and odd ones that no vector width divides.
BATCHES = (1, 2, 3, 5, 7)

Shapes = dict[str, Shape]
_Sizes = dict[str, int]


@dataclass(frozen=True)
class Dimension:
    """A dynamic dimension: its name, its smallest, most common and largest size, and the step from size to size."""

    name: str
    low: int
    opt: int
    high: int
    step: int = 1

    def floor(self, size: int) -> int:
        """The largest allowed size that is not above `size`; at least the smallest."""
        size = min(size, self.high)
        return max(size - (size - self.low) % self.step, self.low)


def dimension_name(entry: TensorEntry, axis: int) -> str:
    """The manifest's name of an axis; if it has none, the input's name and the axis, as in x[2]."""
    size = entry.shape[axis]
    return size if isinstance(size, str) and size else f"{entry.name}[{axis}]"


def dynamic_dimensions(entries: Sequence[TensorEntry]) -> dict[str, Dimension]:
    """The dynamic dimensions by name, in the order of inputs and axes."""
    found: dict[str, Dimension] = {}
    for entry in entries:
        for axis in entry.range.dynamic_axes if entry.range else ():
            assert entry.range is not None
            name = dimension_name(entry, axis)
            low, opt, high = (side[axis] for side in (entry.range.min, entry.range.opt, entry.range.max))
            if high == MAX_DIMENSION:
                high = entry.range.floor(axis, UNBOUNDED_FACTOR * opt)
            found.setdefault(name, Dimension(name, low, opt, high, entry.range.step_of(axis)))
    return found


def batch_dimension(entries: Sequence[TensorEntry]) -> Dimension | None:
    """The dynamic dimension that is the first axis of every input, None if there is none, or none of any size."""
    names = {dimension_name(entry, 0) if entry.shape else "" for entry in entries}
    found = dynamic_dimensions(entries).get(names.pop()) if len(names) == 1 else None
    return found if found is not None and found.step == 1 else None


def sweep(entries: Sequence[TensorEntry]) -> dict[str, Shapes]:
    """Different input shapes by label, opt first; empty if all sizes are fixed or a range is unknown."""
    known = all(entry.range is not None or all(isinstance(size, int) for size in entry.shape) for entry in entries)
    dimensions = dynamic_dimensions(entries)
    cases: dict[str, Shapes] = {}
    for label, sizes in _assignments(entries, dimensions) if known and dimensions else ():
        shapes = _shapes(entries, sizes)
        if shapes not in cases.values():
            cases[label] = shapes
    return cases


def feeds_of(shapes: Mapping[str, Shape], examples: Mapping[str, Array], label: str) -> dict[str, Array]:
    """Arrays of these shapes with elements drawn at random from the examples, so that values are realistic.

    The label seeds the draw: the same label gives the same arrays.
    """
    generator = np.random.default_rng(zlib.crc32(label.encode()))
    feeds = {}
    for name, shape in shapes.items():
        example = examples[name].reshape(-1)
        feeds[name] = np.asarray(example[generator.integers(0, example.size, shape)])
    return feeds


def _assignments(
    entries: Sequence[TensorEntry], dimensions: Mapping[str, Dimension]
) -> Iterator[tuple[str, Mapping[str, int]]]:
    opt = {name: entry.opt for name, entry in dimensions.items()}
    largest = _largest(entries, dimensions, opt)
    yield "opt", opt
    yield "min", {name: entry.low for name, entry in dimensions.items()}
    whole = all(largest[name] == entry.high for name, entry in dimensions.items())
    yield "max" if whole else "near max", largest
    yield "odd", _odd(dimensions, largest)
    batch = batch_dimension(entries)
    if batch is not None:
        for size in BATCHES:
            if batch.low <= size <= batch.high:
                yield f"batch {size}", {**opt, batch.name: size}
    plane = [entry for name, entry in dimensions.items() if batch is None or name != batch.name]
    for way in (-1, 1):
        moved = {entry.name: min(max(entry.opt + way * entry.step, entry.low), entry.high) for entry in plane}
        yield f"opt{way:+d}", {**opt, **moved}
    if len(plane) > 1:
        first, second = plane[:2]
        tall = {first.name: largest[first.name], second.name: second.low}
        wide = {first.name: first.low, second.name: largest[second.name]}
        yield "tall", {**opt, **tall}
        yield "wide", {**opt, **wide}


def _largest(entries: Sequence[TensorEntry], dimensions: Mapping[str, Dimension], opt: _Sizes) -> _Sizes:
    """The largest sizes, each reduced so that no input exceeds MAX_ELEMENTS, but never below opt."""
    sizes = dict(opt)
    for name, dimension in dimensions.items():
        sizes[name] = 1
        rest = max(math.prod(shape) for entry, shape in zip(entries, _shapes(entries, sizes).values(), strict=True))
        sizes[name] = max(dimension.floor(MAX_ELEMENTS // max(rest, 1)), dimension.opt)
    return sizes


def _odd(dimensions: Mapping[str, Dimension], largest: Mapping[str, int]) -> _Sizes:
    """A different odd size within its range for every dimension, so that swapped axes are noticed."""
    sizes: _Sizes = {}
    for position, (name, entry) in enumerate(dimensions.items(), 1):
        high = largest[name]
        start = entry.floor(entry.low + (high - entry.low) * position // (len(dimensions) + 2))
        sizes[name] = odd_size(entry.low, start, high, set(sizes.values()), entry.step)
    return sizes


def odd_size(low: int, start: int, high: int, taken: Collection[int], step: int = 1) -> int:
    """The first odd size not in `taken` from `start` on, then from `low` on; else the first size, free if possible.

    Sizes are `step` apart; `start` is one of them.
    """
    near = 9 * step
    sizes = [*range(start, min(start + near, high + 1), step), *range(low, min(low + near, high + 1), step)]
    free = [size for size in sizes if size not in taken]
    return next(iter([size for size in free if size % 2] or free or sizes))


def _shapes(entries: Sequence[TensorEntry], sizes: Mapping[str, int]) -> Shapes:
    return {entry.name: tuple(_size(entry, axis, sizes) for axis in range(len(entry.shape))) for entry in entries}


def _size(entry: TensorEntry, axis: int, sizes: Mapping[str, int]) -> int:
    fixed = entry.shape[axis]
    if isinstance(fixed, int):
        return fixed
    assert entry.range is not None
    return sizes.get(dimension_name(entry, axis), entry.range.opt[axis])
