"""The answers that a package is measured against: the source model's own, in float64 where it can."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from onnx import ModelProto, ValueInfoProto
from torch import Tensor

from rectexport.exporter.source import Source
from rectexport.exporter.trace import Traced
from rectexport.runtime.onnxruntime_runner import OnnxRuntimeRunner
from rectexport.runtime.runner import Array


class Reference(Protocol):
    """Computes expected tensors."""

    description: str

    def outputs(self, feeds: Mapping[str, Array]) -> list[Array]:
        """The model's outputs, in order."""

    def tensors(self, feeds: Mapping[str, Array], names: Collection[str]) -> dict[str, Array]:
        """Inner tensors by the name they have in the traced ONNX model; unknown names are left out."""

    def layer(self, name: str) -> str:
        """The module that made an inner tensor, or the tensor's name."""


def make_reference(source: Source, traced: Traced) -> Reference:
    """The reference for a source: PyTorch in float64, or ONNX Runtime for an ONNX file."""
    if source.kind == "onnx":
        return OnnxReference(source.model)
    model = source.model.module(check_guards=False) if source.kind == "program" else source.model
    return TorchReference(model, traced.program)


class TorchReference:
    """PyTorch in float64. Inner tensors come from the exported program, whose nodes name the ONNX tensors."""

    description = "PyTorch, float64"

    def __init__(self, model: Any, program: Any) -> None:
        self._model = copy.deepcopy(model).double()
        self._graph = _inner_graph(program) if program is not None else None
        self._layers = _layer_names(program) if program is not None else {}

    def outputs(self, feeds: Mapping[str, Array]) -> list[Array]:
        with torch.no_grad():
            results = self._model(*_tensors(feeds))
        flat, _ = torch.utils._pytree.tree_flatten(results)
        return [value.detach().numpy() for value in flat if isinstance(value, Tensor)]

    def tensors(self, feeds: Mapping[str, Array], names: Collection[str]) -> dict[str, Array]:
        if self._graph is None:
            return {}
        recorder = _Recorder(self._graph, names)
        with torch.no_grad():
            recorder.run(*_tensors(feeds))
        return recorder.found

    def layer(self, name: str) -> str:
        return self._layers.get(name, name)


class OnnxReference:
    """ONNX Runtime on the untouched file, without its graph optimizations; float32 stays float32."""

    description = "ONNX Runtime on the source file, as stored"

    def __init__(self, model: ModelProto) -> None:
        self._model = model
        self._runner = OnnxRuntimeRunner(model.SerializeToString(), optimize=False)

    def outputs(self, feeds: Mapping[str, Array]) -> list[Array]:
        return list(self._runner.run(feeds).values())

    def tensors(self, feeds: Mapping[str, Array], names: Collection[str]) -> dict[str, Array]:
        known = {name for node in self._model.graph.node for name in node.output}
        wanted = [name for name in names if name in known]
        return run_inner(self._model, feeds, wanted, optimize=False)

    def layer(self, name: str) -> str:
        return name


def run_inner(
    model: ModelProto, feeds: Mapping[str, Array], names: Collection[str], optimize: bool = True
) -> dict[str, Array]:
    """Run a model in ONNX Runtime with inner tensors added to its outputs, and return those."""
    existing = {value.name for value in model.graph.output}
    extended = ModelProto()
    extended.CopyFrom(model)
    extended.graph.output.extend(_untyped(name) for name in names if name not in existing)
    runner = OnnxRuntimeRunner(extended.SerializeToString(), optimize=optimize)
    results = runner.run(feeds)
    runner.close()
    return {name: results[name] for name in names}


def _untyped(name: str) -> Any:
    return ValueInfoProto(name=name)


def _inner_graph(program: Any) -> Any:
    module = copy.deepcopy(program.module(check_guards=False))  # it shares the program's own weights
    return module.double()


def _layer_names(program: Any) -> dict[str, str]:
    names = {}
    for node in program.graph.nodes:
        stack = node.meta.get("nn_module_stack")
        path = list(stack.values())[-1][0] if stack else ""
        names[node.name] = path or node.name
    return names


def _tensors(feeds: Mapping[str, Array]) -> list[Tensor]:
    arrays = (np.asarray(array) for array in feeds.values())
    return [torch.from_numpy(array.astype(np.float64) if array.dtype.kind == "f" else array) for array in arrays]


class _Recorder(torch.fx.Interpreter):
    """Runs a graph and keeps the rank-4 tensors of the wanted nodes."""

    def __init__(self, graph: Any, names: Collection[str]) -> None:
        super().__init__(graph, garbage_collect_values=True)
        self._names = names
        self.found: dict[str, Array] = {}

    def run_node(self, node: torch.fx.Node) -> Any:
        value = super().run_node(node)
        if node.name in self._names and isinstance(value, Tensor) and value.dim() == 4:
            self.found[node.name] = value.numpy()
        return value
