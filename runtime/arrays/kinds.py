"""The array libraries of a session's inputs and outputs: NumPy, PyTorch, CuPy.

Only NumPy is imported: whoever passes an array of another library has already imported it.
"""

from __future__ import annotations

import sys
from typing import Any, Protocol, final

import numpy as np

from rectexport.runtime.arrays.cupy_arrays import CupyArrays
from rectexport.runtime.arrays.torch_arrays import TorchCudaTensors, TorchTensors
from rectexport.runtime.base.runner import Array, DeviceArray
from rectexport.runtime.base.shapes import Shape


class Library(Protocol):
    """One kind of array, on the host or on a GPU; `value` in every method is an array of that kind."""

    @property
    def name(self) -> str:
        """The library's name, for messages."""

    @property
    def cast(self) -> str:
        """The method that casts to another dtype, for messages."""

    @property
    def xp(self) -> Any:
        """The module: numpy, torch or cupy."""

    def fault(self, value: Any) -> str | None:
        """Why no engine can take this array, and what to do instead; None if it can be used."""

    def dtype(self, value: Any) -> str:
        """The dtype's NumPy name, or the library's own name if NumPy has no such dtype."""


class HostLibrary(Library, Protocol):
    """Arrays in host memory."""

    def to_host(self, value: Any) -> Array:
        """The same memory as a NumPy array."""

    def from_host(self, array: Array) -> Any:
        """The same memory as an array of this kind."""

    def write(self, target: Any, array: Array) -> None:
        """Copy a NumPy array into one of this kind."""


class DeviceLibrary(Library, Protocol):
    """Arrays in a CUDA device's memory."""

    def device(self, value: Any) -> int:
        """Index of the GPU."""

    def dense(self, value: Any) -> bool:
        """Whether the array is contiguous in row-major order."""

    def to_device(self, value: Any) -> DeviceArray:
        """The same memory, or a copy if the array is not dense; the library's pending work on it is done on return."""

    def empty(self, shape: Shape, dtype: str, device: int) -> Any:
        """A new, uninitialized array; dtype is NumPy's name."""

    def copy(self, target: DeviceArray, source: DeviceArray) -> None:
        """Copy within the GPU; complete on return."""


@final
class NumPyArrays:
    """numpy.ndarray."""

    name, cast, xp = "NumPy", ".astype", np

    def fault(self, value: Any) -> str | None:
        return None

    def dtype(self, value: Any) -> str:
        return str(value.dtype)

    def to_host(self, value: Any) -> Array:
        host: Array = value
        return host

    def from_host(self, array: Array) -> Any:
        return array

    def write(self, target: Any, array: Array) -> None:
        np.copyto(target, array)


NUMPY = NumPyArrays()
AnyLibrary = NumPyArrays | TorchTensors | TorchCudaTensors | CupyArrays


def library_of(value: object) -> AnyLibrary | None:
    """The library of an array; None if the value is not an array of a known library."""
    if isinstance(value, np.ndarray):
        return NUMPY
    torch, cupy = sys.modules.get("torch"), sys.modules.get("cupy")
    if torch is not None and isinstance(value, torch.Tensor):
        return TorchCudaTensors(torch) if value.device.type == "cuda" else TorchTensors(torch)
    if cupy is not None and isinstance(value, cupy.ndarray):
        return CupyArrays(cupy)
    return None


def copy_on_device(target: DeviceArray, source: DeviceArray) -> None:
    """Copy with the library that one of the two arrays belongs to. Raises TypeError if neither belongs to one."""
    for array in (source, target):
        library = library_of(array.owner)
        if isinstance(library, (TorchCudaTensors, CupyArrays)):
            library.copy(target, source)
            return
    raise TypeError("neither array belongs to a library")
