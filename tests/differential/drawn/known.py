"""Whether a difference follows from values that a row of export/engine_facts names.

A row with `values` excuses an output only where a node that the output depends on is of its kind, and that node's own
tensors, computed by onnx.reference, hold such values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

from rectexport.exporter.engine_facts.facts import Fact, facts
from rectexport.exporter.engine_facts.view import View
from tests.differential.case import Array
from tests.differential.specification import answer

Feeds = Mapping[str, Array]
#: Of a node's inputs and outputs, those that are there, and its attributes: whether they show the fault.
Test = Callable[[Sequence[Array], Sequence[Array], Mapping[str, Any]], bool]
SMALLEST_NORMAL = float(np.finfo(np.float32).tiny)


class Known:
    """The rows of one engine that name values, for one model."""

    def __init__(self, engine: str, model: ModelProto) -> None:
        self._model = model
        rows = [fact for fact in facts() if fact.engine == engine and fact.values not in ("", "NaN")]
        view = View(model)
        pairs = ((node, row) for node in model.graph.node for row in rows)
        self._found: list[tuple[NodeProto, Fact]] = [(node, row) for node, row in pairs if row.matches(node, view)]

    def explains(self, feeds: Feeds, output: int | None = None) -> bool:
        """Whether such values stand before an output, or anywhere where None is given, for these inputs."""
        if not self._found:
            return False
        above = self._above(output)
        found = [(node, row) for node, row in self._found if node.output[0] in above]
        tensors = self._tensors(feeds) if found else {}
        return any(_shows(row, node, tensors) for node, row in found)

    def _above(self, output: int | None) -> set[str]:
        """Names of the tensors that an output depends on, its own among them."""
        results = self._model.graph.output
        wanted = [entry.name for entry in (results if output is None else [results[output]])]
        above: set[str] = set()
        while wanted:
            name = wanted.pop()
            if name and name not in above:
                above.add(name)
                wanted += self._makers[name].input if name in self._makers else ()
        return above

    @cached_property
    def _makers(self) -> Mapping[str, NodeProto]:
        return {name: node for node in self._model.graph.node for name in node.output}

    def _tensors(self, feeds: Feeds) -> Mapping[str, Array]:
        """Every tensor of the graph; none where the reference does not run it."""
        names = [name for name in self._makers if name]
        open_model = ModelProto()
        open_model.CopyFrom(self._model)
        del open_model.graph.output[:]
        open_model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
        values = answer(open_model, feeds)
        stored = {entry.name: numpy_helper.to_array(entry) for entry in self._model.graph.initializer}
        return {} if values is None else {**stored, **feeds, **dict(zip(names, values, strict=True))}


def _shows(row: Fact, node: NodeProto, tensors: Mapping[str, Array]) -> bool:
    inputs = [tensors[name] for name in node.input if name in tensors]
    outputs = [tensors[name] for name in node.output if name in tensors]
    given = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    return bool(inputs) and TESTS[row.values](inputs, outputs, given)


def _beyond(limit: float) -> Test:
    def test(inputs: Sequence[Array], outputs: Sequence[Array], _: Mapping[str, Any]) -> bool:
        whole = (array for array in (*inputs, *outputs) if array.dtype.kind in "iu")
        return any(bool((np.abs(array.astype(np.float64)) >= limit).any()) for array in whole)

    return test


def _floats(arrays: Sequence[Array]) -> Iterator[Array]:
    return (np.abs(array) for array in arrays if array.dtype.kind == "f")


def _nearly_zero(limit: float) -> Test:
    return lambda inputs, outputs, _: any(bool(((size > 0) & (size < limit)).any()) for size in _floats(inputs))


def _smallest(inputs: Sequence[Array], outputs: Sequence[Array], given: Mapping[str, Any]) -> bool:
    whole = inputs[0].dtype.kind == "i" and bool((inputs[0] == np.iinfo(inputs[0].dtype).min).any())
    return whole or _nearly_zero(1e-9)(inputs, outputs, given)


def _halves(inputs: Sequence[Array], outputs: Sequence[Array], _: Mapping[str, Any]) -> bool:
    steps = np.abs(inputs[0].astype(np.float64) / inputs[1].astype(np.float64))
    return bool((np.abs(steps - np.floor(steps) - 0.5) < 1e-3).any())


def _sum_too_large(inputs: Sequence[Array], outputs: Sequence[Array], _: Mapping[str, Any]) -> bool:
    limit = min(np.iinfo(inputs[0].dtype).max, 2**53)
    return float(np.abs(inputs[0].astype(np.float64)).sum()) > limit


def _left_over(inputs: Sequence[Array], outputs: Sequence[Array], given: Mapping[str, Any]) -> bool:
    kernels = given["kernel_shape"]
    strides = given.get("strides") or [1 for _ in kernels]
    sizes = inputs[0].shape[2:]
    pairs = zip(sizes, kernels, strides, strict=True)
    return any((math.ceil(size / stride) - 1) * stride + kernel < size for size, kernel, stride in pairs)


def _broken_size(inputs: Sequence[Array], outputs: Sequence[Array], _: Mapping[str, Any]) -> bool:
    scales = inputs[-1].astype(np.float64) if inputs[-1].dtype.kind == "f" else np.ones(1)
    sizes = scales * np.array(inputs[0].shape[-scales.size :])
    return bool((np.abs(sizes - np.round(sizes)) > 1e-6).any())


#: By the text of a row's `values`.
TESTS: Mapping[str, Test] = {
    "integers beyond 2^24": _beyond(2**24),
    "integers beyond 2^31": _beyond(2**31),
    "-128": lambda inputs, outputs, given: bool((inputs[0] == -128).any()),
    "the smallest integer, and floats below 1e-9": _smallest,
    "floats below 1.2e-38": _nearly_zero(SMALLEST_NORMAL),
    "halves of the scale": _halves,
    "inputs of the sigmoid below -88": lambda inputs, outputs, given: bool((inputs[0] < 1e-37).any()),
    "sizes after which the strides leave elements over": _left_over,
    "sums beyond the dtype, or beyond 2^53": _sum_too_large,
    "sizes that the scale does not make whole": _broken_size,
}
