"""CReLU: act(concat(y, −y)) on the channel axis, act being max(v, 0) + a·min(v, 0); a = 0 is ReLU.

doubled    y = conv(x; W, b): concat(y, −y) = conv(x; [W; −W], [b; −b]). Across a rectification too: r·(−Wx) − b is
           −(r·Wx + b). Twice the multiplications; no Neg, no Concat. With groups the outputs would have to
           interleave, which no reader expects: refused. So is a y that anything else reads.
halves     with p = max(y, 0):
               act(y) = (1 − a)·p + a·y        act(−y) = (1 − a)·p − y
           so that a linear reader with weights [W_p, W_n] of act's two halves computes the same from [p, y] with
           weights [(1 − a)·(W_p + W_n), a·W_p − W_n]. No Neg, one ReLU. Every reader must be linear (readers.py).
magnitude  where W_p = W_n in every reader: W_p·(act(y) + act(−y)) = (1 − a)·W_p·|y|. Half the multiplications.

The tensors whose values change get new names.

Sources: Understanding and Improving CNNs via Concatenated Rectified Linear Units (Shang et al.); PVANET (Kim et
al.), whose scale and shift stand between concat(y, −y) and ReLU: only `doubled` fits there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import onnx_graphsurgeon as gs

from rectexport.exporter.dialect import DOMAIN
from rectexport.exporter.lowering.convolution import Convolution, detach, emit, read, shape_of
from rectexport.exporter.lowering.form import Form, Operator, Shape
from rectexport.exporter.lowering.readers import Readers, linear_readers
from rectexport.exporter.passes.surgeon import constant, dialect_nodes, sole_consumer

NAME = "crelu"


@dataclass(frozen=True)
class CReluSite:
    """A CRelu or NegConcat node; act, the ReLU or Leaky ReLU that reads a NegConcat; slope is a."""

    node: gs.Node
    act: gs.Node | None
    slope: float

    @property
    def linear(self) -> bool:
        """Nothing is known about what follows concat(y, −y)."""
        return self.node.op == "NegConcat" and self.act is None

    @property
    def result(self) -> gs.Tensor:
        """The tensor of both halves, activated."""
        return (self.act or self.node).outputs[0]

    def shape(self) -> Shape | None:
        """That of a convolution which reads the result, or else of the one which makes y."""
        made_by = _producer(self.node.inputs[0])
        for node in (*self.result.outputs, *([] if made_by is None else made_by[:1])):
            conv = read(node)
            if isinstance(conv, Convolution):
                return shape_of(conv, node.inputs[0])
        return None

    def members(self, graph: gs.Graph) -> list[gs.Node]:
        made_by = _producer(self.node.inputs[0])
        before = [] if made_by is None else [entry for entry in made_by if entry is not None]
        middle = [self.node] if self.act is None else [self.node, self.act]
        readers = linear_readers(graph, self.result)
        if isinstance(readers, str):
            return [*before, *middle, *_elementwise(graph, self.result)]
        return [*before, *middle, *readers.between, *(reader.node for reader in readers.linear)]


def _elementwise(graph: gs.Graph, tensor: gs.Tensor) -> list[gs.Node]:
    """Scale, shift and ReLU right after a tensor: an engine fuses them into a convolution before it."""
    reader = sole_consumer(graph, tensor)
    if reader is None or reader.op not in ("Mul", "Add", "Relu", "LeakyRelu"):
        return []
    return [reader, *_elementwise(graph, reader.outputs[0])]


def find(graph: gs.Graph) -> Iterator[CReluSite]:
    """Every CRelu on the channel axis, also where it is spelled NegConcat, then ReLU or Leaky ReLU."""
    return (site for site in _all_sites(graph) if not site.linear)


def find_unactivated(graph: gs.Graph) -> Iterator[CReluSite]:
    """Every NegConcat on the channel axis that something else follows."""
    return (site for site in _all_sites(graph) if site.linear)


def _all_sites(graph: gs.Graph) -> Iterator[CReluSite]:
    for node in dialect_nodes(graph, "CRelu"):
        if _on_channels(node):
            yield CReluSite(node, None, 0.0)
    for node in dialect_nodes(graph, "NegConcat"):
        if _on_channels(node):
            act = sole_consumer(graph, node.outputs[0])
            slope = _slope(act)
            yield CReluSite(node, None if slope is None else act, slope or 0.0)


def _on_channels(node: gs.Node) -> bool:
    axis, shape = int(node.attrs["axis"]), node.inputs[0].shape
    return axis == 1 or (axis < 0 and shape is not None and axis + len(shape) == 1)


def _slope(act: gs.Node | None) -> float | None:
    if act is None or act.op not in ("Relu", "LeakyRelu"):
        return None
    return 0.0 if act.op == "Relu" else float(act.attrs.get("alpha", 0.01))


def _producer(y: gs.Tensor) -> tuple[gs.Node, gs.Node | None] | None:
    """The Conv that makes y, and the Rectify between them if there is one."""
    made_by = y.inputs[0] if y.inputs else None
    rectify = made_by if made_by is not None and (made_by.op, made_by.domain) == ("Rectify", DOMAIN) else None
    conv = rectify.inputs[0].inputs[0] if rectify is not None and rectify.inputs[0].inputs else made_by
    return None if conv is None or conv.op != "Conv" else (conv, rectify)


def _refuse_doubled(graph: gs.Graph, site: CReluSite) -> str | None:
    made_by = _producer(site.node.inputs[0])
    if made_by is None:
        return "no convolution stands right before it"
    conv, rectify = made_by
    for tensor in {id(t): t for t in (conv.outputs[0], site.node.inputs[0])}.values():
        if sole_consumer(graph, tensor) is None:
            return f"{tensor.name} is also used elsewhere"
    values = read(conv)
    if isinstance(values, str):
        return values
    if rectify is not None and constant(rectify.inputs[2]) is None:
        return "the rectification's bias is not a constant"
    return f"the convolution before it has {values.groups} groups" if values.groups > 1 else None


def _apply_doubled(graph: gs.Graph, site: CReluSite) -> None:
    made_by = _producer(site.node.inputs[0])
    assert made_by is not None
    node, rectify = made_by
    conv = read(node)
    assert isinstance(conv, Convolution)
    x, both = node.inputs[0], site.node.outputs[0]
    if site.node.op == "CRelu":
        both = gs.Variable(f"{both.name}.both", both.dtype, both.shape)
        graph.nodes.append(gs.Node("Relu", f"{both.name}.relu", {}, [both], [site.node.outputs[0]]))
    bias = None if conv.bias is None else np.concatenate([conv.bias, -conv.bias])
    doubled = replace(conv, weight=np.concatenate([conv.weight, -conv.weight]), bias=bias)
    out = both if rectify is None else gs.Variable(f"{both.name}.raw", both.dtype, both.shape)
    if rectify is not None:
        _double_rectify(graph, rectify, out, both)
    detach(graph, site.node, node)
    emit(graph, f"{both.name}.doubled", doubled, x, out)


def _double_rectify(graph: gs.Graph, rectify: gs.Node, y: gs.Tensor, z: gs.Tensor) -> None:
    bias = constant(rectify.inputs[2])
    assert bias is not None
    shift = gs.Constant(f"{z.name}.shift", np.concatenate([bias, -bias]))
    inputs = [y, rectify.inputs[1], shift]
    graph.nodes.append(gs.Node("Rectify", f"{z.name}.rectify", dict(rectify.attrs), inputs, [z], domain=DOMAIN))
    detach(graph, rectify)


def _refuse_halves(graph: gs.Graph, site: CReluSite) -> str | None:
    readers = linear_readers(graph, site.result)
    return readers if isinstance(readers, str) else None


def _apply_halves(graph: gs.Graph, site: CReluSite) -> None:
    readers = linear_readers(graph, site.result)
    assert isinstance(readers, Readers)
    a = site.slope
    for reader in readers.linear:
        positive, negative = reader.halves()
        dtype = positive.dtype.type
        reader.rewrite(dtype(1 - a) * (positive + negative), dtype(a) * positive - negative)
    y, old = site.node.inputs[0], site.result
    p = gs.Variable(f"{old.name}.positive", y.dtype, y.shape)
    new = gs.Variable(f"{old.name}.halves", old.dtype, old.shape)
    graph.nodes.append(gs.Node("Relu", p.name, {}, [y], [p]))
    graph.nodes.append(gs.Node("Concat", new.name, {"axis": 1}, [p, y], [new]))
    _redirect(graph, site, old, new, readers)


def _refuse_magnitude(graph: gs.Graph, site: CReluSite) -> str | None:
    reason = _refuse_halves(graph, site)
    if reason:
        return reason
    readers = linear_readers(graph, site.result)
    assert isinstance(readers, Readers)
    if any(entry.op == "Reshape" for entry in readers.between):
        return "a reshape names the number of channels"
    equal = all(np.array_equal(*reader.halves()) for reader in readers.linear)
    return None if equal else "its readers do not sum the halves"


def _apply_magnitude(graph: gs.Graph, site: CReluSite) -> None:
    readers = linear_readers(graph, site.result)
    assert isinstance(readers, Readers)
    for reader in readers.linear:
        positive, _ = reader.halves()
        reader.rewrite(positive.dtype.type(1 - site.slope) * positive)
    y, old = site.node.inputs[0], site.result
    new = gs.Variable(f"{old.name}.magnitude", y.dtype, y.shape)
    graph.nodes.append(gs.Node("Abs", new.name, {}, [y], [new]))
    _redirect(graph, site, old, new, readers)
    for node in readers.between:
        node.outputs[0].shape = None  # half as many channels now


def _redirect(graph: gs.Graph, site: CReluSite, old: gs.Tensor, new: gs.Tensor, readers: Readers) -> None:
    """Let all readers of `old` read `new`; tensors in between hold other values now, so they change names."""
    for node in list(old.outputs):
        for index, tensor in enumerate(node.inputs):
            if tensor is old:
                node.inputs[index] = new
    for node in readers.between:
        node.outputs[0].name += ".halves"
    detach(graph, site.node, *([] if site.act is None else [site.act]))


def _half(site: CReluSite) -> float:
    return 0.5


_DOUBLED = Form("doubled", _refuse_doubled, _apply_doubled)
OPERATOR = Operator(
    NAME,
    find,
    (
        Form("magnitude", _refuse_magnitude, _apply_magnitude, _half),
        Form("halves", _refuse_halves, _apply_halves),
        _DOUBLED,
    ),
)
#: concat(y, −y) without an activation right after it: PVANet scales and shifts it first.
NEG_CONCAT = Operator("neg_concat", find_unactivated, (_DOUBLED,))
