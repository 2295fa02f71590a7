"""Forms of even kernels with symmetric padding (C2sp, C4sp): SymmetricPad, then Conv.

Channel c of x is padded by t_c rows above and l_c columns to the left, so that with weights w, stride s,
dilation d and the convolution's own pads p

    y[o, h, ·] = sum over c, i of w[o, c, i, ·] · x[c, h·s + i·d − p − t_c, ·]            (columns alike)

The total padding, above plus below, is the same for all channels. T is the largest t_c, and e = T − min t_c.

shift       the padding as a depthwise convolution
embedded    one convolution with a larger kernel
four_convs  one convolution for each channel group

All three multiply by zeros what the graph as written never reads: they agree where x is finite.

Source: Convolution with even-sized kernels and symmetric padding (Wu et al.).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from rectexport.exporter.graph.surgeon import dialect_nodes, sole_consumer
from rectexport.exporter.passes.lowering.machinery.convolution import (
    Convolution,
    Pads,
    add_pads,
    detach,
    emit,
    read,
    shape_of,
)
from rectexport.exporter.passes.lowering.machinery.form import Form, Operator, Shape

NAME = "symmetric_conv"


@dataclass(frozen=True)
class SymmetricSite:
    """A SymmetricPad node and the only node that reads it; None where several do."""

    node: gs.Node
    reader: gs.Node | None

    def shape(self) -> Shape | None:
        conv = read(self.reader)
        return None if isinstance(conv, str) else shape_of(conv, self.node.inputs[0])

    def members(self, graph: gs.Graph) -> list[gs.Node]:
        return [self.node] if self.reader is None else [self.node, self.reader]


@dataclass(frozen=True)
class Placement:
    """Offsets of the channels. starts [C, 2]: T − t_c and T − l_c; reach (T, L); span e; total padding; all by axis."""

    starts: NDArray[np.int64]
    reach: NDArray[np.int64]
    span: NDArray[np.int64]
    total: NDArray[np.int64]

    @property
    def pads(self) -> Pads:
        """Pads of one convolution that covers all channels, grown by span on both sides."""
        after = self.total + self.span - self.reach
        return int(self.reach[0]), int(self.reach[1]), int(after[0]), int(after[1])


def find(graph: gs.Graph) -> Iterator[SymmetricSite]:
    """Every SymmetricPad node."""
    for node in dialect_nodes(graph, "SymmetricPad"):
        yield SymmetricSite(node, sole_consumer(graph, node.outputs[0]))


def placement(node: gs.Node) -> Placement:
    """The offset of each channel that a SymmetricPad node pads."""
    pads = np.asarray(node.attrs["pads"], np.int64).reshape(4, 4)
    channels = np.repeat(pads, node.attrs["splits"], axis=0)
    reach, least = channels[:, :2].max(axis=0), channels[:, :2].min(axis=0)
    return Placement(reach - channels[:, :2], reach, reach - least, (channels[:, :2] + channels[:, 2:])[0])


def embed(conv: Convolution, place: Placement) -> Convolution:
    """The convolution of the form `embedded`."""
    extent = (np.array(conv.kernel) - 1) * conv.dilations + 1
    per_group, share = conv.weight.shape[1], conv.outputs // conv.groups
    weight = np.zeros((*conv.weight.shape[:2], *(extent + place.span)), conv.weight.dtype)
    for channel, (row, column) in enumerate(place.starts):
        group, slot = divmod(channel, per_group)
        out = slice(group * share, (group + 1) * share)
        rows = slice(row, row + extent[0], conv.dilations[0])
        columns = slice(column, column + extent[1], conv.dilations[1])
        weight[out, slot, rows, columns] = conv.weight[out, slot]
    return replace(conv, weight=weight, pads=add_pads(conv.pads, place.pads), dilations=(1, 1))


def _no_conv(graph: gs.Graph, site: SymmetricSite) -> str | None:
    conv = read(site.reader)
    return conv if isinstance(conv, str) else None


def _apply_embedded(graph: gs.Graph, site: SymmetricSite) -> None:
    """Put each channel's kernel into a larger one, at its own place.

    Given   y = conv(SymmetricPad(x); w)
    Result  y = conv(x; w'), kernel (m − 1)·d + 1 + e, padding T, the slice w[o, c] at offset T − t_c

    For C2sp a 3×3 kernel with padding 1: 9/4 of the multiplications, no copies.

    Not when several nodes read the padded tensor, or the one that does is no convolution with constant weights.
    """
    conv = read(site.reader)
    assert site.reader is not None and isinstance(conv, Convolution)
    x, y = site.node.inputs[0], site.reader.outputs[0]
    place = placement(site.node)
    detach(graph, site.node, site.reader)
    emit(graph, f"{y.name}.embedded", embed(conv, place), x, y)


def _refuse_four(graph: gs.Graph, site: SymmetricSite) -> str | None:
    conv = read(site.reader)
    if isinstance(conv, str):
        return conv
    return f"the convolution has {conv.groups} groups" if conv.groups > 1 else None


def _apply_four(graph: gs.Graph, site: SymmetricSite) -> None:
    """Convolve each channel group with pads of its own.

    Given   y = conv(SymmetricPad(x); [W0 W1 W2 W3])
    Result  y = conv(g0; W0) + conv(g1; W1) + conv(g2; W2) + conv(g3; W3), g the channel groups of x, each with its pads

    No more multiplications than as written.

    Not when the convolution has groups: a channel group is no group of inputs then.
    """
    conv = read(site.reader)
    assert site.reader is not None and isinstance(conv, Convolution)
    x, y = site.node.inputs[0], site.reader.outputs[0]
    groups = [
        (int(size), site.node.attrs["pads"][4 * i : 4 * i + 4])
        for i, size in enumerate(site.node.attrs["splits"])
        if size
    ]
    detach(graph, site.node, site.reader)
    parts = _split(graph, x, [size for size, _ in groups], y.name)
    results: list[gs.Tensor] = []
    start = 0
    for (size, pads), part in zip(groups, parts, strict=True):
        own = replace(
            conv,
            weight=conv.weight[:, start : start + size],
            bias=None if results else conv.bias,
            pads=add_pads(pads, conv.pads),
        )
        start += size
        result = y if len(groups) == 1 else gs.Variable(f"{y.name}.group{len(results)}", y.dtype, y.shape)
        emit(graph, f"{result.name}.conv", own, part, result)
        results.append(result)
    _add_up(graph, results, y)


def _split(graph: gs.Graph, x: gs.Tensor, sizes: list[int], name: str) -> list[gs.Tensor]:
    if len(sizes) == 1:
        return [x]
    lengths = gs.Constant(f"{name}.sizes", np.asarray(sizes, np.int64))
    known = x.shape is not None and len(x.shape) == 4
    parts = [
        gs.Variable(f"{name}.part{i}", x.dtype, [x.shape[0], size, *x.shape[2:]] if known else None)
        for i, size in enumerate(sizes)
    ]
    graph.nodes.append(gs.Node("Split", f"{name}.split", {"axis": 1}, [x, lengths], parts))
    return parts


def _add_up(graph: gs.Graph, terms: list[gs.Tensor], y: gs.Tensor) -> None:
    total = terms[0]
    for index, term in enumerate(terms[1:], 1):
        last = index == len(terms) - 1
        result = y if last else gs.Variable(f"{y.name}.sum{index}", y.dtype, y.shape)
        graph.nodes.append(gs.Node("Add", f"{result.name}.add{index}", {}, [total, term], [result]))
        total = result


def _always(graph: gs.Graph, site: SymmetricSite) -> str | None:
    return None


def _apply_shift(graph: gs.Graph, site: SymmetricSite) -> None:
    """Pad with a depthwise convolution.

    Given   z = SymmetricPad(x)
    Result  z = conv(x; S), depthwise, kernel (e + 1)×(e + 1), padding T, with a single 1 at tap T − t_c of channel c

    because z[h] = x[h + (T − t_c) − T] = x[h − t_c]. C2sp and C4sp both have e = 1; their padding is k/2.

    Not when x is not finite; it is exact for any reader, also for several.
    """
    x, y = site.node.inputs[0], site.node.outputs[0]
    place = placement(site.node)
    channels = len(place.starts)
    weight = np.zeros((channels, 1, *(place.span + 1)), x.dtype or np.float32)
    weight[np.arange(channels), 0, place.starts[:, 0], place.starts[:, 1]] = 1
    detach(graph, site.node)
    emit(graph, f"{y.name}.shift", Convolution(weight, None, pads=place.pads, groups=channels), x, y)


OPERATOR = Operator(
    NAME,
    find,
    (
        Form("shift", _always, _apply_shift),
        Form("embedded", _no_conv, _apply_embedded),
        Form("four_convs", _refuse_four, _apply_four),
    ),
)
