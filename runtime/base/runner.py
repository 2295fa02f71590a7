"""The protocols between a session and an inference engine, and the options of engines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from rectexport.runtime.base.shapes import Shape
from rectexport.runtime.errors import Option, UsageError
from rectexport.runtime.layouts import AUTO_LAYOUT, LAYOUTS

Array = NDArray[np.generic]


@dataclass(frozen=True)
class TensorSpec:
    """Name, numpy dtype name and shape of an input or output; a str or None in shape is a dynamic size."""

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]


@dataclass(frozen=True)
class DeviceArray:
    """A dense, row-major array on a CUDA device, of any library.

    pointer is its device address, device the GPU's index; owner is the library's array and keeps the memory alive.
    """

    pointer: int
    shape: Shape
    dtype: str
    device: int
    owner: Any = field(repr=False)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Lets PyTorch and CuPy use this memory as one of their arrays, without a copy."""
        return {
            "version": 3,
            "shape": self.shape,
            "typestr": np.dtype(self.dtype).str,
            "data": (self.pointer, False),
            "strides": None,
        }


#: (output name, shape, dtype name) -> the array that the output is written to.
Allocate = Callable[[str, Shape, str], DeviceArray]


def silent(text: str) -> None:
    """Ignore a progress message."""


@dataclass(frozen=True)
class BackendOptions:
    """Options for opening a package on an engine. Each engine reads those that concern it.

    device       index of the GPU
    threads      number of threads of a CPU engine; 0 lets the engine choose
    streams      OpenVINO: how many calls run at the same time, each with its share of the threads; 0 for one
    prefer_nhwc  ONNX Runtime CUDA: run convolutions in NHWC; ONNX Runtime inserts the transposes
    cuda_graphs  TensorRT, ONNX Runtime CUDA: record a CUDA graph for each input shape and replay it; None for the
                 engine's default: TensorRT does, ONNX Runtime does not
    rebuild      TensorRT: build a plan for this machine if the package has none that fits
    plugins      TensorRT: plugin libraries to load besides the package's own
    model        torch: the module to run
    allow_unproven  run an engine although its answers disagree with the source model's
    layout       ONNX Runtime on the CPU: one of LAYOUTS; "plain" keeps tensors in NCHW
    progress     called with one line of text before each step that takes time

    Raises UsageError for an unknown layout.
    """

    device: int = 0
    threads: int = 0
    prefer_nhwc: bool = False
    cuda_graphs: bool | None = None
    rebuild: bool = False
    plugins: Sequence[str | Path] = ()
    model: Any = None
    allow_unproven: bool = False
    streams: int = 0
    layout: str = AUTO_LAYOUT
    progress: Callable[[str], None] = silent

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise UsageError(Option("layout", self.layout), f": expected {' or '.join(LAYOUTS)}")


class Runner(Protocol):
    """An engine that holds one loaded model; run() may be called from many threads at once."""

    @property
    def description(self) -> str:
        """The engine, its version and where it runs: "ONNX Runtime 1.31.1, CPU"."""

    @property
    def inputs(self) -> Sequence[TensorSpec]:
        """What run() takes, in the model's order."""

    @property
    def outputs(self) -> Sequence[TensorSpec]:
        """What run() gives, in the model's order."""

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Infer once; feeds holds one array per input. The results are new, writable arrays."""

    def close(self) -> None:
        """Free the engine; run() must not be called afterwards."""


@runtime_checkable
class DeviceRunner(Protocol):
    """A runner that can also read and write arrays on its GPU, without a copy to or from the host."""

    @property
    def device(self) -> int:
        """The GPU's index."""

    def run_on_device(self, feeds: Mapping[str, DeviceArray], allocate: Allocate) -> None:
        """Infer once. Calls `allocate` once for every output and writes into the array it returns.

        The inputs are complete when this is called; the outputs are complete when it returns.
        """
