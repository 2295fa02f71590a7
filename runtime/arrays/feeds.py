"""Checks a session's inputs: names, dtypes, ranks and sizes, all from one array library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rectexport.runtime.arrays.kinds import AnyLibrary, library_of
from rectexport.runtime.errors import BadInput
from rectexport.runtime.package.manifest import TensorEntry


def check_feeds(entries: Sequence[TensorEntry], feeds: Mapping[str, Any]) -> AnyLibrary:
    """The library that all feeds belong to. Raises BadInput with expected and actual for the first wrong one.

    A dynamic dimension's name must have the same size wherever it occurs.
    """
    if len(feeds) > len(entries) or any(entry.name not in feeds for entry in entries):
        _refuse_names(entries, feeds)
    library: AnyLibrary | None = None
    sizes: dict[str, tuple[int, str]] = {}
    for entry in entries:
        value = feeds[entry.name]
        found = _library(entry.name, value)
        if library is not None and found != library:
            raise BadInput(
                f"input {entry.name}: a {found.name} array, but input {entries[0].name} is {library.name}; "
                "give all inputs from one library, on one device"
            )
        library = found
        check_dtype(entry, found.dtype(value), found.cast)
        check_shape(entry, tuple(value.shape), sizes)
    assert library is not None, "a manifest has at least one input"
    return library


def _refuse_names(entries: Sequence[TensorEntry], feeds: Mapping[str, Any]) -> None:
    names = [entry.name for entry in entries]
    surplus = sorted(str(name) for name in feeds if name not in names)
    if surplus:
        raise BadInput(f"no input named {surplus[0]!r}; the model takes {', '.join(names)}")
    missing = next(name for name in names if name not in feeds)
    raise BadInput(f"input {missing} is missing; got {', '.join(sorted(feeds)) or 'nothing'}")


def _library(name: str, value: object) -> AnyLibrary:
    library = library_of(value)
    if library is None:
        found = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
        raise BadInput(f"input {name}: expected a NumPy array, a PyTorch tensor or a CuPy array, got {found}")
    reason = library.fault(value)
    if reason:
        raise BadInput(f"input {name}: {reason}")
    return library


def check_dtype(entry: TensorEntry, actual: str, cast: str) -> None:
    """Raise BadInput unless an array of dtype `actual` fits the input; `cast` names the method that casts it."""
    if actual != entry.dtype:
        raise BadInput(f"input {entry.name}: expected dtype {entry.dtype}, got {actual}; cast it with {cast}")


def check_shape(entry: TensorEntry, shape: tuple[int, ...], sizes: dict[str, tuple[int, str]]) -> None:
    """Raise BadInput unless the input takes the shape.

    sizes    size of every named dimension and the place that it was found in, by name; this input's are added
    """
    if len(shape) != len(entry.shape):
        raise BadInput(f"input {entry.name}: expected shape {list(entry.shape)}, got {list(shape)}")
    for axis, (expected, actual) in enumerate(zip(entry.shape, shape, strict=True)):
        _check_size(entry, axis, actual, shape)
        if isinstance(expected, str) and expected:
            size, where = sizes.setdefault(expected, (actual, f"input {entry.name}, axis {axis}"))
            if size != actual:
                raise BadInput(
                    f"input {entry.name}, axis {axis}: expected {size}, got {actual} in shape {list(shape)}: "
                    f"{expected} must have one size, and is {size} in {where}"
                )


def _check_size(entry: TensorEntry, axis: int, actual: int, shape: tuple[int, ...]) -> None:
    expected, bounds = entry.shape[axis], entry.range
    if isinstance(expected, int):
        fits, allowed, near = actual == expected, str(expected), ""
    elif bounds is None:
        fits, allowed, near = actual >= 1, "1..inf", ""
    else:
        fits, allowed, near = bounds.fits(axis, actual), bounds.describe(axis), bounds.nearest(axis, actual)
    if not fits:
        found = f"got {actual} in shape {list(shape)}"
        raise BadInput(f"input {entry.name}, axis {axis}: expected {allowed}, {found}{near}")
