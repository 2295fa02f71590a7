"""Take out a run of steps behind a convolution that a dialect node replaces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs

from rectexport.exporter.graph.surgeon import reads_values
from rectexport.exporter.passes.matching.affine import Fit, Vector
from rectexport.exporter.passes.matching.rewrite import Scene
from rectexport.exporter.passes.matching.window import Window


@dataclass(frozen=True)
class Match:
    """A run that is r * (gain * Wx + inside) + after: the tensors between its steps, its last node, and what it is."""

    passed: tuple[gs.Tensor, ...]
    last: gs.Node
    fit: Fit


def own_bias(scene: Scene, conv: gs.Node) -> Vector | None:
    """The bias of a convolution, [C] or [1] zero; None where the graph computes it."""
    if len(conv.inputs) < 3 or not conv.inputs[2].name:
        return np.zeros(1)
    value = scene.values.of(conv.inputs[2])
    return None if value is None else value.astype(np.float64)


def other_operand(node: gs.Node, tensor: gs.Tensor) -> gs.Tensor:
    """What a node with two inputs reads besides the tensor."""
    return node.inputs[1] if node.inputs[0] is tensor else node.inputs[0]


def take_out(scene: Scene, conv: gs.Node, match: Match) -> tuple[gs.Tensor, gs.Constant, gs.Tensor]:
    """The convolution's output gain * Wx + inside, what is to be added after r, [C], and the tensor to make of both."""
    y, z, fitted = conv.outputs[0], match.last.outputs[0], match.fit
    match.last.outputs.clear()
    dtype = y.dtype or conv.inputs[1].dtype or np.float32
    raw = gs.Variable(f"{z.name}.conv", dtype, y.shape)
    conv.outputs = [raw]
    for tensor in match.passed:
        for reader in [node for node in tensor.outputs if not reads_values(node, tensor)]:
            reader.inputs = [raw if entry is tensor else entry for entry in reader.inputs]  # of equal shape and type
    conv.inputs = list(conv.inputs)[:2]
    channels = (int(conv.inputs[1].shape[0]),)
    weight = scene.values.of(conv.inputs[1])
    if weight is not None and np.any(fitted.gain != 1):
        scaled = weight * fitted.gain.reshape(-1, *[1] * (weight.ndim - 1))
        conv.inputs[1] = gs.Constant(f"{z.name}.weight", scaled.astype(dtype))
    if fitted.inside is not None:
        conv.inputs.append(gs.Constant(f"{z.name}.inside", np.broadcast_to(fitted.inside, channels).astype(dtype)))
    after = np.broadcast_to(fitted.after, channels).astype(dtype)
    return raw, gs.Constant(f"{z.name}.bias", after), z


def window_attributes(window: Window) -> dict[str, list[int]]:
    """The attributes of a dialect node that say its window."""
    names = {"kernel_shape": "kernel", "strides": "strides", "pads": "pads", "dilations": "dilations"}
    return {name: list(getattr(window, field)) for name, field in names.items()}
