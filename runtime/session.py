"""A loaded package that answers."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import final

import numpy as np

from rectexport.runtime.errors import BadInput
from rectexport.runtime.manifest import TensorEntry
from rectexport.runtime.package import Package
from rectexport.runtime.runner import Array, Runner


@final
class Session:
    """Inference on one package. Call it with arrays in the order of its inputs, or use `run` with names.

    >>> with rectexport.load("out/digits") as session:  # doctest: +SKIP
    ...     logits = session(images)
    """

    def __init__(self, package: Package, runner: Runner) -> None:
        self.package = package
        self._runner = runner

    def __call__(self, *arrays: Array) -> Array | tuple[Array, ...]:
        """One array per input, in order; one output alone, or a tuple of all. Raises BadInput as `run` does."""
        entries = self.package.manifest.inputs
        if len(arrays) != len(entries):
            names = ", ".join(entry.name for entry in entries)
            raise BadInput(f"expected {len(entries)} input{'s' * (len(entries) != 1)} ({names}), got {len(arrays)}")
        results = self.run({entry.name: array for entry, array in zip(entries, arrays, strict=True)})
        outputs = tuple(results[entry.name] for entry in self.package.manifest.outputs)
        return outputs[0] if len(outputs) == 1 else outputs

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Arrays by input name -> arrays by output name.

        Raises BadInput with expected and actual for a wrong name, dtype, rank or size.
        """
        entries = self.package.manifest.inputs
        surplus = set(feeds) - {entry.name for entry in entries}
        if surplus:
            known = ", ".join(entry.name for entry in entries)
            raise BadInput(f"no input named {sorted(surplus)[0]!r}; the model takes {known}")
        for entry in entries:
            _check(entry, feeds)
        return self._runner.run(feeds)

    def close(self) -> None:
        """Free the engine."""
        self._runner.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _check(entry: TensorEntry, feeds: Mapping[str, Array]) -> None:
    if entry.name not in feeds:
        raise BadInput(f"input {entry.name} is missing; got {', '.join(sorted(feeds)) or 'nothing'}")
    array = feeds[entry.name]
    if not isinstance(array, np.ndarray):
        raise BadInput(f"input {entry.name}: expected a numpy array, got {type(array).__name__}")
    if array.dtype != np.dtype(entry.dtype):
        raise BadInput(f"input {entry.name}: expected dtype {entry.dtype}, got {array.dtype}; cast it with .astype")
    if array.ndim != len(entry.shape):
        raise BadInput(f"input {entry.name}: expected shape {list(entry.shape)}, got {list(array.shape)}")
    for axis, (expected, actual) in enumerate(zip(entry.shape, array.shape, strict=True)):
        low, high = _bounds(entry, axis, expected)
        if not low <= actual <= high:
            allowed = str(low) if low == high else f"{low}..{high}"
            raise BadInput(
                f"input {entry.name}, axis {axis}: expected {allowed}, got {actual} in shape {list(array.shape)}"
            )


def _bounds(entry: TensorEntry, axis: int, size: int | str) -> tuple[float, float]:
    if isinstance(size, int):
        return size, size
    if entry.range is None:
        return 1, float("inf")
    return entry.range.min[axis], entry.range.max[axis]
