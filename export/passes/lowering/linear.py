"""The form of two linear convolutions in a row, with nothing but rectifications between and after them: one.

A is the first, B the second. This is what proportional modules leave once BatchNorm is folded: convolutions without
a ReLU in between.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import onnx_graphsurgeon as gs

from rectexport.exporter.graph.dialect import DOMAIN
from rectexport.exporter.graph.surgeon import (
    constant,
    convolution_before,
    is_output,
    is_rectify,
    is_standard,
    sole_consumer,
    static_size,
)
from rectexport.exporter.passes.lowering.machinery.convolution import Convolution, Values, detach, emit, read, shape_of
from rectexport.exporter.passes.lowering.machinery.form import Form, Operator, Shape

NAME = "linear_convs"


@dataclass(frozen=True)
class LinearSite:
    """Conv `first`, then `second`; `middle` and `after` are the Rectify nodes of the first and the second."""

    first: gs.Node
    middle: gs.Node | None
    second: gs.Node
    after: gs.Node | None

    @property
    def node(self) -> gs.Node:
        return self.second

    def shape(self) -> Shape | None:
        conv = read(self.second)
        return None if isinstance(conv, str) else shape_of(conv, self.second.inputs[0])

    def members(self, graph: gs.Graph) -> list[gs.Node]:
        return [entry for entry in (self.first, self.middle, self.second, self.after) if entry is not None]


def find(graph: gs.Graph) -> Iterator[LinearSite]:
    """Every convolution whose result, rectified or not, another convolution alone reads."""
    for second in list(graph.nodes):
        before = convolution_before(second.inputs[0]) if is_standard(second, "Conv") else None
        if before is not None and _alone(graph, second, before[1], before[0]):
            yield LinearSite(before[0], before[1], second, _rectify_of(graph, second))


def _alone(graph: gs.Graph, second: gs.Node, middle: gs.Node | None, first: gs.Node) -> bool:
    """Whether no other node needs the values in between; a Rectify after `second` reads their size alone."""
    x = second.inputs[0]
    if is_output(graph, x) or (middle is not None and _leaks(graph, first, middle)):
        return False
    after = _rectify_of(graph, second)
    return all(entry is second or (entry is after and after.inputs[0] is not x) for entry in x.outputs)


def _rectify_of(graph: gs.Graph, conv: gs.Node) -> gs.Node | None:
    after = sole_consumer(graph, conv.outputs[0])
    return after if is_rectify(after) else None


def _leaks(graph: gs.Graph, first: gs.Node, middle: gs.Node) -> bool:
    return sole_consumer(graph, first.outputs[0]) is not middle


def merge(a: Convolution, b: Convolution) -> Convolution | None:
    """One convolution for a, then b, without the biases; None where neither is pointwise."""
    if a.groups != 1 or b.groups != 1 or not (a.pointwise or b.pointwise):
        return None
    window = a if b.pointwise else b
    left, right = (b.weight.astype(np.float64), a.weight.astype(np.float64))
    equation = "oc,cimn->oimn" if b.pointwise else "ocmn,ci->oimn"
    operands = (left[:, :, 0, 0], right) if b.pointwise else (left, right[:, :, 0, 0])
    weight = np.einsum(equation, *operands).astype(a.weight.dtype)
    return replace(window, weight=weight, bias=None)


def _savings(site: LinearSite) -> float:
    """Multiplications of the merged convolution, relative to those of the two."""
    a, b = read(site.first), read(site.second)
    assert isinstance(a, Convolution) and isinstance(b, Convolution)
    window = a if b.pointwise else b
    merged = a.channels * b.outputs * window.kernel[0] * window.kernel[1]
    # Per output pixel of the pair; a pointwise A works on the larger grid before B's stride.
    grid = b.strides[0] * b.strides[1] if a.pointwise else 1
    return float(merged / (a.weight.size * grid + b.weight.size))


def _refusal(graph: gs.Graph, site: LinearSite) -> str | None:
    a, b = read(site.first), read(site.second)
    if isinstance(a, str) or isinstance(b, str):
        return a if isinstance(a, str) else str(b)
    if merge(a, b) is None:
        return "neither is a 1×1 convolution without groups, stride and padding"
    if site.middle is not None:
        if not b.pointwise:
            return "the first is rectified, and the second is not 1×1"
        if constant(site.middle.inputs[2]) is None or not site.middle.attrs["empty_bias"]:
            return "the rectification's bias is no constant, or left out at empty pixels"
    elif _bordered(a, b) and _sizes(site) is None:
        return "the first one's bias meets zero padding, and H, W are dynamic"
    return None


def _bordered(a: Convolution, b: Convolution) -> bool:
    """Whether the first one's bias meets the second's padding."""
    return not b.pointwise and any(b.pads) and a.bias is not None and bool(np.any(a.bias))


def _sizes(site: LinearSite) -> tuple[tuple[int, int], tuple[int, int]] | None:
    size, out = static_size(site.second.inputs[0]), static_size(site.second.outputs[0])
    return None if size is None or out is None else (size, out)


def _apply(graph: gs.Graph, site: LinearSite) -> None:
    """Merge both into one convolution; one of them is pointwise (1×1, stride 1, no padding).

    B pointwise, exact in any case because B sees no padding:
    Given   y = B(A(x))                       Result  y = conv(x; B·W_A, B·b_A + b_B) with A's window
    Given   y = B(r·(W_A x) + b)              Result  y = r·(B·W_A x) + (B·b + b_B)
    A pointwise:
    Given   y = B(A(x))                       Result  y = conv(x; W_B·W_A, b_B) + M with B's window

    M is the response of B to the constant plane b_A. B's zero padding cuts that plane off, so M depends on the border:
    it is a bias only where B does not pad or b_A = 0, and else a constant [1, C, H, W] that is added. If B is
    rectified, M is added before r applies.

    Not when
    - neither is pointwise, or one has groups: k×k next to k'×k' is inexact with padding between them, and a kernel
      of (k + k' − 1)² costs more;
    - A is rectified and B is not pointwise, or A's bias after r is no constant or left out where v = 0;
    - M depends on the border and H or W is dynamic;
    - it saves no multiplications: O·C·m·n against those of both.
    """
    a, b = read(site.first), read(site.second)
    assert isinstance(a, Convolution) and isinstance(b, Convolution)
    merged = merge(a, b)
    assert merged is not None
    x, y = site.first.inputs[0], site.second.outputs[0]
    if site.after is not None and site.after.inputs[1] is site.second.inputs[0]:
        site.after.inputs[1] = y if b.pointwise else x  # of the same H, W as the tensor that goes
    if site.middle is not None:
        _merge_rectified(graph, site, b, merged)
        return
    border = _border_map(site, a, b) if _bordered(a, b) else None
    own = np.zeros(b.outputs) if b.bias is None else b.bias.astype(np.float64)
    if border is None and a.bias is not None:
        own = own + b.weight.sum(axis=(2, 3), dtype=np.float64) @ a.bias.astype(np.float64)
    bias = own.astype(a.weight.dtype) if own.any() else None
    detach(graph, site.first, site.second)
    target = y if border is None else gs.Variable(f"{y.name}.unshifted", y.dtype, y.shape)
    emit(graph, f"{y.name}.merged", replace(merged, bias=bias), x, target)
    if border is not None:
        shift = gs.Constant(f"{y.name}.border", border)
        graph.nodes.append(gs.Node("Add", f"{y.name}.border_add", {}, [target, shift], [y]))


def _merge_rectified(graph: gs.Graph, site: LinearSite, b: Convolution, merged: Convolution) -> None:
    assert site.middle is not None
    first, middle = read(site.first), site.middle
    shift = constant(middle.inputs[2])
    assert isinstance(first, Convolution) and shift is not None
    pointwise = b.weight[:, :, 0, 0].astype(np.float64)
    own = 0 if b.bias is None else b.bias.astype(np.float64)
    inside = None if first.bias is None else (pointwise @ first.bias.astype(np.float64)).astype(shift.dtype)
    x, sizes, y = site.first.inputs[0], middle.inputs[1], site.second.outputs[0]
    raw = gs.Variable(f"{y.name}.raw", y.dtype, y.shape)
    outer = gs.Constant(f"{y.name}.shift", (pointwise @ shift.astype(np.float64) + own).astype(shift.dtype))
    attributes = dict(middle.attrs)
    detach(graph, site.first, middle, site.second)
    emit(graph, f"{y.name}.merged", replace(merged, bias=inside), x, raw)
    graph.nodes.append(gs.Node("Rectify", f"{y.name}.rectify", attributes, [raw, sizes, outer], [y], domain=DOMAIN))


def _border_map(site: LinearSite, a: Convolution, b: Convolution) -> Values:
    """Response of b to the constant plane of a's bias. [1, O, H_out, W_out]."""
    sizes = _sizes(site)
    assert sizes is not None and a.bias is not None
    (height, width), (rows, columns) = sizes
    per_tap = np.einsum("ocmn,c->omn", b.weight.astype(np.float64), a.bias.astype(np.float64))
    inside_rows = _inside(height, rows, b.kernel[0], b.strides[0], b.pads[0], b.dilations[0])
    inside_columns = _inside(width, columns, b.kernel[1], b.strides[1], b.pads[1], b.dilations[1])
    plane = np.einsum("omn,hm,wn->ohw", per_tap, inside_rows, inside_columns)
    return np.asarray(plane[None].astype(b.weight.dtype))


def _inside(size: int, out: int, kernel: int, stride: int, pad: int, dilation: int) -> Values:
    """1 where tap i of output o reads inside the input. [out, kernel]."""
    reads = np.arange(out)[:, None] * stride - pad + np.arange(kernel)[None, :] * dilation
    return ((reads >= 0) & (reads < size)).astype(np.float64)


OPERATOR = Operator(NAME, find, (Form("merged", _refusal, _apply, _savings),))
