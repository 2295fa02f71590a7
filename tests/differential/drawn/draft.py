"""A graph that grows step by step: each step is run at once, and taken back where the engine refuses it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from tests.differential.case import Array
from tests.differential.engines import onnxruntime_plain

#: Largest tensor and largest magnitude of a graph: more would only cost time, or overflow.
MAX_ELEMENTS, MAX_MAGNITUDE = 20_000, 1e4
T = TypeVar("T")


class Unfit(Exception):
    """A step that does not fit the tensor that it was drawn for."""


@dataclass(frozen=True)
class Value:
    """A tensor of the graph, with what it is at the graph's own inputs."""

    name: str
    example: Array

    @property
    def shape(self) -> tuple[int, ...]:
        return self.example.shape

    @property
    def is_map(self) -> bool:
        return self.example.ndim == 4 and self.example.dtype == np.float32


@dataclass
class Draft:
    """A graph under construction.

    open_sizes   the height and width of the inputs are to stay open: steps must not depend on the example's
    """

    rng: np.random.Generator
    opset: int
    open_sizes: bool
    inputs: list[Value] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)
    nodes: list[NodeProto] = field(default_factory=list)
    stored: list[TensorProto] = field(default_factory=list)
    weights: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    count: int = 0

    def input(self, example: Array) -> Value:
        value = Value(f"x{len(self.inputs)}", example)
        self.inputs.append(value)
        self.values.append(value)
        return value

    def pick(self, options: Sequence[T]) -> T:
        return options[int(self.rng.integers(len(options)))]

    def chance(self, share: float = 0.5) -> bool:
        return bool(self.rng.random() < share)

    def between(self, low: int, high: int) -> int:
        """A whole number, both ends included."""
        return int(self.rng.integers(low, high + 1))

    def normal(self, *shape: int, scale: float = 1.0) -> Array:
        return np.asarray(self.rng.standard_normal(shape) * scale, np.float32)

    def store(self, array: object, dtype: str = "") -> str:
        """Name of a new stored tensor."""
        name = self.name("c")
        self.stored.append(numpy_helper.from_array(np.asarray(array, dtype or None), name))
        return name

    def weight(self, *shape: int) -> str:
        """A stored weight; now and then one that the graph reads already, if one has this shape."""
        tied = [name for name, known in self.weights if known == shape]
        if tied and self.chance():
            return self.pick(tied)
        name = self.store(self.normal(*shape, scale=1 / np.sqrt(max(np.prod(shape[1:]), 1))))
        self.weights.append((name, shape))
        return name

    def add(self, operator: str, inputs: Sequence[str], outputs: int = 1, /, **attributes: object) -> list[str]:
        """Add a node; names of its outputs."""
        names = [self.name("t") for _ in range(outputs)]
        self.nodes.append(helper.make_node(operator, inputs, names, name=self.name(operator), **attributes))
        return names

    def one(self, operator: str, *inputs: str, **attributes: object) -> str:
        """Add a node with one output; the output's name."""
        return self.add(operator, inputs, **attributes)[0]

    def name(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def step(self, draw: Callable[[Draft, Value], Sequence[str]], value: Value) -> bool:
        """Let `draw` add nodes that read a value; False, and nothing added, where they do not run."""
        marks = len(self.nodes), len(self.stored), len(self.weights)
        try:
            results = list(draw(self, value))
            made = self._run(self.nodes[marks[0] :], results)
        except Exception:  # drawn at random, it may not fit: the engine refuses it, or NumPy raises
            del self.nodes[marks[0] :], self.stored[marks[1] :], self.weights[marks[2] :]
            return False
        self.values += made
        return True

    def _run(self, nodes: Sequence[NodeProto], results: Sequence[str]) -> list[Value]:
        wanted = {name for node in nodes for name in node.input}
        given = [value for value in self.values if value.name in wanted]
        model = self._model(nodes, given, results, [entry for entry in self.stored if entry.name in wanted])
        arrays = onnxruntime_plain(model, {value.name: value.example for value in given})
        for array in arrays:
            if not 0 < array.size <= MAX_ELEMENTS or not np.all(np.isfinite(array)):
                raise Unfit
            if array.dtype.kind == "f" and np.abs(array).max() > MAX_MAGNITUDE:
                raise Unfit
        return [Value(name, array) for name, array in zip(results, arrays, strict=True)]

    def model(self) -> ModelProto:
        """The finished graph; what no node reads is an output."""
        read = {name for node in self.nodes for name in node.input}
        results = [value.name for value in self.values if value.name not in read and value not in self.inputs]
        inner = [value.name for value in self.values if value.name in read and value not in self.inputs]
        if inner and self.chance(0.3):
            results.append(self.pick(inner))
        wanted = set(self._needed(results))
        nodes = [node for node in self.nodes if wanted & set(node.output)]
        used = {name for node in nodes for name in node.input}
        stored = [entry for entry in self.stored if entry.name in used]
        model = self._model(nodes, [value for value in self.inputs if value.name in used], results, stored)
        return onnx.shape_inference.infer_shapes(model, data_prop=True)

    def _needed(self, results: Sequence[str]) -> Iterator[str]:
        makers = {name: node for node in self.nodes for name in node.output}
        pending, seen = list(results), set[str]()
        while pending:
            name = pending.pop()
            if name not in seen:
                seen.add(name)
                yield name
                pending += makers[name].input if name in makers else ()

    def _model(
        self, nodes: Sequence[NodeProto], inputs: Sequence[Value], results: Sequence[str], stored: Sequence[TensorProto]
    ) -> ModelProto:
        graph = helper.make_graph(
            nodes,
            "drawn",
            [self._input(value) for value in inputs],
            [self._output(name) for name in results],
            stored,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=10)

    def _input(self, value: Value) -> onnx.ValueInfoProto:
        shape: list[int | str] = list(value.shape)
        if self.open_sizes and value in self.inputs and len(shape) == 4:
            shape[2:] = ["height", "width"]
        elif self.open_sizes:
            shape = [f"{value.name}.{axis}" for axis in range(len(shape))]
        return helper.make_tensor_value_info(value.name, _kind(value.example), shape)

    def _output(self, name: str) -> onnx.ValueInfoProto:
        known = next((value for value in self.values if value.name == name), None)
        if known is None:
            return helper.make_empty_tensor_value_info(name)
        return helper.make_tensor_value_info(name, _kind(known.example), None)


def _kind(array: Array) -> int:
    return helper.np_dtype_to_tensor_dtype(array.dtype)
