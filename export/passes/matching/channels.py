"""Contiguous channel groups of one tensor, by Split or by Slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs

from rectexport.exporter.graph.surgeon import producer
from rectexport.exporter.passes.matching.rewrite import Scene


@dataclass(frozen=True)
class Groups:
    """The tensor that is divided, and the number of channels of each group."""

    x: gs.Tensor
    sizes: list[int]


def channel_groups(scene: Scene, groups: Sequence[gs.Tensor]) -> Groups | str:
    """The tensor that the groups divide, all its channels in order; or the reason why they are no division."""
    producers = [producer(entry, "Split", "Slice") for entry in groups]
    found = [node for node in producers if node is not None]
    if len(found) != len(groups):
        return "what is padded are not the groups of one tensor"
    if all(node.op == "Split" for node in found):
        return _split(scene, found, groups)
    if all(node.op == "Slice" for node in found):
        return _slices(scene, found)
    return "the groups come from Split and Slice both"


def _split(scene: Scene, nodes: Sequence[gs.Node], groups: Sequence[gs.Tensor]) -> Groups | str:
    split = nodes[0]
    outputs = list(split.outputs)
    if any(node is not split for node in nodes) or [id(entry) for entry in outputs] != [id(entry) for entry in groups]:
        return "the groups are not one Split's outputs in order"
    x = split.inputs[0]
    if _axis(split.attrs.get("axis", 0), x) != 1:
        return f"{x.name} is split along axis {split.attrs.get('axis', 0)}, not the channels"
    given = scene.values.of(split.inputs[1]) if len(split.inputs) > 1 and split.inputs[1].name else None
    if given is not None:
        return Groups(x, [int(size) for size in given])
    channels = _channels(x)
    if channels is None or (len(split.inputs) > 1 and split.inputs[1].name):
        return f"the channels of {x.name} are unknown"
    share = -(-channels // len(outputs))  # all groups but the last are that large
    return Groups(x, [share] * (len(outputs) - 1) + [channels - share * (len(outputs) - 1)])


def _slices(scene: Scene, nodes: Sequence[gs.Node]) -> Groups | str:
    x = nodes[0].inputs[0]
    channels = _channels(x)
    if any(node.inputs[0] is not x for node in nodes):
        return "the groups are not of one tensor"
    if channels is None:
        return f"the channels of {x.name} are unknown"
    sizes, begin = [], 0
    for node in nodes:
        bounds = _bounds(scene, node, channels)
        if bounds is None:
            return f"{node.outputs[0].name} is no contiguous slice of the channels"
        if bounds[0] != begin:
            return "the groups are not the channels in order"
        sizes.append(bounds[1] - bounds[0])
        begin = bounds[1]
    return Groups(x, sizes) if begin == channels else "the groups leave channels out"


def _bounds(scene: Scene, node: gs.Node, channels: int) -> tuple[int, int] | None:
    picks = [scene.values.of(entry) if entry.name else None for entry in node.inputs[1:]]
    picks += [None] * (4 - len(picks))
    starts, ends, axes, steps = picks
    if starts is None or ends is None or axes is None or axes.size != 1:
        return None
    if _axis(int(axes.item()), node.inputs[0]) != 1 or (steps is not None and np.any(steps != 1)):
        return None
    if len(node.inputs) > 4 and node.inputs[4].name and steps is None:
        return None
    begin, end, _ = slice(int(starts.item()), int(ends.item())).indices(channels)
    return (begin, end) if begin < end else None


def _axis(axis: int, tensor: gs.Tensor) -> int | None:
    if axis >= 0:
        return int(axis)
    return int(axis) + len(tensor.shape) if tensor.shape is not None else None


def _channels(tensor: gs.Tensor) -> int | None:
    shape = tensor.shape
    return shape[1] if shape is not None and len(shape) == 4 and isinstance(shape[1], int) else None
