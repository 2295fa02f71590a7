"""What stands beyond the border of each layer of a graph: convolutions, pools and padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import onnx_graphsurgeon as gs
from onnx import ModelProto

from rectexport.exporter.graph.dialect import BORDERS, DOMAIN, RECTIFIES
from rectexport.exporter.graph.surgeon import is_rectify, is_standard, label, made_by, open_graph
from rectexport.exporter.passes.borders import Border
from rectexport.exporter.passes.matching.positions import read_pad
from rectexport.exporter.passes.matching.rewrite import Scene
from rectexport.exporter.passes.matching.values import Values
from rectexport.exporter.passes.raising import raise_model

_WINDOWED = ("Conv", "MaxPool", "AveragePool", "LpPool")
#: What passes may join with a layer, and how many such operators are followed.
_JOINED, _MOST_TENSORS = (*RECTIFIES.values(), "BatchNormalization", "Relu"), 4
RECTIFIED, NOTHING, LEFT_OUT = "rectified", "nothing", "left out of the window"


@dataclass(frozen=True)
class LayerBorder:
    """One layer: what stands beyond the border of each axis, and how many elements before and behind.

    tensors  its output, and what rectification, normalization and activation make of it: passes may join them
    """

    node: str
    operator: str
    tensors: tuple[str, ...]
    borders: tuple[str, ...]
    begins: tuple[int, ...]
    ends: tuple[int, ...]

    @property
    def kind(self) -> str:
        """The borders of the axes that have one, in order: "reflect", or "poles × circular"."""
        named = [
            border
            for border, begin, end in zip(self.borders, self.begins, self.ends, strict=True)
            if begin or end or border == RECTIFIED
        ]
        same = named[:1] if len(set(named)) == 1 else named
        return " × ".join(same) or NOTHING

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**asdict(self), "kind": self.kind}


def layer_borders(scene: Scene) -> tuple[LayerBorder, ...]:
    """Every convolution and pool of a raised graph, and padding that none of them reads alone.

    A border that a BoundaryPad, Pad or SymmetricPad makes counts as that of the layer that reads it.
    """
    return tuple(_layers(scene))


def border_entries(model: ModelProto) -> list[dict[str, Any]]:
    """The manifest's `borders`: those of a traced model, whichever way they are written."""
    raised, _ = raise_model(model)
    graph = open_graph(raised)
    return [entry.as_dict() for entry in layer_borders(Scene(graph, Values(graph)))]


def _layers(scene: Scene) -> Iterator[LayerBorder]:
    told: set[int] = set()
    padding: list[gs.Node] = []
    for node in scene.graph.nodes:
        if is_standard(node, *_WINDOWED):
            before = made_by(node.inputs[0])
            found = None if before is None else _padding(scene, before)
            if found is not None:
                told.add(id(before))
            yield from _windowed(node, found)
        elif _padding(scene, node) is not None:
            padding.append(node)
    for node in padding:
        found = _padding(scene, node)
        if id(node) not in told and found is not None:
            yield LayerBorder(label(node), node.op, _tensors(node), *found)


#: Borders, begins and ends.
_Found = tuple[tuple[str, ...], tuple[int, ...], tuple[int, ...]]


def _padding(scene: Scene, node: gs.Node) -> _Found | None:
    if (node.op, node.domain) == ("BoundaryPad", DOMAIN):
        return _named(Border.of(node))
    if (node.op, node.domain) == ("SymmetricPad", DOMAIN):
        pads: Sequence[int] = node.attrs["pads"]
        return ("zeros by corner",) * 2, (max(pads[0::4]), max(pads[1::4])), (max(pads[2::4]), max(pads[3::4]))
    shape = node.inputs[0].shape if is_standard(node, "Pad") else None
    border = None if shape is None or len(shape) < 3 else read_pad(scene.values, node, len(shape) - 2)
    return None if border is None else _named(border)


def _named(border: Border) -> _Found:
    return tuple(BORDERS[mode] for mode in border.modes), border.begins, border.ends


def _tensors(node: gs.Node) -> tuple[str, ...]:
    found: list[str] = []
    while len(found) < _MOST_TENSORS:
        tensor = node.outputs[0]
        found.append(tensor.name)
        readers = [reader for reader in tensor.outputs if reader.op in _JOINED]
        if len(tensor.outputs) != 1 or not readers:
            break
        node = readers[0]
    return tuple(found)


def _windowed(node: gs.Node, before: _Found | None) -> Iterator[LayerBorder]:
    kernel = node.attrs.get("kernel_shape") or (node.inputs[1].shape or ())[2:]
    count = len(kernel)
    if not count:
        return
    rule = node.attrs.get("auto_pad", "NOTSET")
    pads = list(node.attrs.get("pads", [0] * 2 * count))
    own = "zeros" if node.op == "Conv" or node.attrs.get("count_include_pad") else LEFT_OUT
    rectified = any(is_rectify(reader) for reader in node.outputs[0].outputs)
    own = RECTIFIED if rectified else own
    if rule not in ("NOTSET", "VALID"):
        yield LayerBorder(
            label(node), node.op, _tensors(node), (f"{own} ({rule})",) * count, (1,) * count, (1,) * count
        )
        return
    borders, begins, ends = [own] * count, pads[:count], pads[count:]
    if before is not None and len(before[0]) == count:
        for axis, (border, begin, end) in enumerate(zip(*before, strict=True)):
            if begin or end:
                borders[axis] = border if not (begins[axis] or ends[axis]) else f"{border} + {own}"
                begins[axis], ends[axis] = begins[axis] + begin, ends[axis] + end
    yield LayerBorder(label(node), node.op, _tensors(node), tuple(borders), tuple(begins), tuple(ends))
