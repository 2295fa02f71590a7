"""A lane: one execution context with a stream, buffers and a CUDA graph, for one inference at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import pairwise
from typing import Any, final

import numpy as np

from rectexport.runtime.base.runner import Array
from rectexport.runtime.base.shapes import Shape, format_shape
from rectexport.runtime.engines.tensorrt import cuda
from rectexport.runtime.engines.tensorrt.running.engine import Engine
from rectexport.runtime.errors import BadInput, DeviceError

Shapes = Mapping[str, Shape]

#: TensorRT reads and writes tensors only at multiples of this address (setTensorAddress in NvInferRuntime.h).
ALIGNMENT = 256


@final
class Lane:
    """Bound to one profile and one set of input shapes at a time; used by one thread at a time.

    The first run at a shape is enqueued layer by layer, which TensorRT requires before a capture; from the second on,
    all kernels are launched as one CUDA graph. An engine that cannot be captured (loops, conditions) runs by layers.
    """

    def __init__(self, engine: Engine, graphs: bool) -> None:
        self._driver = cuda.driver()
        self._engine, self._graphs = engine, graphs
        self._context = engine.create_context()
        self._stream = self._driver.create_stream()
        self._memory: dict[str, tuple[int, int]] = {}
        self._profile: int | None = None
        self._graph: int | None = None
        self._runs = 0
        self.shapes: Shapes = {}
        self._outputs: dict[str, tuple[Shape, np.dtype[Any]]] = {}

    def bind(self, profile: int, shapes: Shapes) -> None:
        """Prepare for inputs of these shapes; frees the graph of the previous ones.

        Raises DeviceError when TensorRT refuses the profile or a shape, BadInput for outputs of data-dependent shape.
        """
        self._forget_graph()
        self.shapes, self._runs = {}, 0
        if profile != self._profile:
            if not self._context.set_optimization_profile_async(profile, self._stream):
                raise self._failure(f"profile {profile} cannot be used")
            self._driver.synchronize(self._stream)
            self._profile = profile
        for spec in self._engine.inputs:
            if not self._context.set_input_shape(spec.name, shapes[spec.name]):
                raise self._failure(f"input {spec.name} cannot be {format_shape(shapes[spec.name])}")
        self._outputs = {spec.name: (self._shape(spec.name), np.dtype(spec.dtype)) for spec in self._engine.outputs}
        self.shapes = dict(shapes)

    def _shape(self, name: str) -> Shape:
        shape = tuple(int(size) for size in self._context.get_tensor_shape(name))
        if min(shape, default=0) < 0:
            raise BadInput(f"output {name}: its shape depends on the data, which this runner does not support")
        return shape

    def _use_own_memory(self) -> None:
        for name, size in self._sizes().items():
            self._set_address(name, self._own_memory(name, size))

    def _sizes(self) -> dict[str, int]:
        """Bytes of every input and output at the bound shapes."""
        tensors = {spec.name: (self.shapes[spec.name], np.dtype(spec.dtype)) for spec in self._engine.inputs}
        tensors |= self._outputs
        return {name: int(np.prod(shape, dtype=np.int64)) * dtype.itemsize for name, (shape, dtype) in tensors.items()}

    def _own_memory(self, name: str, size: int) -> int:
        """Address of this lane's memory for a tensor, at least `size` bytes."""
        address, room = self._memory.get(name, (0, -1))
        if size > room:
            if address:
                self._driver.free(address)
                del self._memory[name]
            address = self._driver.allocate(size)
            self._memory[name] = address, size
        return address

    def _set_address(self, name: str, address: int) -> None:
        if not self._context.set_tensor_address(name, address):
            raise self._failure(f"tensor {name} cannot be at {address:#x}")

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Infer once on host arrays of the bound shapes, in the engine's dtypes; returns new host arrays."""
        self.load(feeds)
        self.enqueue()
        return self.fetch()

    def fetch(self) -> dict[str, Array]:
        """Wait for the inference that was enqueued last and copy its outputs from the GPU."""
        results = {name: np.empty(shape, dtype) for name, (shape, dtype) in self._outputs.items()}
        for name, array in results.items():
            self._driver.download(array.ctypes.data, self._memory[name][0], array.nbytes, self._stream)
        self._driver.synchronize(self._stream)
        return results

    def load(self, feeds: Mapping[str, Array]) -> None:
        """Copy the inputs to the GPU."""
        if self._runs == 0:
            self._use_own_memory()
        for name, array in feeds.items():
            self._driver.upload(self._memory[name][0], array.ctypes.data, array.nbytes, self._stream)

    def wait(self) -> None:
        """Block until everything that was enqueued is done."""
        self._driver.synchronize(self._stream)

    def report_to(self, profiler: Any) -> None:
        """From the next inference on, tell an IProfiler of TensorRT's the time of each layer; without CUDA graphs."""
        self._forget_graph()
        self._graphs = False
        self._context.profiler = profiler

    def run_in_place(self, addresses: Mapping[str, int], allocate: Callable[[str, Shape, str], int]) -> None:
        """Infer once on GPU memory; `allocate` returns the address of each output. Complete on return.

        An array at an address that TensorRT does not take, such as the second row of a batch, is copied.
        """
        self._forget_graph()  # it reads and writes other addresses
        self._runs = 0
        sizes = self._sizes()
        for name, address in addresses.items():
            self._set_address(name, self._aligned(name, address, sizes[name], filled=True))
        targets = {name: allocate(name, shape, dtype.name) for name, (shape, dtype) in self._outputs.items()}
        for name, address in targets.items():
            self._set_address(name, self._aligned(name, address, sizes[name]))
        self._enqueue_layers()
        for name, address in targets.items():
            if address % ALIGNMENT:
                self._driver.copy(address, self._memory[name][0], sizes[name], self._stream)
        self._driver.synchronize(self._stream)

    def _aligned(self, name: str, address: int, size: int, filled: bool = False) -> int:
        """The address if TensorRT takes it, else that of own memory, to which `filled` copies the content."""
        if address % ALIGNMENT == 0:
            return address
        own = self._own_memory(name, size)
        if filled:
            self._driver.copy(own, address, size, self._stream)
        return own

    def enqueue(self) -> None:
        """Enqueue one inference on the stream."""
        if self._graphs and self._graph is None and self._runs > 0:
            self._capture()
        if self._graph is None:
            self._enqueue_layers()
        else:
            self._driver.launch(self._graph, self._stream)
        self._runs += 1

    def _capture(self) -> None:
        self._driver.synchronize(self._stream)
        try:
            with self._driver.capture(self._stream) as graph:
                self._enqueue_layers()
        except DeviceError:
            self._graphs = False
        else:
            (self._graph,) = graph

    def _enqueue_layers(self) -> None:
        if not self._context.execute_async_v3(self._stream):
            raise self._failure("inference failed")

    def time(self, count: int) -> list[float]:
        """GPU milliseconds of each of `count` inferences on the inputs that `load` copied."""
        events = [self._driver.create_event() for _ in range(count + 1)]
        try:
            self._driver.record(events[0], self._stream)
            for event in events[1:]:
                self.enqueue()
                self._driver.record(event, self._stream)
            return [self._driver.milliseconds(*pair) for pair in pairwise(events)]
        finally:
            for event in events:
                with suppress(DeviceError):  # as in close()
                    self._driver.destroy_event(event)

    @property
    def captured(self) -> bool:
        """Whether runs are launched as one CUDA graph."""
        return self._graph is not None

    def _failure(self, what: str) -> DeviceError:
        return DeviceError(f"{what}: {self._engine.last_error()}")

    def _forget_graph(self) -> None:
        if self._graph is not None:
            self._driver.destroy_graph(self._graph)
            self._graph = None

    def close(self) -> None:
        """Free everything. Raises nothing: after a broken kernel each call fails, and the first error is the cause."""
        with suppress(DeviceError):
            self._forget_graph()
        self._context = None
        for address, _ in self._memory.values():
            with suppress(DeviceError):
                self._driver.free(address)
        self._memory = {}
        with suppress(DeviceError):
            self._driver.destroy_stream(self._stream)
