"""One small graph with the inputs it is tried on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, helper, numpy_helper
from onnx.defs import onnx_opset_version

Array = NDArray[Any]
#: Newest opset that ONNX Runtime and OpenVINO both read without a warning.
OPSET = min(21, onnx_opset_version())


@dataclass(frozen=True)
class Case:
    """A model and its inputs.

    group      operators that are probed together, the word on the command line
    compare    False where the specification leaves the answer open: only refusals and shapes count
    """

    name: str
    model: ModelProto
    feeds: Mapping[str, Array]
    compare: bool = True
    group: str = ""


def single(
    name: str,
    operator: str,
    inputs: Sequence[Array | None],
    stored: Mapping[int, Array] | None = None,
    /,
    *,
    outputs: int = 1,
    opset: int = OPSET,
    compare: bool = True,
    **attributes: Any,
) -> Case:
    """A case of one operator: `inputs` are fed in order, None leaves one out, `stored` are initializers by position."""
    stored = dict(stored or {})
    count = max([len(inputs), *(place + 1 for place in stored)])
    given = [inputs[place] if place < len(inputs) else None for place in range(count)]
    names = [f"i{place}" if place in stored or given[place] is not None else "" for place in range(count)]
    while names and not names[-1]:
        names.pop()
    feeds = {f"i{place}": array for place, array in enumerate(given) if array is not None and place not in stored}
    results = [f"o{place}" for place in range(outputs)]
    node = helper.make_node(operator, names, results, **attributes)
    initializers = {f"i{place}": array for place, array in stored.items()}
    return Case(f"{operator} {name}".strip(), build([node], feeds, initializers, results, opset), feeds, compare)


def build(
    nodes: Sequence[Any], feeds: Mapping[str, Array], stored: Mapping[str, Array], results: Sequence[str], opset: int
) -> ModelProto:
    """A model whose inputs have the feeds' shapes; the outputs' types are left to inference."""
    inputs = [_value(name, array) for name, array in feeds.items()]
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in stored.items()]
    outputs = [helper.make_empty_tensor_value_info(name) for name in results]
    graph = helper.make_graph(nodes, "case", inputs, outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def _value(name: str, array: Array) -> Any:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
