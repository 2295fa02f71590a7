"""Write a rectified convolution, however it is spelled, as one Rectify node.

Given   y = conv(x; W, c), then any run of * / + - with numbers, values per channel and functions of v, and BatchNorm
Result  Rectify(conv(x; g*W, p), x, q)   when the run comes to  r * (g*Wx + p) + q

v counts the taps of each window inside x. The run is followed as Wx * g * A + B with tables A, B over the tap
counts (see taps) and scales g per channel, so one rule covers a constant map, separable maps, NVIDIA
partialconv's traced arithmetic (raw - b) * ratio + b and its mask, division by a convolution of ones or by an
average pool of ones, biases inside or after. A must be m*n/v (sum) or 1/v (average) at every count that can
occur, to 1e-6; B = r*p + q.
Where v = 0 can occur the run must give q there, or 0 (empty_bias 0). The longest run that fits is taken.

Not when
- A differs from r, even at a single pixel;
- an operand has other channels than the convolution, or every window lies in the padding;
- no operand has the height and width of the output: a plain scale is no rectification;
- another node reads a tensor of the run, or it is an output of the graph (the run then ends before it);
- H or W is unknown and the map is a constant, or the convolution's bias or padding is unknown.

Sources: Rectified Convolution (Zhang), eqs. (4) and (6); NVIDIA/partialconv; zhanghang1989/RFConv.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_graphsurgeon as gs
from onnx import ModelProto

from rectexport.exporter.graph.dialect import DOMAIN, RECTIFIES
from rectexport.exporter.graph.results import Code, PassResult
from rectexport.exporter.graph.surgeon import is_standard, sole_reader
from rectexport.exporter.passes.batch_norm import affine
from rectexport.exporter.passes.matching.affine import Fit, Line, fit
from rectexport.exporter.passes.matching.rewrite import FIRED, NOTHING, Scene, Visit, refused, rewrite
from rectexport.exporter.passes.matching.taps import TapTables
from rectexport.exporter.passes.matching.window import read_window
from rectexport.exporter.passes.raising.behind import Match, other_operand, own_bias, take_out, window_attributes

NAME = "raise_rectification"
_STEPS = ("Mul", "Div", "Add", "Sub", "BatchNormalization")


def run(model: ModelProto) -> tuple[ModelProto, PassResult]:
    """Raise every rectified convolution."""
    return rewrite(model, NAME, _visit)


def _visit(scene: Scene, node: gs.Node) -> Visit:
    if not is_standard(node, "Conv") or scene.values.of(node.outputs[0]) is not None:
        return NOTHING
    window = read_window(scene.values, node)
    weight_shape = node.inputs[1].shape
    if window is None or weight_shape is None or not isinstance(weight_shape[0], int):
        return NOTHING
    tables = TapTables(scene, node, window)
    if tables.read(node.outputs[0]) is not None:
        return NOTHING  # a count of taps itself
    match, refusal = _follow(scene, node, tables)
    if match is None:
        return refusal
    _replace(scene, node, tables, match)
    return FIRED


def _follow(scene: Scene, conv: gs.Node, tables: TapTables) -> tuple[Match | None, Visit]:
    """The longest run that is a rectification, or the refusal of a run that looked like one."""
    bias = own_bias(scene, conv)
    if bias is None:
        return None, NOTHING
    line, best, refusal, plane = Line.start(bias, tables.window.axes), None, NOTHING, False
    fixed_weights = scene.values.known(conv.inputs[1])
    passed: list[gs.Tensor] = []
    for tensor, node in _run(scene, conv.outputs[0]):
        passed.append(tensor)
        step = None if node is None else _step(tables, line, tensor, node)
        if node is None or step is None:
            ended = _shared(tensor, tables, bool(best) or plane) if node is None else _unreadable(scene, tensor, node)
            return best, refusal if refusal.reason else ended
        line, plane = step[0], plane or step[1]
        found = fit(line, tables, bias) if plane and (fixed_weights or line.gain.size == 1) else ""
        if isinstance(found, Fit):
            best, refusal = Match(tuple(passed), node, found), NOTHING
        elif best is None:
            refusal = refused(found)
    return best, refusal


def _step(tables: TapTables, line: Line, tensor: gs.Tensor, node: gs.Node) -> tuple[Line, bool] | None:
    """The line after one node and whether it multiplies by a plane; None when its other operand is unknown."""
    if node.op == "BatchNormalization":
        scale_shift = affine(node)
        return None if scale_shift is None else (line.norm(*scale_shift), False)
    operand = tables.read(other_operand(node, tensor))
    if operand is None or operand.table.shape[-1] not in (1, tables.channels):
        return None  # unknown, or it spreads one channel over several
    return line.step(node.op, operand.table), operand.plane and node.op in ("Mul", "Div")


def _run(scene: Scene, tensor: gs.Tensor) -> Iterator[tuple[gs.Tensor, gs.Node | None]]:
    """Each step with the tensor it takes; (tensor, None) where steps follow but others read the tensor too."""
    while True:
        node = sole_reader(scene.graph, tensor)
        if node is None:
            if any(_is_step(reader, tensor) for reader in tensor.outputs):
                yield tensor, None
            return
        if not _is_step(node, tensor):
            return
        yield tensor, node
        tensor = node.outputs[0]


def _is_step(node: gs.Node, tensor: gs.Tensor) -> bool:
    if not is_standard(node, *_STEPS):
        return False
    return node.inputs[0] is tensor or node.op in ("Mul", "Add")


def _shared(tensor: gs.Tensor, tables: TapTables, inside: bool) -> Visit:
    """The refusal of a run that ends at a tensor with several readers, one of which would continue it."""
    for reader in tensor.outputs:
        if _is_step(reader, tensor) and reader.op != "BatchNormalization":
            operand = tables.read(other_operand(reader, tensor))
            if operand is not None and operand.plane and not inside:
                return refused(f"{tensor.name} is also used elsewhere", Code.USED_ELSEWHERE)
    return NOTHING


def _unreadable(scene: Scene, tensor: gs.Tensor, node: gs.Node) -> Visit:
    if node.op not in ("Mul", "Div"):
        return NOTHING
    other = other_operand(node, tensor)
    value = scene.values.of(other)
    if value is None or value.ndim < 2 or set(value.shape[-2:]) == {1}:
        return NOTHING
    return refused(
        f"{other.name} is no function of the convolution's tap counts, or it is constant and H, W are dynamic"
    )


def _replace(scene: Scene, conv: gs.Node, tables: TapTables, match: Match) -> None:
    raw, after, z = take_out(scene, conv, match)
    attrs = {
        **window_attributes(tables.window),
        "numerator": match.fit.numerator,
        "empty_bias": int(match.fit.empty_bias),
    }
    inputs = [raw, conv.inputs[0], after]
    name = f"{conv.name or z.name}.rectify"
    scene.graph.nodes.append(gs.Node(RECTIFIES[tables.window.axes], name, attrs, inputs, [z], domain=DOMAIN))
