"""Optimization profiles: the ranges of shapes that an engine is built for.

--profile x:1x3x224x224..8x3x224x224..32x3x224x224    smallest, most common, largest; separate inputs with commas
--profile x:8x3x224x224                               one shape
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rectexport.runtime.base.shapes import (
    MAX_DIMENSION,
    Shape,
    ShapeRange,
    check_range,
    format_shape,
    parse_shape_flag,
    parse_shape_flags,
    resolve_names,
)
from rectexport.runtime.errors import UsageError
from rectexport.runtime.package.manifest import TensorEntry

#: Range of every input, by name.
Profile = dict[str, ShapeRange]


def make_profiles(
    inputs: Sequence[TensorEntry],
    texts: Iterable[str] = (),
    low: Iterable[str] = (),
    opt: Iterable[str] = (),
    high: Iterable[str] = (),
) -> tuple[Profile, ...]:
    """Profiles from --profile, or a single one from --min-shapes, --opt-shapes and --max-shapes.

    Shapes that are not given are the package's own. Raises UsageError when the options do not parse, exceed the range
    that the package was exported for, or both kinds are given; also for a size without an upper bound.
    """
    sides = {"--min-shapes": list(low), "--opt-shapes": list(opt), "--max-shapes": list(high)}
    listed = [_parse(text, inputs) for text in texts]
    if listed and any(sides.values()):
        raise UsageError(
            "--profile and --min-shapes, --opt-shapes, --max-shapes: give one kind, --profile as often as needed"
        )
    return tuple(listed or [_from_sides(sides, inputs)])


def _from_sides(sides: Mapping[str, list[str]], inputs: Sequence[TensorEntry]) -> Profile:
    names = [entry.name for entry in inputs]
    given = {flag: resolve_names(parse_shape_flags(texts, flag), names, flag) for flag, texts in sides.items()}
    profile = {}
    for entry in inputs:
        whole = _whole(entry)
        least, usual, most = (
            given[flag][entry.name].shape if entry.name in given[flag] else side
            for flag, side in zip(sides, (whole.min, whole.opt, whole.max), strict=True)
        )
        if entry.name not in given["--opt-shapes"] and len(usual) == len(least) == len(most):
            usual = tuple(min(max(u, a), b) for u, a, b in zip(usual, least, most, strict=True))
        profile[entry.name] = _within(entry, check_range(entry.name, least, usual, most))
    return profile


def _parse(text: str, inputs: Sequence[TensorEntry]) -> Profile:
    names, found = [entry.name for entry in inputs], {}
    for part in re.split(r",(?![^\[]*\])", text):
        steps = [step.strip() for step in part.split("..")]
        if len(steps) not in (1, 3):
            raise UsageError(
                f"--profile {part!r}: expected NAME:MIN..OPT..MAX or NAME:SHAPE, "
                "as in x:1x3x64x64..8x3x64x64..32x3x64x64"
            )
        first = parse_shape_flag(steps[0], "--profile")
        name = next(iter(resolve_names({first.name: first}, names, "--profile")))
        if name in found:
            raise UsageError(f"--profile {text!r}: input {name} is given twice")
        shapes = [first.shape, *(parse_shape_flag(step, "--profile").shape for step in steps[1:])]
        found[name] = check_range(name, *(shapes * 3)[:3])
    return {entry.name: _within(entry, found.get(entry.name) or _whole(entry)) for entry in inputs}


def _whole(entry: TensorEntry) -> ShapeRange:
    """The package's range of an input; for a static input, its shape. Raises UsageError if there is none."""
    if entry.range is not None:
        return entry.range
    sizes = [size for size in entry.shape if isinstance(size, int)]
    if len(sizes) != len(entry.shape):
        raise UsageError(
            f"input {entry.name} {format_shape(entry.shape)}: the package gives no range; give one with --profile"
        )
    return ShapeRange(tuple(sizes), tuple(sizes), tuple(sizes))


def _within(entry: TensorEntry, asked: ShapeRange) -> ShapeRange:
    whole = _whole(entry)
    if not (whole.contains(asked.min) and whole.contains(asked.max)):
        raise UsageError(
            f"input {entry.name}: a profile of {_text(asked)} exceeds the range that the package was exported for, "
            f"{_text(whole)}; export it again with wider --min-shapes and --max-shapes"
        )
    if MAX_DIMENSION in asked.max:
        raise UsageError(
            f"input {entry.name}: an axis has no upper bound, and an engine needs one; "
            f"give it, as in --max-shapes {entry.name}:{format_shape(asked.opt)}"
        )
    return asked


def batch_profiles(inputs: Sequence[TensorEntry], batches: Iterable[int]) -> tuple[Profile, ...]:
    """A profile for each of these batches, which is its most common shape; together they cover the package's range.

    With 1 and 8, in a package of 1 to 32 rows: 1..1 with 1, and 2..32 with 8. Batches that the package does not take
    are left out; a package with one batch has one profile. Raises UsageError for a size without an upper bound, which
    only the batch may be: then the largest of these batches is.
    """
    whole = {entry.name: _whole(entry) for entry in inputs}
    batch = inputs[0].shape[0] if inputs[0].shape else None
    batched = [entry.name for entry in inputs if entry.shape and entry.shape[0] == batch]
    first = whole[inputs[0].name]
    sizes = sorted({size for size in batches if batch is not None and first.fits(0, size)})
    if not isinstance(batch, str) or not sizes:
        return ({entry.name: _within(entry, whole[entry.name]) for entry in inputs},)
    last = sizes[-1] if first.max[0] == MAX_DIMENSION else first.max[0]
    lows, highs = [first.min[0], *(size + first.step_of(0) for size in sizes[:-1])], [*sizes[:-1], last]
    return tuple(
        {
            entry.name: _within(entry, _with_rows(whole[entry.name], *rows))
            if entry.name in batched
            else _within(entry, whole[entry.name])
            for entry in inputs
        }
        for rows in zip(lows, sizes, highs, strict=True)
    )


def _with_rows(bounds: ShapeRange, low: int, usual: int, high: int) -> ShapeRange:
    sides = ((low, bounds.min), (usual, bounds.opt), (high, bounds.max))
    return ShapeRange(*((rows, *side[1:]) for rows, side in sides))


def flag_of(profile: Profile) -> str:
    """The profile as --profile takes it."""
    parts = []
    for name, bounds in profile.items():
        sides = [bounds.opt] if bounds.min == bounds.max else [bounds.min, bounds.opt, bounds.max]
        parts.append(f"{name}:{'..'.join(map(format_shape, sides))}")
    return ",".join(parts)


def _text(bounds: ShapeRange) -> str:
    return f"{format_shape(bounds.min)} .. {format_shape(bounds.max)}"


def describe(profile: Profile) -> str:
    """A profile as text, as in "x 1x3x224x224 .. 32x3x224x224 (8x3x224x224)"."""
    parts = (
        f"{name} {format_shape(bounds.opt)}"
        if not bounds.dynamic_axes
        else f"{name} {_text(bounds)} ({format_shape(bounds.opt)})"
        for name, bounds in profile.items()
    )
    return ", ".join(parts)


def as_dict(profile: Profile) -> dict[str, dict[str, list[int]]]:
    """Plain values, for the manifest."""
    return {
        name: {side: list(getattr(bounds, side)) for side in ("min", "opt", "max")} for name, bounds in profile.items()
    }


def choose(profiles: Sequence[Profile], shapes: Mapping[str, Shape]) -> int | None:
    """Index of the profile that contains these shapes and whose opt shapes are nearest; None if none contains them."""
    holding = [index for index, profile in enumerate(profiles) if _holds(profile, shapes)]
    return min(holding, key=lambda index: _distance(profiles[index], shapes), default=None)


def _holds(profile: Profile, shapes: Mapping[str, Shape]) -> bool:
    return all(profile[name].contains(shape) for name, shape in shapes.items() if name in profile)


def _distance(profile: Profile, shapes: Mapping[str, Shape]) -> int:
    pairs = ((profile[name].opt, shape) for name, shape in shapes.items() if name in profile)
    return sum(abs(a - b) for opt, shape in pairs for a, b in zip(opt, shape, strict=True))


def from_dict(document: Mapping[str, Any]) -> Profile:
    """The inverse of `as_dict`. Raises KeyError, TypeError or ValueError for any other document."""
    return {
        name: ShapeRange(*(tuple(sides[side]) for side in ("min", "opt", "max"))) for name, sides in document.items()
    }
