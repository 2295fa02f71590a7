"""Judge a package by itself: its file in a bare engine session, on inputs that the export never saw.

Expected answers are those of onnx.reference in float64, on the graph as it was drawn, or those of PyTorch. Where the
same evaluation in float32, on inputs that differ by less than they are rounded, gives something else, the question has
no answer (an arg-max among equals, a rounded half), and nothing is judged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import openvino

from rectexport.runtime.engines.openvino_runner import SETTINGS
from tests.differential.case import Array

Feeds = Mapping[str, Array]
#: Runs inputs, in the order of the model's own.
Session = Callable[[Feeds], list[Array]]
#: Relative L2 that an engine's float32 may be off, and how many times the rounding that was seen in the reference.
BOUND, TIMES = 1e-4, 20.0
#: Beyond this the reference itself depends on rounding.
UNSTEADY = 1e-3
_CORE = openvino.Core()


def open_bare(engine: str, path: Path) -> Session:
    """A session of the engine on a file, with the engine's defaults and OpenVINO's settings for float32."""
    if engine == "openvino":
        compiled = _CORE.compile_model(_CORE.read_model(str(path)), "CPU", {**SETTINGS, "INFERENCE_NUM_THREADS": 1})
        return lambda feeds: [np.array(value) for value in compiled(list(feeds.values())).values()]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda feeds: session.run(None, dict(feeds))


def fresh(examples: Feeds, sizes: Sequence[tuple[int, int]], seed: int) -> Iterator[tuple[str, dict[str, Array]]]:
    """Inputs by label: other numbers, signs, sizes; zeros; integers over their whole range."""
    rng = np.random.default_rng([seed, 1])
    for height, width in sizes or [(0, 0)]:
        shapes = {name: (*a.shape[:2], height, width) if height else a.shape for name, a in examples.items()}
        where = f" {height}x{width}" if height else ""
        for label, draw in (("normal", _normal), ("positive", _positive), ("range", _whole)):
            yield label + where, {name: draw(rng, shapes[name], array.dtype) for name, array in examples.items()}
    yield "zeros", {name: np.zeros_like(array) for name, array in examples.items()}
    yield "negated", {name: -a if a.dtype.kind == "f" else a for name, a in examples.items()}


def _normal(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    if dtype.kind == "f":
        return (3 * rng.standard_normal(shape)).astype(dtype)
    return rng.integers(0, 120, shape).astype(dtype)


def _positive(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    return rng.random(shape).astype(dtype) if dtype.kind == "f" else rng.integers(0, 3, shape).astype(dtype)


def _whole(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    if dtype.kind == "f":
        return (30 * rng.standard_normal(shape)).astype(dtype)
    ends = np.iinfo(dtype)
    values = rng.integers(ends.min, ends.max, shape, dtype, endpoint=True)
    values.flat[:2] = ends.min, ends.max
    return values


def verdicts(exact: Sequence[Array], rounded: Sequence[Array], actual: Sequence[Array]) -> Iterator[str | None]:
    """For each output how it differs, "" where it does not, None where the references do not agree among themselves."""
    for wanted, again, got in zip(exact, rounded, actual, strict=True):
        if wanted.shape != again.shape:
            yield None
        elif got.shape != wanted.shape:
            yield f"shape {list(got.shape)}, expected {list(wanted.shape)}"
        elif got.dtype != again.dtype:
            yield f"dtype {got.dtype}, expected {again.dtype}"
        elif wanted.dtype.kind == "f":
            noise = distance(wanted, again)
            allowed = max(BOUND, TIMES * noise)
            off = distance(wanted, got)
            yield None if not noise <= UNSTEADY else f"relative L2 {off:.1e}" if not off <= allowed else ""
        elif not np.array_equal(wanted, again):
            yield None
        else:
            count = int((wanted != got).sum())
            yield f"{count} of {wanted.size} elements" if count else ""


def distance(wanted: Array, got: Array) -> float:
    """Relative L2; the largest error where zeros are wanted; infinite where one is not finite."""
    one, other = wanted.astype(np.float64), got.astype(np.float64)
    if not np.isfinite(one).all() or not np.isfinite(other).all():
        return 0.0 if np.array_equal(one, other, equal_nan=True) else float("inf")
    if not one.any():
        return float(np.abs(other).max(initial=0.0))
    return float(np.linalg.norm(one - other) / np.linalg.norm(one))
