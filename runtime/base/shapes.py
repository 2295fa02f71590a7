"""Parses shape options such as x:1x3x224x224, the notation of trtexec and Polygraphy."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from rectexport.runtime.errors import Option, UsageError

Shape = tuple[int, ...]
#: What an error calls an option: its flag, or the parameter of the Python API that the flag stands for.
Flag = str | Option

DTYPES = ("float32", "float64", "float16", "int64", "int32", "int8", "uint8", "bool")
#: Larger than any tensor that fits into memory, so that a typo is refused before anything is allocated.
MAX_DIMENSION = 2**31 - 1
MAX_ELEMENTS = 2**40
MAX_RANK = 32
#: A name may hold colons, as in TensorFlow (images:0:1x3x224x224): sizes start with a digit, a dtype with a letter.
_ENTRY = re.compile(r"(?:(?P<name>.+?)\s*:\s*)?(?P<dims>\[[^\]]*\]|[0-9][0-9xX]*)(?:\s*:\s*(?P<dtype>[a-z][a-z0-9]*))?")


@dataclass(frozen=True)
class ShapeFlag:
    """One parsed entry; name is None when the option gave only a shape, typed tells whether it gave the dtype."""

    name: str | None
    shape: Shape
    dtype: str = "float32"
    typed: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class ShapeRange:
    """Smallest, most common and largest shape of one input; equal dimensions are static.

    step    for each axis, the distance from one allowed size to the next, counted from min; empty: every size fits
    """

    min: Shape
    opt: Shape
    max: Shape
    step: Shape = ()

    @property
    def dynamic_axes(self) -> tuple[int, ...]:
        """Axes whose size may vary."""
        return tuple(i for i, (low, high) in enumerate(zip(self.min, self.max, strict=True)) if low != high)

    def contains(self, shape: Shape) -> bool:
        """Whether every dimension of `shape` lies within the range."""
        return len(shape) == len(self.min) and all(self.fits(axis, size) for axis, size in enumerate(shape))

    def step_of(self, axis: int) -> int:
        """The distance between two allowed sizes of an axis."""
        return self.step[axis] if self.step else 1

    def fits(self, axis: int, size: int) -> bool:
        """Whether an axis may have this size."""
        low, high = self.min[axis], self.max[axis]
        return low <= size <= high and (size - low) % self.step_of(axis) == 0

    def floor(self, axis: int, size: int) -> int:
        """The largest allowed size of an axis that is not above `size`; at least the smallest."""
        low = self.min[axis]
        size = min(size, self.max[axis])
        return max(size - (size - low) % self.step_of(axis), low)

    def describe(self, axis: int) -> str:
        """The allowed sizes of an axis, as in "3", "1..8" or "32..320 in steps of 32"."""
        low, high, step = self.min[axis], self.max[axis], self.step_of(axis)
        steps = f" in steps of {step}" if step > 1 else ""
        return str(low) if low == high else f"{low}..{high}{steps}"

    def nearest(self, axis: int, size: int) -> str:
        """What to add to an error about a size between two steps: the nearest sizes that fit; empty for any other."""
        below, step = self.floor(axis, size), self.step_of(axis)
        if step == 1 or not self.min[axis] < size < self.max[axis]:
            return ""
        near = [fit for fit in (below, below + step) if self.fits(axis, fit)]
        return f"; the nearest {'sizes that fit are' if len(near) > 1 else 'size that fits is'} " + " and ".join(
            map(str, near)
        )


def parse_shape_flag(text: str, flag: Flag = "--input") -> ShapeFlag:
    """Parse name:1x3x224x224, name:[1,3,224,224], either without a name, with an optional :dtype.

    Raises UsageError that shows the accepted spelling.
    """
    match = _ENTRY.fullmatch(text.strip())
    if match is None:
        raise UsageError(flag, f" {text!r:.200}: expected NAME:1x3x224x224 or NAME:[1,3,224,224]")
    dims = [part.strip() for part in re.split(r"[xX,]", match["dims"].strip("[]"))]
    if not all(part.isdecimal() for part in dims):
        raise UsageError(flag, f" {text!r:.200}: expected positive whole numbers between 'x', as in x:1x3x224x224")
    # Check the length first: int() refuses texts of thousands of digits.
    shape = tuple(int(part) if len(part) < 20 else MAX_DIMENSION + 1 for part in dims)
    if len(shape) > MAX_RANK:
        raise UsageError(flag, f" {text!r:.200}: {len(shape)} axes, more than {MAX_RANK}")
    if min(shape) < 1 or max(shape) > MAX_DIMENSION:
        raise UsageError(flag, f" {text!r:.200}: every dimension must lie in 1..{MAX_DIMENSION}")
    if math.prod(shape) > MAX_ELEMENTS:
        raise UsageError(flag, f" {text!r:.200}: {math.prod(shape)} elements, more than {MAX_ELEMENTS}")
    dtype = match["dtype"] or "float32"
    if dtype not in DTYPES:
        raise UsageError(flag, f" {text!r:.200}: unknown dtype {dtype!r}, expected one of {', '.join(DTYPES)}")
    return ShapeFlag(match["name"], shape, dtype, match["dtype"] is not None)


def parse_shape_flags(texts: Iterable[str], flag: Flag) -> dict[str | None, ShapeFlag]:
    """Parse repeated or comma-joined options (a:1x3,b:1x4) into one entry per name.

    Raises UsageError for a text that does not parse and for a repeated name.
    """
    found: dict[str | None, ShapeFlag] = {}
    for text in texts:
        for part in _split_entries(text):
            entry = parse_shape_flag(part, flag)
            if entry.name in found:
                raise UsageError(flag, f": input {entry.name or '(unnamed)'} is given twice")
            found[entry.name] = entry
    return found


def _split_entries(text: str) -> list[str]:
    return re.split(r",(?![^\[]*\])", text)


def resolve_names(flags: Mapping[str | None, ShapeFlag], names: list[str], flag: Flag) -> dict[str, ShapeFlag]:
    """Entries by input name; an unnamed entry gets the name of the model's only input.

    Raises UsageError for a name the model lacks, a repeated one, or an unnamed entry for several inputs.
    """
    resolved: dict[str, ShapeFlag] = {}
    for name, entry in flags.items():
        if name is None and len(names) != 1:
            raise UsageError(
                flag, f": the model has inputs {', '.join(names)}; say which, as in {names[0]}:1x3x224x224"
            )
        target = names[0] if name is None else name
        if target not in names:
            raise UsageError(flag, f": no input {target!r}; the model has {', '.join(names)}")
        if target in resolved:
            raise UsageError(flag, f": input {target} is given twice, with its name and without")
        resolved[target] = entry
    return resolved


def check_range(name: str, low: Shape, opt: Shape, high: Shape) -> ShapeRange:
    """The ShapeRange of three shapes. Raises UsageError unless ranks are equal and min <= opt <= max on every axis."""
    if not len(low) == len(opt) == len(high):
        raise UsageError(f"input {name}: min {low}, opt {opt} and max {high} differ in rank")
    for axis, (small, middle, large) in enumerate(zip(low, opt, high, strict=True)):
        if not small <= middle <= large:
            raise UsageError(f"input {name}, axis {axis}: expected min <= opt <= max, got {small}, {middle}, {large}")
    return ShapeRange(low, opt, high)


def with_multiples(name: str, bounds: ShapeRange, multiples: Shape, flag: Flag) -> ShapeRange:
    """The range with sizes that are multiples of `multiples`, by axis; 1 leaves an axis as it is.

    Raises UsageError for another rank, and where min, opt or max is no multiple: it names the nearest ones.
    """
    if len(multiples) != len(bounds.opt):
        asked, rank = format_shape(multiples), len(bounds.opt)
        raise UsageError(flag, f" {name}:{asked} has rank {len(multiples)}, but the input's shape has rank {rank}")
    for side in ("min", "opt", "max"):
        for axis, (size, step) in enumerate(zip(getattr(bounds, side), multiples, strict=True)):
            if size % step and size != MAX_DIMENSION:
                near = ", ".join(str(fit) for fit in (size // step * step, -(-size // step) * step) if fit)
                raise UsageError(
                    f"input {name}, axis {axis}: {side} is {size}, which is no multiple of {step} (",
                    flag,
                    f"); give {near}",
                )
    steps = tuple(step if low != high else 1 for low, high, step in zip(bounds.min, bounds.max, multiples, strict=True))
    return replace(bounds, step=steps if any(step > 1 for step in steps) else ())


def format_shape(shape: Iterable[int | str]) -> str:
    """A shape as text, as in 1x3x224x224."""
    return "x".join(str(size) for size in shape)
