"""Forms of CReLU: act(concat(y, −y)) on the channel axis, act being max(v, 0) + a·min(v, 0); a = 0 is ReLU.

A linear reader with weights [W_p, W_n] computes W_p·act(y) + W_n·act(−y) (readers.py). With p = max(y, 0)

    act(y) = (1 − a)·p + a·y        act(−y) = (1 − a)·p − y

magnitude   readers with W_p = W_n read |y|: half the multiplications
halves      readers get [p, y] with other weights: no Neg, one ReLU
parted      the same, without the Concat
doubled     the convolution before makes both signs: no Neg, no Concat, twice the multiplications
grouped     a grouped 1×1 convolution makes both signs in ONNX Runtime's blocked layout (crelu_grouped.py)

Tensors whose values change get new names.

Sources: Understanding and Improving CNNs via Concatenated Rectified Linear Units (Shang et al.); PVANET (Kim et
al.), whose scale and shift stand between concat(y, −y) and ReLU: only `doubled` fits there.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_graphsurgeon as gs

from rectexport.exporter.graph.dialect import DOMAIN
from rectexport.exporter.graph.surgeon import constant, convolution_before, label, sole_consumer
from rectexport.exporter.passes.lowering import crelu_grouped
from rectexport.exporter.passes.lowering.machinery.convolution import Convolution, Values, detach, emit, read
from rectexport.exporter.passes.lowering.machinery.crelu_site import CReluSite, find, find_unactivated, redirect
from rectexport.exporter.passes.lowering.machinery.form import Form, Operator
from rectexport.exporter.passes.lowering.machinery.readers import Reader, Readers, linear_readers

NAME = "crelu"
#: How much larger the weights of halves and parted may be than those that they compute with where y > 0: over all
#: outputs, and for each. Rounding grows by the same factor.
LARGEST_RATIO, LARGEST_ROW_RATIO = 8.0, 64.0


def _refuse_doubled(graph: gs.Graph, site: CReluSite) -> str | None:
    made_by = convolution_before(site.node.inputs[0])
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
    """Let the convolution before make both signs.

    Given   y = conv(x; W, c) ; z = CRelu(y) or NegConcat(y)
    Result  t = conv(x; [W; −W], [c; −c]) ; z = relu(t) or t
    Given   y = conv(x; W, c) ; q = Rectify(y, x, b) ; z = CRelu(q) or NegConcat(q)
    Result  t = Rectify(conv(x; [W; −W], [c; −c]), x, [b; −b]) ; z = relu(t) or t

    Across the rectification because r·(−Wx) − b is −(r·Wx + b).

    Not when another node reads y or q, or the convolution has groups: its outputs would have to interleave.
    """
    made_by = convolution_before(site.node.inputs[0])
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
    if isinstance(readers, str):
        return readers
    return next((reason for reader in readers.linear if (reason := _cancels(reader, site.slope))), None)


def _cancels(reader: Reader, slope: float) -> str | None:
    """The reason why a reader's new weights lose precision: those of p and y almost cancel where y > 0.

    There u = (W_p − a·W_n)·y, computed as the sum of two terms that may be much larger.
    """
    positive, negative = (half.astype(np.float64) for half in reader.halves())
    with np.errstate(all="ignore"):
        parts = _halved(reader, slope)
        terms = sum(np.square(part.astype(np.float64)) for part in parts)
        wanted = np.square(positive - slope * negative)
    if not np.isfinite(terms).all():
        return f"the weights of {label(reader.node)} are not finite, or their sum is not"
    by_output = tuple(axis for axis in range(positive.ndim) if axis != reader.output_axis)
    for largest, axes in ((LARGEST_RATIO, None), (LARGEST_ROW_RATIO, by_output)):
        have, want = np.sqrt(np.sum(terms, axis=axes)), np.sqrt(np.sum(wanted, axis=axes))
        if np.any(have > largest * want):
            return f"the halves of the weights of {label(reader.node)} differ too much in size: their sum would cancel"
    return None


def _apply_halves(graph: gs.Graph, site: CReluSite) -> None:
    """Give the readers p and y instead of both halves.

    Given   z = act(concat(y, −y)), read by weights [W_p, W_n]
    Result  z = concat(p, y), p = relu(y), read by weights [(1 − a)·(W_p + W_n), a·W_p − W_n]

    Not when a reader is not linear, z is an output of the graph, or W_n is so much larger than W_p that the sum
    cancels. Agrees where y is finite.
    """
    readers = linear_readers(graph, site.result)
    assert isinstance(readers, Readers)
    for reader in readers.linear:
        reader.rewrite(*_halved(reader, site.slope))
    y, old = site.node.inputs[0], site.result
    p = gs.Variable(f"{old.name}.positive", y.dtype, y.shape)
    new = gs.Variable(f"{old.name}.halves", old.dtype, old.shape)
    graph.nodes.append(gs.Node("Relu", p.name, {}, [y], [p]))
    graph.nodes.append(gs.Node("Concat", new.name, {"axis": 1}, [p, y], [new]))
    redirect(graph, site, new, readers)


def _refuse_parted(graph: gs.Graph, site: CReluSite) -> str | None:
    readers = linear_readers(graph, site.result)
    if isinstance(readers, str):
        return readers
    if readers.between or any(reader.node.op != "Conv" for reader in readers.linear):
        return "not all of its readers are convolutions right after it"
    convs = (read(reader.node) for reader in readers.linear)
    return next((conv for conv in convs if isinstance(conv, str)), None) or _refuse_halves(graph, site)


def _apply_parted(graph: gs.Graph, site: CReluSite) -> None:
    """The form `halves` with each convolution that reads z taken apart.

    Given   u = conv(act(concat(y, −y)); [W_p, W_n], c)
    Result  u = conv(p; (1 − a)·(W_p + W_n), c) + conv(y; a·W_p − W_n), p = relu(y)

    Not when a reader is anything but a convolution right after z.
    """
    readers = linear_readers(graph, site.result)
    assert isinstance(readers, Readers)
    y, old = site.node.inputs[0], site.result
    p = gs.Variable(f"{old.name}.positive", y.dtype, y.shape)
    graph.nodes.append(gs.Node("Relu", p.name, {}, [y], [p]))
    for reader in readers.linear:
        conv, out = read(reader.node), reader.node.outputs[0]
        assert isinstance(conv, Convolution)
        parts = zip((p, y), _halved(reader, site.slope), (conv.bias, None), ("positive", "signed"), strict=True)
        detach(graph, reader.node)
        terms = []
        for x, weight, bias, word in parts:
            term = gs.Variable(f"{out.name}.{word}", out.dtype, out.shape)
            emit(graph, f"{term.name}.conv", replace(conv, weight=weight, bias=bias), x, term)
            terms.append(term)
        graph.nodes.append(gs.Node("Add", f"{out.name}.parts", {}, terms, [out]))
    redirect(graph, site, y, readers)


def _halved(reader: Reader, slope: float) -> tuple[Values, Values]:
    """A reader's weights for p and for y."""
    positive, negative = reader.halves()
    dtype = positive.dtype.type
    return dtype(1 - slope) * (positive + negative), dtype(slope) * positive - negative


def _refuse_magnitude(graph: gs.Graph, site: CReluSite) -> str | None:
    readers = linear_readers(graph, site.result)
    if isinstance(readers, str):
        return readers
    if any(entry.op == "Reshape" for entry in readers.between):
        return "a reshape names the number of channels"
    if not all(np.isfinite(half).all() for reader in readers.linear for half in reader.halves()):
        return "its readers' weights are not finite"
    equal = all(np.array_equal(*reader.halves()) for reader in readers.linear)
    return None if equal else "its readers do not sum the halves"


def _apply_magnitude(graph: gs.Graph, site: CReluSite) -> None:
    """Sum both halves before the readers.

    Given   z = act(concat(y, −y)), read by weights [W, W]
    Result  z = |y|, read by weights (1 − a)·W, because act(y) + act(−y) = (1 − a)·|y|

    Not when a reader is not linear or has other weights for the two halves, or a Reshape names the channels.
    """
    readers = linear_readers(graph, site.result)
    assert isinstance(readers, Readers)
    for reader in readers.linear:
        positive, _ = reader.halves()
        reader.rewrite(positive.dtype.type(1 - site.slope) * positive)
    y, old = site.node.inputs[0], site.result
    new = gs.Variable(f"{old.name}.magnitude", y.dtype, y.shape)
    graph.nodes.append(gs.Node("Abs", new.name, {}, [y], [new]))
    redirect(graph, site, new, readers)
    for node in readers.between:
        node.outputs[0].shape = None  # half as many channels now


def _half(site: CReluSite) -> float:
    return 0.5


_DOUBLED = Form("doubled", _refuse_doubled, _apply_doubled)
OPERATOR = Operator(
    NAME,
    find,
    (
        Form("magnitude", _refuse_magnitude, _apply_magnitude, _half),
        Form("halves", _refuse_halves, _apply_halves),
        Form("parted", _refuse_parted, _apply_parted),
        _DOUBLED,
        crelu_grouped.FORM,
    ),
)
#: concat(y, −y) without an activation right after it, as in PVANet, which scales and shifts it first.
NEG_CONCAT = Operator("neg_concat", find_unactivated, (_DOUBLED,))
