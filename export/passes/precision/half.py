"""Convert the graph to float16, except where half precision would change the result too much.

Given   a float32 model             Result  the same graph in float16, casts where the two meet

Inputs and outputs keep their float32 type.

Not when a node
- computes rectification factors, which are no float16 numbers (49/20), from their division to the multiplication by
  them;
- is one of those that the caller names: layers in int8, and what quantizes for them;
- has a weight beyond float16's range;
- makes or reads a tensor whose values on the example inputs come near the end of that range;
- holds a subgraph, or makes or reads a tensor that a subgraph reads.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from types import ModuleType

import numpy as np
from onnx import ModelProto, TensorProto, numpy_helper, shape_inference

from rectexport.exporter.graph import dialect
from rectexport.exporter.graph.inner import run_inner
from rectexport.exporter.graph.results import Code, PassRecord, PassResult
from rectexport.exporter.graph.surgeon import close_graph, open_graph
from rectexport.exporter.passes.rectification import SCALE_PREFIX, factor_nodes
from rectexport.runtime.base.environment import require
from rectexport.runtime.base.runner import Array
from rectexport.runtime.errors import MissingDependency

NAME = "float16"
#: The oldest ONNX Runtime whose converter leaves the nodes alone that it is told to; tried from 1.23 on.
OLDEST = (1, 25)
LIMIT = float(np.finfo(np.float16).max)


def run(
    model: ModelProto, feeds: Sequence[Mapping[str, Array]] = (), quantized: Collection[str] = ()
) -> tuple[ModelProto, PassResult]:
    """Convert the model; a refusal is a node that stays in float32.

    feeds      example inputs
    quantized  names of nodes that are left alone, because they are in int8 or belong to those

    Raises MissingDependency without ONNX Runtime, or with one older than OLDEST.
    """
    record = PassRecord(NAME)
    large = {name for feed in feeds for name in _large_tensors(model, feed)}
    inner = dialect.read_in_subgraphs(model.graph)
    prepared = _prepare(model, large | inner)
    for name, reason in _kept_nodes(prepared, large, inner):
        if name in quantized:
            continue
        record.refuse(name, reason, Code.PRECISION)
    factors = factor_nodes(prepared)
    kept = [*(entry.node for entry in record.refused), *factors, *quantized]
    converter = _converter()
    converted: ModelProto = converter.convert_float_to_float16(
        prepared, keep_io_types=True, node_block_list=kept, disable_shape_infer=True
    )
    _drop_repeated_casts(converted)
    del converted.graph.value_info[:]  # the converter leaves float32 notes on tensors that are float16 now
    converted = close_graph(open_graph(converted), converted)  # it appends its casts; ONNX wants nodes in order
    dialect.compute_in_float32(converted)
    record.fire(f"{sum(entry.data_type == TensorProto.FLOAT16 for entry in converted.graph.initializer)} weights")
    return converted, record.result()


def _large_tensors(model: ModelProto, feed: Mapping[str, Array]) -> Iterator[str]:
    """Float tensors that reach half of float16's range: another input may well go twice as far."""
    names = [name for node in model.graph.node for name in node.output if name]
    for name, value in run_inner(model, feed, names).items():
        if value.dtype == np.float32 and value.size and not np.abs(value).max() < LIMIT / 2:
            yield name


def _prepare(model: ModelProto, large: Collection[str]) -> ModelProto:
    """A copy in the form that the converter needs: it finds nodes by name, and casts only tensors whose type is noted.

    It rounds noted tensors to float16 even where a float32 node makes them; the factors lose their notes, and so do
    the large tensors, which float32 nodes make and float32 nodes read.
    """
    copy: ModelProto = shape_inference.infer_shapes(model)
    for node in copy.graph.node:
        node.name = node.name or f"{node.op_type}.{node.output[0]}"
    factors = set(factor_nodes(copy))
    made = {name for node in copy.graph.node if node.name in factors for name in node.output} | set(large)
    noted = [value for value in copy.graph.value_info if value.name not in made]
    del copy.graph.value_info[:]
    copy.graph.value_info.extend(noted)
    return copy


def _kept_nodes(model: ModelProto, large: Collection[str], inner: Collection[str]) -> Iterator[tuple[str, str]]:
    weights = {
        entry.name
        for entry in model.graph.initializer
        if entry.data_type == TensorProto.FLOAT and np.abs(numpy_helper.to_array(entry)).max(initial=0) > LIMIT
    }
    for node in model.graph.node:
        if node.name.startswith(SCALE_PREFIX):
            yield node.name, "rectification factors stay exact"
        elif weights.intersection(node.input):
            yield node.name, "a weight is beyond float16's range"
        elif not {*node.input, *node.output}.isdisjoint(large):
            yield node.name, "its values come near the end of float16's range"
        elif not {*node.input, *node.output}.isdisjoint(inner) or any(entry.HasField("g") for entry in node.attribute):
            yield node.name, "a subgraph shares its tensors"


def _drop_repeated_casts(model: ModelProto) -> None:
    """The converter adds one cast for each float32 node that reads a tensor, all of one name."""
    seen = set()
    for node in list(model.graph.node):
        if node.op_type == "Cast" and node.output[0] in seen:
            model.graph.node.remove(node)
        seen.update(node.output)


def _converter() -> ModuleType:
    converter = require("onnxruntime.transformers.float16")
    found = require("onnxruntime").__version__
    if tuple(int(part) for part in found.split(".")[:2]) < OLDEST:
        raise MissingDependency(
            f"float16 takes ONNX Runtime {OLDEST[0]}.{OLDEST[1]} or newer to export, and this is {found}, "
            "whose converter loses what is kept in float32: pip install -U onnxruntime"
        )
    return converter
