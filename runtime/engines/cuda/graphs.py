"""CUDA graphs in ONNX Runtime: the kernels of each input shape are recorded once on fixed buffers, then replayed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from rectexport.runtime.arrays.kinds import copy_on_device
from rectexport.runtime.base.runner import Allocate, Array, DeviceArray, TensorSpec
from rectexport.runtime.engines.cuda.bindings import CudaBindings, ShapeKey, shape_key

#: How many sets of input shapes are recorded; each keeps its buffers. Later ones run without a graph.
GRAPHS = 16
NO_GRAPH = -1


def run_options(ort: Any, graph: int) -> Any:
    """Options of a run that records or replays the graph of that number; NO_GRAPH runs without one."""
    options = ort.RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(graph))
    return options


@dataclass(frozen=True)
class _Graph:
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    binding: Any
    options: Any


@final
class CudaGraphs:
    """Runs a session that was created with enable_cuda_graph.

    ONNX Runtime ties a graph to the thread that recorded it, so one thread makes the runs of all callers.
    """

    def __init__(self, ort: Any, session: Any, outputs: Sequence[TensorSpec], device: int) -> None:
        self._ort = ort
        self._session = session
        self._outputs = outputs
        self._device = device
        self._plain = CudaBindings(session, outputs, device, run_options(ort, NO_GRAPH))
        self._graphs: dict[ShapeKey, _Graph] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="rectexport-cuda-graphs")

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Host arrays by input name -> host arrays by output name."""
        return self._thread.submit(self._run, feeds).result()

    def run_on_device(self, feeds: Mapping[str, DeviceArray], allocate: Allocate) -> None:
        """Run on GPU arrays, copied to and from the graph's buffers. `allocate` is called on the caller's thread."""
        graph = self._thread.submit(self._graph, feeds).result()
        if graph is None:
            self._thread.submit(self._plain.run_on_device, feeds, allocate).result()
            return
        targets = {
            spec.name: allocate(spec.name, tuple(graph.outputs[spec.name].shape()), spec.dtype)
            for spec in self._outputs
        }
        self._thread.submit(self._replay_on_device, graph, feeds, targets).result()

    def close(self) -> None:
        """Wait for the last run and free the graphs."""
        self._thread.shutdown()
        self._graphs.clear()

    def _run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        graph = self._graph(feeds)
        if graph is None:
            return self._plain.run(feeds)
        for name, array in feeds.items():
            graph.inputs[name].update_inplace(np.asarray(array, order="C"))
        self._session.run_with_iobinding(graph.binding, graph.options)
        return {name: value.numpy() for name, value in graph.outputs.items()}

    def _replay_on_device(
        self, graph: _Graph, feeds: Mapping[str, DeviceArray], targets: Mapping[str, DeviceArray]
    ) -> None:
        for name, array in feeds.items():
            copy_on_device(self._view(graph.inputs[name], array.dtype), array)
        self._session.run_with_iobinding(graph.binding, graph.options)
        for spec in self._outputs:
            copy_on_device(targets[spec.name], self._view(graph.outputs[spec.name], spec.dtype))

    def _graph(self, feeds: Mapping[str, Any]) -> _Graph | None:
        key = shape_key(feeds)
        if key not in self._graphs and len(self._graphs) < GRAPHS:
            self._graphs[key] = self._prepare(feeds)
        return self._graphs.get(key)

    def _prepare(self, feeds: Mapping[str, Any]) -> _Graph:
        """Fixed buffers for these shapes. A run without a graph allocates the outputs; the next run is recorded."""
        binding = self._session.io_binding()
        inputs = {}
        for name, value in feeds.items():
            zeros = np.zeros(tuple(value.shape), str(value.dtype))
            inputs[name] = self._ort.OrtValue.ortvalue_from_numpy(zeros, "cuda", self._device)
            binding.bind_ortvalue_input(name, inputs[name])
        for spec in self._outputs:
            binding.bind_output(spec.name, "cuda", self._device)
        self._session.run_with_iobinding(binding, run_options(self._ort, NO_GRAPH))
        outputs = {spec.name: value for spec, value in zip(self._outputs, binding.get_outputs(), strict=True)}
        for name, value in outputs.items():
            binding.bind_ortvalue_output(name, value)
        return _Graph(inputs, outputs, binding, run_options(self._ort, len(self._graphs) + 1))

    def _view(self, value: Any, dtype: str) -> DeviceArray:
        return DeviceArray(value.data_ptr(), tuple(value.shape()), dtype, self._device, value)
