"""Carry masks of many equal channels as one channel.

Given   s = ReduceSum(m, axis 1), m [N, C, …] made of one-channel masks by Expand, Resize (nearest) and Concat
Result  s = sum of n_i * m_i, n_i the channels that mask m_i was repeated to; m_i [N, 1, …]

        and where such an m multiplies features:
        x * Expand(m, C) = x * m ; Concat(a, b) * Concat(Expand(m), Expand(n)) = Concat(a * m, b * n)

Exact: all channels of m_i are equal, and what picks or joins pixels treats channels alike. A count over C channels
becomes one over a single channel; masks of C channels are no longer written to memory.

Not when m has a channel that is not known to equal the others.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from onnx import ModelProto

from rectexport.exporter.graph.results import PassRecord, PassResult
from rectexport.exporter.graph.surgeon import (
    close_graph,
    dialect_nodes,
    is_output,
    is_standard,
    label,
    open_graph,
    producer,
    sole_consumer,
)
from rectexport.exporter.passes.matching.sizes import size
from rectexport.exporter.passes.matching.values import Values

NAME = "masked_narrow"
#: A mask [N, 1, …] and how many channels it stands for.
Part = tuple[gs.Tensor, int]


def run(model: ModelProto) -> tuple[ModelProto, PassResult]:
    """Narrow the masks that MaskedCount counts."""
    graph, record = open_graph(model), PassRecord(NAME)
    narrower = _Narrower(graph)
    for count in dialect_nodes(graph, "MaskedCount"):
        total = producer(count.inputs[0], "ReduceSum")
        axes = None if total is None or len(total.inputs) < 2 else narrower.values.of(total.inputs[1])
        if total is None or axes is None or axes.tolist() != [1] or not total.attrs.get("keepdims", 1):
            continue
        mask = total.inputs[0]
        parts = narrower.parts(mask)
        if parts is None:
            record.refuse(label(count), f"the channels of {mask.name} are not known to be equal")
            continue
        count.inputs[0] = narrower.sum(count.outputs[0].name, parts)
        for product in [node for node in mask.outputs if is_standard(node, "Mul")]:
            narrower.multiply(product, mask, parts)
        record.fire(label(count))
    return (close_graph(graph, model) if record.fired else model), record.result()


class _Narrower:
    """Reads masks as one-channel masks, and writes what they are used for."""

    def __init__(self, graph: gs.Graph) -> None:
        self._graph = graph
        self.values = Values(graph)
        self._seen: dict[int, list[Part] | None] = {}

    def parts(self, mask: gs.Tensor) -> list[Part] | None:
        """The one-channel masks that a mask consists of, in the order of its channels."""
        if id(mask) not in self._seen:
            self._seen[id(mask)] = self._read(mask)
        return self._seen[id(mask)]

    def _read(self, mask: gs.Tensor) -> list[Part] | None:
        if mask.shape is None or len(mask.shape) < 3 or not isinstance(mask.shape[1], int):
            return None
        if mask.shape[1] == 1:
            return [(mask, 1)]
        node = producer(mask, "Expand", "Concat", "Resize", "Identity")
        if node is None:
            return None
        if node.op == "Expand":
            return self._expanded(node, mask)
        if node.op == "Identity":
            return self.parts(node.inputs[0])
        if node.op == "Concat":
            found = [self.parts(entry) for entry in node.inputs]
            known = node.attrs["axis"] == 1 and all(entry is not None for entry in found)
            return [part for entry in found for part in entry or ()] if known else None
        return self._resized(node, self.parts(node.inputs[0]))

    def _expanded(self, node: gs.Node, mask: gs.Tensor) -> list[Part] | None:
        one, rank = node.inputs[0], len(mask.shape)
        if one.shape is None or len(one.shape) != rank or one.shape[1] != 1:
            return None
        kept = all(size(self.values, one, a) == size(self.values, mask, a) for a in range(rank) if a != 1)
        return [(one, mask.shape[1])] if kept or self._spreads_channels(node, rank) else None

    def _spreads_channels(self, node: gs.Node, rank: int) -> bool:
        """Whether an Expand is to a shape of 1 along every axis but the channels."""
        shape = self.values.of(node.inputs[1])
        return shape is not None and len(shape) == rank and all(shape[a] == 1 for a in range(rank) if a != 1)

    def _resized(self, node: gs.Node, parts: list[Part] | None) -> list[Part] | None:
        scales = self.values.of(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2].name else None
        by_scale = scales is not None and scales.size > 1 and scales[1] == 1
        by_size = len(node.inputs) > 3 and bool(node.inputs[3].name) and not node.attrs.get("axes")
        plain = node.attrs.get("mode", "nearest") in ("nearest", b"nearest")
        if parts is None or not plain or not (by_scale or by_size):
            return None
        done: dict[int, gs.Tensor] = {}
        for index, (mask, _) in enumerate(parts):
            if id(mask) not in done:
                done[id(mask)] = self._resize(node, mask, f"{node.outputs[0].name}.one.{index}", by_size)
        return [(done[id(mask)], count) for mask, count in parts]

    def _resize(self, node: gs.Node, mask: gs.Tensor, name: str, by_size: bool) -> gs.Tensor:
        inputs = list(node.inputs)
        if by_size:
            far = gs.Constant(f"{name}.end", np.array([np.iinfo(np.int64).max]))
            begin = gs.Constant(f"{name}.begin", np.array([2]))
            rest = self.add("Slice", f"{name}.rest", [inputs[3], begin, far], np.int64)
            own = self.add("Shape", f"{name}.own", [mask], np.int64, start=0, end=2)
            inputs[3] = self.add("Concat", f"{name}.sizes", [own, rest], np.int64, axis=0)
        shape = node.outputs[0].shape
        return self.add("Resize", name, inputs, mask.dtype, [shape[0], 1, *shape[2:]], mask=mask, **node.attrs)

    def add(
        self,
        operator: str,
        name: str,
        inputs: list[gs.Tensor],
        dtype: Any,
        shape: Any = None,
        mask: gs.Tensor | None = None,
        **attributes: Any,
    ) -> gs.Tensor:
        """A new node's output; mask takes the place of its first input."""
        out = gs.Variable(name, dtype, shape)
        given = inputs if mask is None else [mask, *inputs[1:]]
        self._graph.nodes.append(gs.Node(operator, name, attributes, given, [out]))
        return out

    def sum(self, name: str, parts: list[Part]) -> gs.Tensor:
        """The sum of a mask's channels."""
        counts: dict[int, int] = {}
        for mask, count in parts:
            counts[id(mask)] = counts.get(id(mask), 0) + count
        total: gs.Tensor | None = None
        for index, mask in enumerate({id(mask): mask for mask, _ in parts}.values()):
            times = counts[id(mask)]
            if times > 1:
                factor = gs.Constant(f"{name}.times.{index}", np.array(times, np.dtype(mask.dtype or np.float32)))
                mask = self.add("Mul", f"{name}.part.{index}", [mask, factor], mask.dtype, mask.shape)
            total = (
                mask if total is None else self.add("Add", f"{name}.sum.{index}", [total, mask], mask.dtype, mask.shape)
            )
        assert total is not None
        return total

    def multiply(self, product: gs.Node, mask: gs.Tensor, parts: list[Part]) -> None:
        """Let a product of features and the mask read the one-channel masks."""
        x = product.inputs[1] if product.inputs[0] is mask else product.inputs[0]
        if x.shape is None or len(x.shape) != len(mask.shape) or x.shape[1] != mask.shape[1]:
            return
        if len({id(part) for part, _ in parts}) == 1:
            product.inputs = [x, parts[0][0]]
            return
        joined = producer(x, "Concat")
        split = joined is not None and joined.attrs["axis"] == 1 and sole_consumer(self._graph, x) is product
        if joined is None or not split or is_output(self._graph, x):
            return
        channels = [None if entry.shape is None else entry.shape[1] for entry in joined.inputs]
        if channels != [count for _, count in parts]:
            return
        z = product.outputs[0]
        product.outputs.clear()
        known = [
            self.add("Mul", f"{z.name}.known.{index}", [entry, part], entry.dtype, entry.shape)
            for index, (entry, (part, _)) in enumerate(zip(joined.inputs, parts, strict=True))
        ]
        self._graph.nodes.append(gs.Node("Concat", f"{z.name}.known", {"axis": 1}, known, [z]))
