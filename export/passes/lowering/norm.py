"""The form of a BatchNorm without ReLU before a convolution, as in proportional modules: folded forward.

A BatchNorm after a convolution does not occur here: the pass batch_norm has folded it into that convolution.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import onnx_graphsurgeon as gs

from rectexport.exporter.graph.surgeon import is_standard, sole_consumer
from rectexport.exporter.passes.batch_norm import affine
from rectexport.exporter.passes.lowering.machinery.convolution import Convolution, detach, emit, read, shape_of
from rectexport.exporter.passes.lowering.machinery.form import Form, Operator, Shape

NAME = "norm_conv"
#: Not measured: any figure below MARGIN would do, because nothing is added and one pass over the input is saved.
COST = 0.9


@dataclass(frozen=True)
class NormSite:
    """A BatchNormalization node and the only node that reads it; None where several do."""

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
        if is_standard(node, "BatchNormalization"):
            reader = sole_consumer(graph, node.outputs[0])
            if reader is not None and is_standard(reader, "Conv") and reader.inputs[0] is node.outputs[0]:
                yield NormSite(node, reader)


def _refusal(graph: gs.Graph, site: NormSite) -> str | None:
    conv, pair = read(site.reader), affine(site.node)
    if isinstance(conv, str):
        return conv
    if pair is None:
        return "its statistics are not constants, or it runs in training mode"
    return "its shift meets zero padding" if any(conv.pads) and bool(pair[1].any()) else None


def _apply(graph: gs.Graph, site: NormSite) -> None:
    """Fold the BatchNorm into the convolution after it.

    Given   z = a·x + t, one pair for each channel ; y = conv(z; W, c)
    Result  y = conv(x; W·a, c + Σ W·t)

    The same convolution with one pass over its input less, so it needs no measured cost.

    Not when t ≠ 0 meets zero padding: the response to the plane t then depends on the border, and adding a map costs
    what the BatchNorm does.
    """
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
