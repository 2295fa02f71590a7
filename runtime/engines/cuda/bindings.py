"""Runs ONNX Runtime's CUDA provider through IOBinding, on host arrays or on GPU memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np

from rectexport.runtime.base.runner import Allocate, Array, DeviceArray, TensorSpec
from rectexport.runtime.base.shapes import Shape

#: How many sets of input shapes have their output shapes cached.
REMEMBERED = 1024

ShapeKey = tuple[tuple[str, Shape], ...]


def shape_key(feeds: Mapping[str, Any]) -> ShapeKey:
    """The cache key of a run's input shapes."""
    return tuple((name, tuple(value.shape)) for name, value in sorted(feeds.items()))


@final
class CudaBindings:
    """Runs a session; thread-safe. run_options are passed to every run."""

    def __init__(self, session: Any, outputs: Sequence[TensorSpec], device: int, run_options: Any = None) -> None:
        self._session = session
        self._outputs = outputs
        self._device = device
        self._run_options = run_options
        self._shapes: dict[ShapeKey, list[Shape]] = {}

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Host arrays by input name -> host arrays by output name."""
        binding = self._session.io_binding()
        for name, array in feeds.items():
            binding.bind_cpu_input(name, np.asarray(array, order="C"))
        for spec in self._outputs:
            binding.bind_output(spec.name, "cpu")
        self._session.run_with_iobinding(binding, self._run_options)
        return {spec.name: array for spec, array in zip(self._outputs, binding.copy_outputs_to_cpu(), strict=True)}

    def run_on_device(self, feeds: Mapping[str, DeviceArray], allocate: Allocate) -> None:
        """Run on GPU memory. New input shapes are run twice: the first run determines the output shapes."""
        binding = self._bind(feeds)
        shapes = self._output_shapes(feeds)
        targets = [allocate(spec.name, shape, spec.dtype) for spec, shape in zip(self._outputs, shapes, strict=True)]
        for spec, target in zip(self._outputs, targets, strict=True):
            element = np.dtype(spec.dtype).type
            binding.bind_output(spec.name, "cuda", self._device, element, list(target.shape), target.pointer)
        self._session.run_with_iobinding(binding, self._run_options)
        binding.synchronize_outputs()

    def _bind(self, feeds: Mapping[str, DeviceArray]) -> Any:
        binding = self._session.io_binding()
        for name, array in feeds.items():
            element = np.dtype(array.dtype).type
            binding.bind_input(name, "cuda", self._device, element, list(array.shape), array.pointer)
        return binding

    def _output_shapes(self, feeds: Mapping[str, DeviceArray]) -> list[Shape]:
        key = shape_key(feeds)
        shapes = self._shapes.get(key)
        if shapes is None:
            binding = self._bind(feeds)
            for spec in self._outputs:
                binding.bind_output(spec.name, "cuda", self._device)
            self._session.run_with_iobinding(binding, self._run_options)
            shapes = [tuple(value.shape()) for value in binding.get_outputs()]
            if len(self._shapes) >= REMEMBERED:
                self._shapes.clear()
            self._shapes[key] = shapes
        return shapes
