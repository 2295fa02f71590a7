"""A BatchNorm without ReLU before a convolution, as proportional modules have it: folded forward.

Given   z = a·x + t, one pair a channel ; y = conv(z; W, b)
Result  y = conv(x; W·a, b + M), M the response of the convolution to the constant plane t

Without padding, or with t = 0, M is Σ W·t, a bias: the same convolution with one pass over its input less, so it
needs no measured cost. With zero padding M depends on the border: adding a map would cost what the BatchNorm does,
so it is refused. A BatchNorm after a convolution is not met here: the pass batch_norm has folded it backwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import onnx_graphsurgeon as gs

from rectexport.exporter.graph.surgeon import sole_consumer
from rectexport.exporter.passes.batch_norm import affine
from rectexport.exporter.passes.lowering.machinery.convolution import Convolution, detach, emit, read, shape_of
from rectexport.exporter.passes.lowering.machinery.form import Form, Operator, Shape

NAME = "norm_conv"
#: Any figure below 1 would do: nothing is added, and one pass is gone.
COST = 0.9


@dataclass(frozen=True)
class NormSite:
    """A BatchNormalization node, and the only node that reads it, if there is one."""

    node: gs.Node
    reader: gs.Node | None

    def shape(self) -> Shape | None:
        conv = read(self.reader)
        return None if isinstance(conv, str) else shape_of(conv, self.node.inputs[0])

    def members(self, graph: gs.Graph) -> list[gs.Node]:
        return [self.node] if self.reader is None else [self.node, self.reader]


def find(graph: gs.Graph) -> Iterator[NormSite]:
    """Every BatchNorm whose only reader is a convolution."""
    for node in list(graph.nodes):
        if node.op == "BatchNormalization":
            reader = sole_consumer(graph, node.outputs[0])
            if reader is not None and reader.op == "Conv" and reader.inputs[0] is node.outputs[0]:
                yield NormSite(node, reader)


def _refusal(graph: gs.Graph, site: NormSite) -> str | None:
    conv, pair = read(site.reader), affine(site.node)
    if isinstance(conv, str):
        return conv
    if pair is None:
        return "its statistics are not constants, or it runs in training mode"
    return "its shift meets zero padding" if any(conv.pads) and bool(pair[1].any()) else None


def _apply(graph: gs.Graph, site: NormSite) -> None:
    conv, pair = read(site.reader), affine(site.node)
    assert isinstance(conv, Convolution) and site.reader is not None and pair is not None
    x, y = site.node.inputs[0], site.reader.outputs[0]
    weight = conv.weight.astype(np.float64)
    # [O, C / groups]: the pair that meets each weight, for the group that its output belongs to.
    scale, shift = (
        np.repeat(values.reshape(conv.groups, -1), conv.outputs // conv.groups, axis=0)[:, :, None, None]
        for values in pair
    )
    own = 0.0 if conv.bias is None else conv.bias.astype(np.float64)
    bias = (weight * shift).sum(axis=(1, 2, 3)) + own
    detach(graph, site.node, site.reader)
    dtype = conv.weight.dtype
    emit(graph, f"{y.name}.normed", replace(conv, weight=(weight * scale).astype(dtype), bias=bias.astype(dtype)), x, y)


OPERATOR = Operator(NAME, find, (Form("folded", _refusal, _apply, lambda site: COST),))
