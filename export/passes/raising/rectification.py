"""Rectified convolution, however it is spelled, as one Rectify node.

Given   y = conv(x; W, c), then any run of * / + - with numbers, values per channel and functions of v, and BatchNorm
Result  Rectify(conv(x; g*W, p), x, q)   when the run comes to  r * (g*Wx + p) + q

v counts the taps of each window inside x. The run is followed as Wx * g * A + B with tables A, B over the tap
counts (see taps) and scales g per channel, so one rule covers a constant map, separable maps, NVIDIA
partialconv's traced arithmetic (raw - b) * ratio + b and its mask, division by a convolution of ones or by an
average pool of ones, biases inside or after. A must be m*n/v (sum) or 1/v (average) at every count that can
occur, to 1e-6; B = r*p + q.
Where v = 0 can occur the run must give q there, or 0 (empty_bias 0). The longest run that fits is taken.

Must not fire
- when A is not r, be it at one pixel;
- when nothing shaped like the output takes part: a plain scale is no rectification;
- when a tensor of the run is also read elsewhere or given out (those before it keep their rewrite);
- when H or W is unknown and the map is a constant, or the convolution's bias or padding is unknown.

Sources: Rectified Convolution (Zhang), eqs. (4) and (6); NVIDIA/partialconv; zhanghang1989/RFConv.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs
from onnx import ModelProto

from rectexport.exporter.graph.dialect import DOMAIN
from rectexport.exporter.graph.results import PassResult
from rectexport.exporter.passes.batch_norm import affine
from rectexport.exporter.passes.matching.affine import Fit, Line, Vector, fit
from rectexport.exporter.passes.matching.rewrite import FIRED, NOTHING, Outcome, Scene, refused, rewrite
from rectexport.exporter.passes.matching.taps import TapTables
from rectexport.exporter.passes.matching.window import read_window

NAME = "raise_rectification"
_STEPS = ("Mul", "Div", "Add", "Sub", "BatchNormalization")


def run(model: ModelProto) -> tuple[ModelProto, PassResult]:
    """Raise every rectified convolution."""
    return rewrite(model, NAME, _visit)


@dataclass(frozen=True)
class _Match:
    """The end of a run that is a rectification."""

    passed: tuple[gs.Tensor, ...]
    last: gs.Node
    fit: Fit


def _visit(scene: Scene, node: gs.Node) -> Outcome:
    if node.op != "Conv" or node.domain not in (None, "", "ai.onnx") or scene.values.of(node.outputs[0]) is not None:
        return NOTHING
    window = read_window(scene.values, node)
    if window is None or node.inputs[1].shape is None:
        return NOTHING
    tables = TapTables(scene, node, window)
    if tables.read(node.outputs[0]) is not None:
        return NOTHING  # a count of taps itself
    match, reason = _follow(scene, node, tables)
    if match is None:
        return refused(reason) if reason else NOTHING
    _replace(scene, node, tables, match)
    return FIRED


def _follow(scene: Scene, conv: gs.Node, tables: TapTables) -> tuple[_Match | None, str]:
    """The longest run that is a rectification, or why a run that looked like one is not."""
    bias = _bias(scene, conv)
    if bias is None:
        return None, ""
    line, best, reason, plane = Line.start(bias), None, "", False
    fixed_weights = scene.values.of(conv.inputs[1]) is not None
    passed: list[gs.Tensor] = []
    for tensor, node in _run(scene, conv.outputs[0]):
        passed.append(tensor)
        if node is None:
            return best, reason or _shared(tensor, tables, bool(best) or plane)
        step = _step(tables, line, tensor, node)
        if step is None:
            return best, reason or _unreadable(scene, tensor, node)
        line, plane = step[0], plane or step[1]
        found = fit(line, tables, bias) if plane and (fixed_weights or line.gain.size == 1) else ""
        if isinstance(found, Fit):
            best, reason = _Match(tuple(passed), node, found), ""
        elif best is None:
            reason = found
    return best, reason


def _step(tables: TapTables, line: Line, tensor: gs.Tensor, node: gs.Node) -> tuple[Line, bool] | None:
    """The line after one node and whether it multiplies by a plane; None when its other operand is unknown."""
    if node.op == "BatchNormalization":
        scale_shift = affine(node)
        return None if scale_shift is None else (line.norm(*scale_shift), False)
    operand = tables.read(_other(node, tensor))
    if operand is None:
        return None
    return line.step(node.op, operand.table), operand.plane and node.op in ("Mul", "Div")


def _other(node: gs.Node, tensor: gs.Tensor) -> gs.Tensor:
    return node.inputs[1] if node.inputs[0] is tensor else node.inputs[0]


def _run(scene: Scene, tensor: gs.Tensor) -> Iterator[tuple[gs.Tensor, gs.Node | None]]:
    """Each step with the tensor it takes; (tensor, None) where steps follow but others read the tensor too."""
    while True:
        node = _reader(scene, tensor)
        if node is None:
            if any(_is_step(reader, tensor) for reader in tensor.outputs):
                yield tensor, None
            return
        if not _is_step(node, tensor):
            return
        yield tensor, node
        tensor = node.outputs[0]


def _reader(scene: Scene, tensor: gs.Tensor) -> gs.Node | None:
    """The one node that reads the tensor's values, unless the graph gives it out; Shape reads none."""
    readers = [node for node in tensor.outputs if node.op != "Shape"]
    given_out = any(tensor is output for output in scene.graph.outputs)
    return readers[0] if len(readers) == 1 and not given_out else None


def _is_step(node: gs.Node, tensor: gs.Tensor) -> bool:
    if node.op not in _STEPS or node.domain not in (None, "", "ai.onnx"):
        return False
    return node.inputs[0] is tensor or node.op in ("Mul", "Add")


def _shared(tensor: gs.Tensor, tables: TapTables, inside: bool) -> str:
    """Why a run ends at a tensor that several nodes read, if one of them would have gone on with it."""
    for reader in tensor.outputs:
        if _is_step(reader, tensor) and reader.op != "BatchNormalization":
            operand = tables.read(_other(reader, tensor))
            if operand is not None and operand.plane and not inside:
                return f"{tensor.name} is also used elsewhere"
    return ""


def _unreadable(scene: Scene, tensor: gs.Tensor, node: gs.Node) -> str:
    if node.op not in ("Mul", "Div"):
        return ""
    other = _other(node, tensor)
    value = scene.values.of(other)
    if value is None or value.ndim < 2 or set(value.shape[-2:]) == {1}:
        return ""
    return f"{other.name} is no function of the convolution's tap counts, or H, W are dynamic beside a constant"


def _bias(scene: Scene, conv: gs.Node) -> Vector | None:
    if len(conv.inputs) < 3 or not conv.inputs[2].name:
        return np.zeros(1)
    value = scene.values.of(conv.inputs[2])
    return None if value is None else value.astype(np.float64)


def _unused_name(graph: gs.Graph, name: str) -> str:
    """`name`, longer if a tensor has it already: a file raised before has such names."""
    taken = {tensor.name for node in graph.nodes for tensor in (*node.inputs, *node.outputs)}
    while name in taken:
        name += "_"
    return name


def _replace(scene: Scene, conv: gs.Node, tables: TapTables, match: _Match) -> None:
    y, z, fitted = conv.outputs[0], match.last.outputs[0], match.fit
    match.last.outputs.clear()
    dtype = y.dtype or conv.inputs[1].dtype or np.float32
    raw = gs.Variable(_unused_name(scene.graph, f"{z.name}.conv"), dtype, y.shape)
    conv.outputs = [raw]
    for tensor in match.passed:
        for reader in [node for node in tensor.outputs if node.op == "Shape"]:
            reader.inputs = [raw]  # as large as every tensor of the run
    conv.inputs = list(conv.inputs)[:2]
    channels = (int(conv.inputs[1].shape[0]),)
    weight = scene.values.of(conv.inputs[1])
    if weight is not None and np.any(fitted.gain != 1):
        scaled = weight * fitted.gain.reshape(-1, 1, 1, 1)
        conv.inputs[1] = gs.Constant(f"{z.name}.weight", scaled.astype(dtype))
    if fitted.inside is not None:
        conv.inputs.append(gs.Constant(f"{z.name}.inside", np.broadcast_to(fitted.inside, channels).astype(dtype)))
    after = np.broadcast_to(fitted.after, channels).astype(dtype)
    window = tables.window
    attrs = {
        "kernel_shape": list(window.kernel),
        "strides": list(window.strides),
        "pads": list(window.pads),
        "dilations": list(window.dilations),
        "numerator": fitted.numerator,
        "empty_bias": int(fitted.empty_bias),
    }
    inputs = [raw, conv.inputs[0], gs.Constant(f"{z.name}.bias", after)]
    scene.graph.nodes.append(gs.Node("Rectify", f"{conv.name or z.name}.rectify", attrs, inputs, [z], domain=DOMAIN))
