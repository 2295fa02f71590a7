"""The steps of a call, in order: each is a function of a Bench, run in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from benchmarks.gpu.bench import Bench


@dataclass(frozen=True)
class Step:
    """name; the function, as MODULE.FUNCTION of this folder; what it is; the most seconds that it may take."""

    name: str
    function: str
    title: str
    limit: float

    @property
    def run(self) -> Callable[[Bench], None]:
        """The function. Its module is imported here: some need libraries that are missing on the machine."""
        module, name = self.function.split(".")
        found: Callable[[Bench], None] = getattr(import_module(f"{__name__}.{module}"), name)
        return found


#: What proves most per second comes first, and what may take any time comes last.
STEPS = (
    Step("machine", "machine.run", "Imports and the GPU", 60),
    Step("kernel", "kernel.test", "The kernel against its reference, 2^31 elements included", 150),
    Step("bandwidth", "kernel.bandwidth", "The kernel's bandwidth", 60),
    Step("memcheck", "kernel.memcheck", "The kernel under memcheck", 60),
    Step("driver", "driver_layer.run", "The CUDA driver layer with PyTorch and CuPy", 45),
    Step("prices", "prices.run", "The price of rectification in PyTorch", 150),
    Step("cudnn", "cudnn_graph.run", "cuDNN: convolution, map, bias, residual and ReLU in one graph", 45),
    Step("engines", "engines.run", "TensorRT and ONNX Runtime", 150),
)
