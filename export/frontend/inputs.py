"""Determine a model's inputs: names, example arrays and ranges of shapes."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rectexport.exporter.base.options import ShapeOptions
from rectexport.exporter.frontend.arguments import forward_names, parameters_of
from rectexport.exporter.frontend.source import Source
from rectexport.runtime.base.runner import Array
from rectexport.runtime.base.shapes import (
    MAX_RANK,
    Shape,
    ShapeFlag,
    ShapeRange,
    check_range,
    format_shape,
    parse_shape_flags,
    resolve_names,
    with_multiples,
)
from rectexport.runtime.base.texts import brief
from rectexport.runtime.errors import BadInput, UsageError
from rectexport.runtime.package.numpy_files import TotalBound, read_npz

SEED = 20
#: Most elements of one example, and bytes of all examples in a file.
MAX_EXAMPLE, MAX_EXAMPLE_BYTES = 1 << 30, 1 << 30


@dataclass(frozen=True)
class InputPlan:
    """One input: an example to trace and test with, the shapes it may take, and names of its axes where they are known.

    Without names, an input of rank 4 is [batch, channels, height, width].
    """

    name: str
    example: Array
    range: ShapeRange
    axes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelInputs:
    """All inputs of a model, in order."""

    inputs: tuple[InputPlan, ...]

    @property
    def dynamic(self) -> bool:
        """Whether any dimension may vary."""
        return any(entry.range.dynamic_axes for entry in self.inputs)

    @property
    def examples(self) -> dict[str, Array]:
        """Example arrays by input name."""
        return {entry.name: entry.example for entry in self.inputs}


def plan_inputs(source: Source, options: ShapeOptions) -> ModelInputs:
    """Determine every input's name, example and range from the flags, the file and the model.

    Raises UsageError for flags that contradict each other or leave a shape open, and BadInput for a file of
    inputs that does not fit the model.
    """
    flags = _parsed(options)
    loaded = load_npz(options.load) if options.load else None
    names = _names(source, flags, loaded)
    resolved = {name: resolve_names(entries, names, flag_name(name)) for name, entries in flags.items()}
    plans = tuple(
        _plan_one(source, index, name, {key: entries.get(name) for key, entries in resolved.items()}, loaded)
        for index, name in enumerate(names)
    )
    return ModelInputs(plans)


def input_names(source: Source, options: ShapeOptions) -> list[str]:
    """The names of the inputs, in order. Raises UsageError as `plan_inputs` does."""
    return _names(source, _parsed(options), load_npz(options.load) if options.load else None)


def _parsed(options: ShapeOptions) -> dict[str, dict[str | None, ShapeFlag]]:
    fields = ("input", "min", "opt", "max", "multiple")
    return {name: parse_shape_flags(getattr(options, name), flag_name(name)) for name in fields}


def flag_name(option: str) -> str:
    """The flag that sets a field of ShapeOptions, for error messages."""
    return {"input": "--input", "multiple": "--multiple-of"}.get(option, f"--{option}-shapes")


def random_input(shape: Shape, dtype: str, seed: int = SEED) -> Array:
    """A seeded array of `shape`: standard normal for float types, the whole range of integers of 8 bits, as pixels
    have; 0 or 1 for longer integers, which may be indices into a table.

    Raises BadInput for more than MAX_EXAMPLE elements or MAX_RANK axes, which only a damaged or hostile model has.
    """
    if len(shape) > MAX_RANK or math.prod(shape) > MAX_EXAMPLE:
        limits = f"expected at most {MAX_EXAMPLE} elements and {MAX_RANK} axes"
        raise BadInput(f"an input has shape {brief(list(shape))}; {limits}")
    generator = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return generator.standard_normal(shape).astype(dtype)
    if dtype in ("uint8", "int8"):
        ends = np.iinfo(dtype)
        return generator.integers(ends.min, ends.max, shape, dtype=dtype, endpoint=True)
    return generator.integers(0, 2, shape).astype(dtype)


def fit_example(example: Array, shape: Shape) -> Array:
    """The example cropped to `shape`, and repeated along axes on which it is shorter."""
    for axis, size in enumerate(shape):
        example = example.take(np.arange(size) % example.shape[axis], axis=axis)
    return np.asarray(example, order="C")


def _names(
    source: Source, flags: Mapping[str, Mapping[str | None, ShapeFlag]], loaded: Mapping[str, Array] | None
) -> list[str]:
    if source.input_names:
        return source.input_names
    given = {name: flag_name(flag) for flag, entries in flags.items() for name in entries if name is not None}
    given |= {name: "--inputs" for name in loaded or () if name not in given}
    parameters = parameters_of(source.model)
    if given and not source.example_inputs:
        if parameters is None or any(entry.kind in (entry.VAR_POSITIONAL, entry.VAR_KEYWORD) for entry in parameters):
            return list(given)
        if len(given) == len(parameters) == 1 and _is_torchs_own(source.model):
            return list(given)
        return _chosen(source, given, parameters)
    count = len(source.example_inputs) if source.example_inputs else 1
    return forward_names(source.model, count)


def _is_torchs_own(model: Any) -> bool:
    """Whether forward is one of torch's, as a Sequential's: then the name of its parameter is not the user's."""
    return str(getattr(type(model).forward, "__module__", "")).startswith("torch.")


def _chosen(source: Source, given: Mapping[str, str], parameters: Sequence[inspect.Parameter]) -> list[str]:
    """Those parameters of forward that flags name, in forward's order; `given` has the flag of each name.

    Raises UsageError for a name that forward lacks, and where one without a default is left out.
    """
    known = [entry.name for entry in parameters]
    for name, flag in given.items():
        if name not in known:
            raise UsageError(f"{flag}: no input {name!r}; forward of {source.name} takes {', '.join(known)}")
    for entry in parameters:
        if entry.name not in given and entry.default is entry.empty:
            wanted = f"give its shape with --input {entry.name}:1x3x224x224"
            raise UsageError(f"{source.name}: forward also takes {entry.name}; {wanted}")
    return [name for name in known if name in given]


def _plan_one(
    source: Source,
    index: int,
    name: str,
    flags: Mapping[str, ShapeFlag | None],
    loaded: Mapping[str, Array] | None,
) -> InputPlan:
    example = _known_example(source, index, name, loaded)
    dtype = _dtype(source, name, flags, example)
    wanted = flags["opt"] or flags["input"]
    if wanted is None and example is None:
        wanted = flags["max"] or flags["min"] or _default_flag(source, name)
    if example is not None and not example.size:
        raise BadInput(f"input {name}: its example is empty, shape {list(example.shape)}")
    if example is not None and example.dtype.kind == "f" and not np.isfinite(example).all():
        raise BadInput(f"input {name}: its example holds NaN or infinite values")
    opt = wanted.shape if wanted else example.shape  # type: ignore[union-attr]
    low, high = flags["min"], flags["max"]
    bounds = check_range(name, low.shape if low else opt, opt, high.shape if high else opt)
    if flags["multiple"]:
        bounds = with_multiples(name, bounds, flags["multiple"].shape, flag_name("multiple"))
    if example is None:
        draw = source.drawn.get(name)
        example = draw(opt) if draw else random_input(opt, dtype, SEED + index)
    elif len(example.shape) != len(opt):
        asked, rank = f"{format_shape(opt)} has rank {len(opt)}", len(example.shape)
        raise UsageError(f"input {name}: {asked}, its example {list(example.shape)} has rank {rank}")
    return InputPlan(name, fit_example(example, opt), bounds, tuple(source.axes.get(name, ())))


def _dtype(source: Source, name: str, flags: Mapping[str, ShapeFlag | None], example: Array | None) -> str:
    """The input's dtype. Raises UsageError where a flag, the example and the model do not agree on it."""
    asked = next((flag.dtype for flag in flags.values() if flag is not None and flag.typed), None)
    fixed = source.input_dtypes.get(name) or None
    found = example.dtype.name if example is not None else None
    if fixed is not None and found not in (None, fixed):
        raise BadInput(f"input {name}: {source.name} takes {fixed}, its example is {found}; cast the array to {fixed}")
    known, owner = (fixed, source.name) if fixed is not None else (found, "its example")
    if asked is not None and known not in (None, asked):
        raise UsageError(f"input {name}: {asked} is asked for, but {owner} has {known}; leave the type out")
    return asked or known or "float32"


def _known_example(source: Source, index: int, name: str, loaded: Mapping[str, Array] | None) -> Array | None:
    if loaded is not None:
        if name not in loaded:
            raise BadInput(f"--inputs: no array named {name!r}; the file has {', '.join(loaded)}")
        return loaded[name]
    if source.example_inputs is not None and index < len(source.example_inputs):
        return source.example_inputs[index]
    return None


def _default_flag(source: Source, name: str) -> ShapeFlag:
    if name in source.default_shapes:
        return ShapeFlag(name, source.default_shapes[name])
    if source.default_shape is None:
        raise UsageError(f"{source.name}: the shape of its input is not known; give it with --input {name}:1x3x224x224")
    return ShapeFlag(name, source.default_shape)


def load_npz(path: Path) -> dict[str, Array]:
    """Arrays by name. Raises BadInput for a file that is no .npz of arrays, or that is too large for examples."""
    try:
        return read_npz(path, TotalBound(MAX_EXAMPLE, MAX_EXAMPLE_BYTES))
    except BadInput as error:
        raise BadInput(f"{error} (--inputs)") from None
