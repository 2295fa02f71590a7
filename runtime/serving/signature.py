"""A served model's inputs and outputs in the protocol's terms; requests are checked against them before queueing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rectexport.runtime.batching.rows import UNBOUNDED, batch_range
from rectexport.runtime.package.manifest import TensorEntry
from rectexport.runtime.serving.request_error import RequestError

#: Protocol datatype -> NumPy dtype, for those that packages can have.
DATATYPES = {
    "BOOL": "bool",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
}
DATATYPE_OF = {np.dtype(dtype): datatype for datatype, dtype in DATATYPES.items()}


@dataclass(frozen=True)
class ServedTensor:
    """An input or output; bounds are the smallest and largest size of each axis, steps how far its sizes are apart."""

    name: str
    datatype: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]  # -1 where dynamic
    bounds: tuple[tuple[int, int], ...]
    steps: tuple[int, ...]

    @classmethod
    def of(cls, entry: TensorEntry) -> ServedTensor:
        """From a manifest's entry."""
        shape = tuple(size if isinstance(size, int) else -1 for size in entry.shape)
        bounds = tuple((size, size) if size >= 0 else _range(entry, axis, UNBOUNDED) for axis, size in enumerate(shape))
        dtype = np.dtype(entry.dtype)
        steps = tuple(entry.range.step_of(axis) if entry.range else 1 for axis in range(len(shape)))
        return cls(entry.name, DATATYPE_OF[dtype], dtype, shape, bounds, steps)

    def check(self, datatype: object, shape: object) -> tuple[int, ...]:
        """The shape as a tuple. Raises RequestError 400 with expected and actual for a wrong datatype or shape."""
        if datatype != self.datatype:
            raise RequestError(400, f"input {self.name}: expected datatype {self.datatype}, got {str(datatype)[:40]!r}")
        if not isinstance(shape, (list, tuple)) or not all(type(size) is int for size in shape):
            raise RequestError(400, f"input {self.name}: expected a shape, a list of whole numbers")
        if len(shape) != len(self.bounds):
            raise RequestError(400, f"input {self.name}: expected shape {self.expected}, got {_short(shape)}")
        for size, (low, high), step in zip(shape, self.bounds, self.steps, strict=True):
            if not low <= size <= high or (size - low) % step:
                raise RequestError(400, f"input {self.name}: expected shape {self.expected}, got {_short(shape)}")
        return tuple(shape)

    @property
    def expected(self) -> str:
        """The accepted shape, as in [1..64, 3, 8, 8] or [1..64, 3, 32..320 in steps of 32, 8]."""
        parts = zip(self.bounds, self.steps, strict=True)
        return f"[{', '.join(_sizes(low, high, step) for (low, high), step in parts)}]"

    def metadata(self) -> dict[str, Any]:
        """The tensor's entry in the protocol's model metadata."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs by name. max_batch is how many rows may share one run; 0: requests are never batched."""

    inputs: dict[str, ServedTensor]
    outputs: dict[str, ServedTensor]
    max_batch: int

    @classmethod
    def of(cls, inputs: Sequence[TensorEntry], outputs: Sequence[TensorEntry], limit: int | None = None) -> Signature:
        """From a manifest's entries. limit may lower the largest batch, never raise it.

        Requests may share a run when axis 0 of every input and output is the same dynamic dimension, of any size.
        """
        found = batch_range(inputs, outputs)
        largest = found[1] if found else 0
        return cls(
            {entry.name: ServedTensor.of(entry) for entry in inputs},
            {entry.name: ServedTensor.of(entry) for entry in outputs},
            largest if limit is None else min(largest, limit),
        )

    def unbatched(self) -> Signature:
        """The same model without batching: each request runs alone."""
        return self.limited(0)

    def limited(self, rows: int) -> Signature:
        """The same model with runs of at most that many rows."""
        return Signature(self.inputs, self.outputs, min(rows, self.max_batch))


def _range(entry: TensorEntry, axis: int, unbounded: int) -> tuple[int, int]:
    if entry.range is None:
        return 1, unbounded
    return entry.range.min[axis], entry.range.max[axis]


def _sizes(low: int, high: int, step: int) -> str:
    sizes = str(low) if low == high else f"{low}.." if high == UNBOUNDED else f"{low}..{high}"
    return f"{sizes} in steps of {step}" if step > 1 else sizes


def _short(shape: Sequence[int]) -> str:
    text = ", ".join(str(size)[:20] for size in shape[:12])
    return f"[{text}{', …' if len(shape) > 12 else ''}]"
