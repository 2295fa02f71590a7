"""The shapes that a package is timed with: its opt shapes, another batch size, or those of --input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rectexport.runtime.base.runner import TensorSpec
from rectexport.runtime.base.shapes import Shape, ShapeFlag, ShapeRange, format_shape, resolve_names
from rectexport.runtime.errors import BadInput, Option, UsageError
from rectexport.runtime.package.manifest import Manifest, TensorEntry

FLAG = Option("shapes")


def timed_inputs(
    manifest: Manifest, batch: int | None, flags: Mapping[str | None, ShapeFlag] | None = None
) -> list[TensorSpec]:
    """One static shape for each input of a package.

    batch   size of axis 0 of the first input and of every input that shares its dynamic name; None keeps opt
    flags   shapes from the command line, by input name

    Raises UsageError for a flag that names no input or contradicts the batch, and for an open size without opt;
    BadInput for a size that the package does not take.
    """
    entries = manifest.inputs
    given = resolve_names(flags or {}, [entry.name for entry in entries], FLAG)
    batched = _batched(entries)
    specs = []
    for entry in entries:
        shape = list(given[entry.name].shape if entry.name in given else _usual(entry))
        if batch is not None and entry.name in batched:
            if entry.name in given and shape[0] != batch:
                raise UsageError(
                    FLAG, f" {entry.name}:{format_shape(shape)} and ", Option("batch", batch), ": give one of them"
                )
            shape[0] = batch
        check_shape(entry, tuple(shape))
        specs.append(TensorSpec(entry.name, entry.dtype, tuple(shape)))
    return specs


def batch_of(specs: Sequence[TensorSpec]) -> int:
    """Axis 0 of the first input, 1 for a scalar."""
    size = specs[0].shape[0] if specs[0].shape else 1
    assert isinstance(size, int)
    return size


def smallest_batch(manifest: Manifest) -> int:
    """The smallest axis 0 that the first input takes, 1 for a scalar."""
    entry = manifest.inputs[0]
    size = entry.shape[0] if entry.shape else 1
    return size if isinstance(size, int) else _bounds(entry.range, 0)[0]


def check_shape(entry: TensorEntry, shape: Shape) -> None:
    """Raise BadInput that names the axis when the package does not take this shape."""
    if len(shape) != len(entry.shape):
        raise BadInput(f"input {entry.name}: expected {format_shape(entry.shape)}, got {format_shape(shape)}")
    for axis, (size, wanted) in enumerate(zip(entry.shape, shape, strict=True)):
        low, high = _bounds(entry.range, axis) if isinstance(size, str) else (size, size)
        if isinstance(size, str) and entry.range is not None and entry.range.nearest(axis, wanted):
            _check_step(entry, axis, wanted)
        if low <= wanted and (high is None or wanted <= high):
            continue
        allowed = f"only {low}" if low == high else f"{low}..{high}"
        raise BadInput(
            f"input {entry.name}, axis {axis}: the package takes {allowed}, not {wanted}; "
            "export it with --min-shapes and --max-shapes that include this size"
        )


def _check_step(entry: TensorEntry, axis: int, wanted: int) -> None:
    assert entry.range is not None
    if not entry.range.fits(axis, wanted):
        allowed, near = entry.range.describe(axis), entry.range.nearest(axis, wanted)
        raise BadInput(f"input {entry.name}, axis {axis}: the package takes {allowed}, not {wanted}{near}")


def check_same_inputs(manifest: Manifest, other: Manifest, name: str, other_name: str) -> None:
    """Raise BadInput when two packages do not take the same inputs."""
    mine, theirs = ({entry.name: entry.dtype for entry in each.inputs} for each in (manifest, other))
    if mine != theirs:
        raise BadInput(
            f"{other_name} takes {_describe(theirs)}, but {name} takes {_describe(mine)}; "
            "only packages with equal inputs can be timed against each other"
        )


def _describe(inputs: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({dtype})" for name, dtype in inputs.items())


def _batched(entries: Sequence[TensorEntry]) -> set[str]:
    """Inputs whose axis 0 is the batch."""
    first = entries[0]
    if not first.shape or isinstance(first.shape[0], int):
        return {first.name}
    return {entry.name for entry in entries if entry.shape and entry.shape[0] == first.shape[0]}


def _usual(entry: TensorEntry) -> Shape:
    if entry.range is not None:
        return entry.range.opt
    if not all(isinstance(size, int) for size in entry.shape):
        raise UsageError(
            f"input {entry.name}: the package leaves {format_shape(entry.shape)} open and has no opt shape; "
            "give one with ",
            FLAG,
            f" {entry.name}:SHAPE",
        )
    return tuple(size for size in entry.shape if isinstance(size, int))


def _bounds(bounds: ShapeRange | None, axis: int) -> tuple[int, int | None]:
    return (1, None) if bounds is None else (bounds.min[axis], bounds.max[axis])
