"""Convert the graph to bfloat16, except where float32 must stay.

Given   a float32 model, opset 22 or later      Result  the same graph in bfloat16, casts where the two meet

A node goes to bfloat16 when ONNX allows that type for all its float tensors; for convolutions and pools it does since
opset 22. Inputs and outputs keep their float32 type. bfloat16 has the range of float32 and 8 bits of precision: the
result is rounded, within the bound of the parity check.

Not when a node
- computes rectification factors, from their division to the multiplication by them;
- has a weight beyond bfloat16's range;
- holds a subgraph, or makes a tensor that a subgraph reads.

Few CPUs run it, so `emulate` makes the float32 model that computes what a bfloat16 engine computes when it sums in
float32, as tensor cores do: every weight and every tensor is rounded to bfloat16, to nearest and even.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import ml_dtypes
import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, defs, helper, numpy_helper, shape_inference

from rectexport.exporter.base.options import BFLOAT16_OPSET
from rectexport.exporter.graph import dialect
from rectexport.exporter.graph.results import Code, PassRecord, PassResult
from rectexport.exporter.graph.surgeon import close_graph, open_graph
from rectexport.exporter.passes.rectification import SCALE_PREFIX, factor_nodes
from rectexport.runtime.errors import BadInput, Option

NAME = "bfloat16"
LEAST_OPSET = BFLOAT16_OPSET
FLOAT: int = TensorProto.FLOAT
BFLOAT16: int = TensorProto.BFLOAT16
#: The type of their outputs is an attribute, whatever the inputs are.
_TYPED_BY_ATTRIBUTE = ("Cast", "Constant", "ConstantOfShape", "EyeLike", "RandomNormalLike", "RandomUniformLike")


def run(model: ModelProto) -> tuple[ModelProto, PassResult]:
    """Convert the model; a refusal is a node that stays in float32. Raises BadInput for an older opset."""
    opset = dialect.default_opset(model)
    if opset < LEAST_OPSET:
        raise BadInput(
            Option("bf16"),
            f": convolutions have bfloat16 since opset {LEAST_OPSET}, and this model has {opset}; add ",
            Option("opset", LEAST_OPSET),
        )
    named = ModelProto()
    named.CopyFrom(model)
    for node in named.graph.node:
        node.name = node.name or f"{node.op_type}.{node.output[0]}"
    record = PassRecord(NAME)
    for name, reason in _kept_nodes(named):
        record.refuse(name, reason, Code.PRECISION)
    kept = {entry.node for entry in record.refused} | set(factor_nodes(named))
    converted = _Conversion(named, kept, opset).model()
    dialect.compute_in_float32(converted)
    weights = sum(entry.data_type == BFLOAT16 for entry in converted.graph.initializer)
    record.fire(f"{weights} weights")
    return converted, record.result()


def _kept_nodes(model: ModelProto) -> Iterable[tuple[str, str]]:
    limit = float(ml_dtypes.finfo(ml_dtypes.bfloat16).max)
    large = {
        entry.name
        for entry in model.graph.initializer
        if entry.data_type == FLOAT and np.abs(numpy_helper.to_array(entry)).max(initial=0) > limit
    }
    for node in model.graph.node:
        if node.name.startswith(SCALE_PREFIX):
            yield node.name, "rectification factors stay exact"
        elif large.intersection(node.input):
            yield node.name, "a weight is beyond bfloat16's range"


class _Conversion:
    """Walks the graph once. Each tensor has one type, and a copy in the other type where a node needs it."""

    def __init__(self, model: ModelProto, kept: set[str], opset: int) -> None:
        self._model, self._kept, self._opset = model, kept, opset
        self._types = _types(model)
        self._weights = {entry.name: entry for entry in model.graph.initializer}
        self._outputs = {value.name for value in model.graph.output} | dialect.read_in_subgraphs(model.graph)
        self._new: list[NodeProto] = []
        self._twins: dict[tuple[str, int], str] = {}

    def model(self) -> ModelProto:
        """The converted model."""
        graph = self._model.graph
        for node in graph.node:
            self._convert(node)
        result = ModelProto()
        result.CopyFrom(self._model)
        del result.graph.node[:], result.graph.value_info[:], result.graph.initializer[:]
        result.graph.node.extend(self._new)
        result.graph.initializer.extend(self._weights.values())
        return close_graph(open_graph(result), result)  # drops the float32 weights that no node reads any more

    def _convert(self, node: NodeProto) -> None:
        wanted = self._wanted(node) if node.name not in self._kept else {}
        copy = NodeProto()
        copy.CopyFrom(node)
        for index, name in enumerate(node.input):
            if self._types.get(name) in (FLOAT, BFLOAT16):
                copy.input[index] = self._as(name, BFLOAT16 if index in wanted else FLOAT)
        self._new.append(copy)
        if not wanted:
            return
        for index, name in enumerate(node.output):
            if self._types.get(name) != FLOAT:
                continue
            if name in self._outputs:  # its name keeps its type
                copy.output[index] = self._twins[name, BFLOAT16] = f"{name}.bfloat16"
                self._new.append(_cast(copy.output[index], name, FLOAT))
            else:
                self._types[name] = BFLOAT16

    def _wanted(self, node: NodeProto) -> set[int]:
        """Indices of the inputs that become bfloat16; none when the node stays as it is."""
        if node.op_type in _TYPED_BY_ATTRIBUTE or any(entry.HasField("g") for entry in node.attribute):
            return set()
        floats = {index for index, name in enumerate(node.input) if self._types.get(name) in (FLOAT, BFLOAT16)}
        if node.domain == dialect.DOMAIN:
            return floats
        if node.domain not in dialect.STANDARD_DOMAINS:
            return set()
        schema = defs.get_schema(node.op_type, self._opset)
        results = (index for index, name in enumerate(node.output) if self._types.get(name) == FLOAT)
        if not all(_takes(schema.outputs, index) for index in results):
            return set()
        return {index for index in floats if _takes(schema.inputs, index)}

    def _as(self, name: str, wanted: int) -> str:
        """The tensor in that type, by a cast, or as a weight of its own."""
        if self._types[name] == wanted:
            return name
        if (name, wanted) not in self._twins:
            twin = self._twins[name, wanted] = f"{name}.{'bfloat16' if wanted == BFLOAT16 else 'float32'}"
            if name in self._weights:
                self._weights[twin] = _rounded(self._weights[name], twin)
            else:
                self._new.append(_cast(name, twin, wanted))
        return self._twins[name, wanted]


def _takes(parameters: Sequence[defs.OpSchema.FormalParameter], index: int) -> bool:
    """Whether ONNX lets this input or output be bfloat16; the last parameter stands for all that follow it."""
    return "tensor(bfloat16)" in parameters[min(index, len(parameters) - 1)].types


def _types(model: ModelProto) -> dict[str, int]:
    """Element type of every tensor that is known."""
    graph: GraphProto = shape_inference.infer_shapes(model).graph
    values = (*graph.input, *graph.value_info, *graph.output)
    found = {value.name: value.type.tensor_type.elem_type for value in values}
    return {**found, **{entry.name: entry.data_type for entry in graph.initializer}}


def _rounded(weight: TensorProto, name: str) -> TensorProto:
    return numpy_helper.from_array(numpy_helper.to_array(weight).astype(ml_dtypes.bfloat16), name)


def _cast(source: str, target: str, to: int) -> NodeProto:
    return helper.make_node("Cast", [source], [target], f"cast.{target}", to=to)


def emulate(model: ModelProto) -> ModelProto:
    """The float32 model whose every tensor has the value that it has in bfloat16, rounded where `model` rounds."""
    types = _types(model)
    emulated = ModelProto()
    emulated.CopyFrom(model)
    graph = emulated.graph
    del graph.node[:], graph.value_info[:]
    for entry in graph.initializer:
        if entry.data_type == BFLOAT16:
            entry.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(entry).astype(np.float32), entry.name))
    for node in model.graph.node:
        copy = graph.node.add()
        copy.CopyFrom(node)
        is_cast = node.op_type == "Cast"
        if is_cast and types.get(node.input[0]) == BFLOAT16:
            copy.CopyFrom(helper.make_node("Identity", node.input, node.output, node.name))
            continue
        for index, name in enumerate(node.output):
            if types.get(name) == BFLOAT16:
                source = node.input[0] if is_cast else f"{name}.exact"
                if is_cast:
                    del graph.node[-1]
                else:
                    copy.output[index] = source
                graph.node.extend([_cast(source, f"{name}.rounded", BFLOAT16), _cast(f"{name}.rounded", name, FLOAT)])
    return emulated
