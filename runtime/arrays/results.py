"""Compare the shapes and dtypes of an engine's outputs with the manifest, on every call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, final

import numpy as np

from rectexport.runtime.arrays.kinds import AnyLibrary
from rectexport.runtime.errors import ParityError
from rectexport.runtime.package.manifest import TensorEntry


@dataclass(frozen=True)
class _Expected:
    """One output: its dtype, rank, fixed sizes by axis, and axes that an input's axis has the size of."""

    name: str
    dtype: str
    numpy_dtype: Any
    rank: int
    fixed: tuple[tuple[int, int], ...]
    shared: tuple[tuple[int, str, int], ...]


@final
class ResultCheck:
    """Made once for a session, called with the results of every run."""

    def __init__(self, inputs: Sequence[TensorEntry], outputs: Sequence[TensorEntry]) -> None:
        places = {
            size: (entry.name, axis)
            for entry in reversed(inputs)
            for axis, size in reversed(list(enumerate(entry.shape)))
            if isinstance(size, str) and size
        }
        self._outputs = outputs
        self._expected = tuple(_expected(entry, places) for entry in outputs)

    def __call__(self, library: AnyLibrary, feeds: Mapping[str, Any], results: Mapping[str, Any], engine: str) -> None:
        """Raises ParityError that names the output, what the manifest says, and what the engine gave."""
        for entry in self._expected:
            value = results[entry.name]
            shape = value.shape
            if len(shape) != entry.rank or not _same_dtype(library, value, entry):
                self._refuse(entry, library, value, engine)
            for axis, size in entry.fixed:
                if shape[axis] != size:
                    self._refuse(entry, library, value, engine)
            for axis, name, source in entry.shared:
                if shape[axis] != feeds[name].shape[source]:
                    self._refuse(entry, library, value, engine)

    def _refuse(self, entry: _Expected, library: AnyLibrary, value: Any, engine: str) -> NoReturn:
        shape = next(list(output.shape) for output in self._outputs if output.name == entry.name)
        raise ParityError(
            f"output {entry.name}: expected {entry.dtype} {shape}, {engine} gave {library.dtype(value)} "
            f"{list(value.shape)}: this engine computes the model otherwise; load the package with another backend"
        )


def _expected(entry: TensorEntry, places: Mapping[str, tuple[str, int]]) -> _Expected:
    fixed = tuple((axis, size) for axis, size in enumerate(entry.shape) if isinstance(size, int))
    shared = tuple((axis, *places[size]) for axis, size in enumerate(entry.shape) if size in places)  # type: ignore[index]
    return _Expected(entry.name, entry.dtype, np.dtype(entry.dtype), len(entry.shape), fixed, shared)


def _same_dtype(library: AnyLibrary, value: Any, entry: _Expected) -> bool:
    if isinstance(value, np.ndarray):
        return bool(value.dtype == entry.numpy_dtype)
    return library.dtype(value) == entry.dtype
