"""Where Q/DQ pairs stand for each engine.

onnxruntime  u8 at the input of each layer and behind it, because a convolution runs in int8 only between two pairs. A
             rectified convolution is cut into strips where that is faster, else a pair stands between it and the
             multiply ("both"), which adds up to half a step times r. An addition that is computed in float anyway
             reads floats
openvino     u8 at the input of each layer and nowhere else ("after"): the multiply by r then takes the exact sums
tensorrt     s8 with zero point 0 at the input of each layer and at the skip of an addition, float bias, one scale for
             all inputs and the output of a Concat

An engine that is given another's placement runs in float, or wrongly: OpenVINO 2026.4 computes s8 behind a Concat
wrongly, and ONNX Runtime needs a pair behind a convolution.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import onnx_graphsurgeon as gs

from rectexport.exporter.graph.surgeon import is_standard
from rectexport.exporter.quantize import strips
from rectexport.exporter.quantize.channels import has_ranges
from rectexport.exporter.quantize.layers import Layer, tensors_between
from rectexport.exporter.quantize.parameters import S8, U8

ONNXRUNTIME, OPENVINO, TENSORRT = TARGETS = ("onnxruntime", "openvino", "tensorrt")
#: The forms of a layer.
AFTER, BOTH, STRIPS = "after", "both", "strips"


@dataclass
class Placement:
    """Where pairs stand in one graph.

    forms    of each layer, by name
    tensors  names of the tensors that get a pair
    skips    tensors whose additions read the pair's output too (TensorRT)
    scales   tensor -> the tensor whose values decide its scale, where that is another one
    by_channel  tensors behind a convolution that are stored with a range for each channel (channels.py)
    in_float    (tensor, sum) of additions that are computed in float anyway and read this tensor as it is
    """

    target: str
    forms: dict[str, str] = field(default_factory=dict)
    tensors: list[str] = field(default_factory=list)
    skips: set[str] = field(default_factory=set)
    scales: dict[str, str] = field(default_factory=dict)
    by_channel: list[str] = field(default_factory=list)
    in_float: set[tuple[str, str]] = field(default_factory=set)

    @property
    def dtype(self) -> str:
        """The type of quantized activations."""
        return S8 if self.target == TENSORRT else U8

    @property
    def everywhere(self) -> bool:
        """Whether every reader of a tensor reads it quantized, so that additions run in int8 too."""
        return self.target == ONNXRUNTIME

    def scale_of(self, tensor: str) -> str:
        """The tensor whose distribution decides the scale."""
        seen = {tensor}
        while tensor in self.scales and self.scales[tensor] not in seen:
            tensor = self.scales[tensor]
            seen.add(tensor)
        return tensor


def place(graph: gs.Graph, layers: Sequence[Layer], target: str, least_plane: int = strips.LEAST_PLANE) -> Placement:
    """The placement for these layers, which are to run in int8; other nodes stay in float."""
    found, wanted = Placement(target), dict[str, None]()
    for layer in layers:
        wanted[layer.x.name] = None
        found.forms[layer.name] = AFTER
        if target == ONNXRUNTIME and layer.convolution:
            fits = strips.refusal(layer, least_plane) is None
            if layer.scale is not None:
                found.forms[layer.name] = STRIPS if fits else BOTH
            if found.forms[layer.name] == BOTH and has_ranges(layer):
                found.by_channel.append(layer.y.name)
            else:
                wanted[layer.out.name if fits else layer.y.name] = None
    if target == TENSORRT:
        found.skips = set(_skips(graph, layers))
        wanted.update(dict.fromkeys(found.skips))
    found.tensors = list(wanted)
    found.scales = _shared_scales(graph, layers, found)
    if target == ONNXRUNTIME:
        found.in_float = set(_float_additions(graph, layers, found))
    return found


def _float_additions(graph: gs.Graph, layers: Sequence[Layer], placement: Placement) -> Iterator[tuple[str, str]]:
    """Additions of an activation without a pair: float, so their other side needs none either.

    A convolution in int8 gives nothing but its pair, so what it makes is never read in float.
    """
    integers = {layer.y.name if placement.forms[layer.name] != STRIPS else layer.out.name for layer in layers}
    for node in graph.nodes:
        names = [tensor.name for tensor in node.inputs if not isinstance(tensor, gs.Constant)]
        if is_standard(node, "Add") and len(names) == 2 and not set(names) <= set(placement.tensors):
            yield from ((name, node.outputs[0].name) for name in names if name not in integers)


def _skips(graph: gs.Graph, layers: Sequence[Layer]) -> list[str]:
    """For each addition of two activations, of which a layer makes one: the other."""
    made = {layer.out.name: layer for layer in layers}
    found = []
    for node in graph.nodes:
        if not is_standard(node, "Add") or any(isinstance(tensor, gs.Constant) for tensor in node.inputs):
            continue
        names = [tensor.name for tensor in node.inputs]
        own = [name for name in names if name in made]
        if own:
            # Where layers make both, the one with the smaller kernel is the shortcut.
            main = max(own, key=lambda name: made[name].weight[0, 0].size)
            found += [name for name in names if name != main]
    return found


def _shared_scales(graph: gs.Graph, layers: Sequence[Layer], placement: Placement) -> dict[str, str]:
    """A node that moves values has one scale on both sides, or its engine would have to compute."""
    wanted = set(placement.tensors)
    pairs = [(x, y) for x, y in tensors_between(graph)]
    pairs += [(layer.x, layer.y) for layer in layers if layer.copies and layer.relu is None]
    found = {y.name: x.name for x, y in pairs if {x.name, y.name} <= wanted}
    if placement.target == TENSORRT:
        for node in graph.nodes:
            if is_standard(node, "Concat") and node.outputs[0].name in wanted:
                inputs = [tensor.name for tensor in node.inputs if not isinstance(tensor, gs.Constant)]
                placement.tensors += [name for name in inputs if name not in wanted]
                wanted.update(inputs)
                found.update(dict.fromkeys(inputs, node.outputs[0].name))
                found.pop(node.outputs[0].name, None)
    return found
