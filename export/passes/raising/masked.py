"""Write a masked partial convolution, however it is spelled, as MaskedCount and MaskedRectify nodes.

Given   y = conv(x*m; W, c), then any run of * / + - and Where with numbers, values per channel and functions of u
        u = Conv(m; ones) over the same window, or AveragePool, or Conv of ReduceSum(m)
Result  MaskedRectify(conv(x*m; g*W, p), MaskedCount(m), q)   when the run comes to  numerator/u * (g*Wx + p) + q
Given   a mask that is 1 where u > 0, and 0 elsewhere
Result  Expand(min(MaskedCount(m), 1)) to its channels

The masks hold 0 and 1, so u is a whole number, and the run is followed as Wx * g * A + B with tables A, B over u (see
masks). A must be numerator/u to 1e-6 at every u above 0, with a numerator of 1, of the mask values under a window, or
of the weights of one output; where u = 0, Wx is 0 and the run must give q or 0. One rule covers NVIDIA/partialconv with
masks of one channel and of many, with (raw - b) * ratio + b and clamped counts, and naoto0804's division by counts that
are 1 in holes. MaskedCount reads the sum of m's channels.

Not when
- the mask is not known to hold 0 and 1 alone, as one that is given as numbers: compare it in the model, mask > 0.5;
- A differs from numerator/u at any u, or the result in holes is neither q nor 0;
- another node reads a tensor of the run (the run then ends before it), or the convolution's bias is unknown;
- the mask's channels are counted apart (groups).

Sources: Image Inpainting for Irregular Holes Using Partial Convolutions (Liu et al.), eqs. (1) and (2);
NVIDIA/partialconv; naoto0804/pytorch-inpainting-with-partial-conv.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np
import onnx_graphsurgeon as gs
from onnx import ModelProto, TensorProto

from rectexport.exporter.graph.dialect import DOMAIN
from rectexport.exporter.graph.results import PassResult
from rectexport.exporter.graph.surgeon import is_standard, producer, sole_reader
from rectexport.exporter.passes.matching.affine import Fit, Line, fit
from rectexport.exporter.passes.matching.masks import LARGEST_COUNT, CountTables, is_binary
from rectexport.exporter.passes.matching.rewrite import FIRED, NOTHING, Scene, Visit, refused, rewrite
from rectexport.exporter.passes.matching.window import Window, read_window
from rectexport.exporter.passes.raising.behind import Match, other_operand, own_bias, take_out, window_attributes

NAME = "raise_masked_conv"
_STEPS = ("Mul", "Div", "Add", "Sub")
#: torch.onnx.export(optimize=True) drops an epsilon of 1e-8, and the file then answers NaN in holes.
_EMPTY = "a window has no known value (an exporter may have dropped an epsilon: torch.onnx.export with optimize=False)"


def run(model: ModelProto) -> tuple[ModelProto, PassResult]:
    """Raise every masked partial convolution."""
    return rewrite(model, NAME, _visit)


def _visit(scene: Scene, node: gs.Node) -> Visit:
    weight = node.inputs[1].shape if is_standard(node, "Conv") else None
    product = None if weight is None else producer(node.inputs[0], "Mul")
    window = None if product is None else read_window(scene.values, node)
    if weight is None or product is None or window is None or not all(isinstance(size, int) for size in weight):
        return NOTHING
    refusal = NOTHING
    for mask in product.inputs:
        if not _may_count(mask, window):
            continue
        tables = CountTables(scene, node, window, mask)
        found = _follow(scene, node, tables)
        if not isinstance(found, Match):
            refusal = found if found.reason else refusal
        elif not is_binary(scene.values, mask):
            refusal = refused(f"{mask.name} may hold other values than 0 and 1; compare it in the model (mask > 0.5)")
        else:
            _replace(scene, node, tables, found)
            return FIRED
    return refusal


def _may_count(mask: gs.Tensor, window: Window) -> bool:
    """Whether a tensor has as many axes as the window and a number of channels that can be counted.

    Channels that shape inference does not know, as behind an Expand to a computed shape, are those of a convolution
    that reads the tensor.
    """
    if mask.shape is None or len(mask.shape) != 2 + window.axes:
        return False
    for reader in mask.outputs if not isinstance(mask.shape[1], int) else ():
        whole = is_standard(reader, "Conv") and reader.inputs[0] is mask and reader.attrs.get("group", 1) == 1
        if whole and reader.inputs[1].shape is not None:
            mask.shape = [mask.shape[0], reader.inputs[1].shape[1], *mask.shape[2:]]
            break
    channels = mask.shape[1]
    return isinstance(channels, int) and 0 < channels * prod(window.kernel) <= LARGEST_COUNT


def _follow(scene: Scene, conv: gs.Node, tables: CountTables) -> Match | Visit:
    """The longest run that scales by a count, or the refusal of one that looked like it."""
    bias = own_bias(scene, conv)
    if bias is None:
        return NOTHING
    line, refusal, counted = Line.start(bias, 1), NOTHING, False
    match: Match | None = None
    fixed_weights = scene.values.known(conv.inputs[1])
    passed: list[gs.Tensor] = []
    for tensor, node in _run(scene, conv.outputs[0]):
        step = _step(tables, line, tensor, node)
        if step is None:
            break
        passed.append(tensor)
        line, counted = step[0], counted or step[1]
        found = fit(line, tables, bias, _numerators(conv, tables)) if counted else ""
        if isinstance(found, Fit) and (fixed_weights or not np.any(found.gain != 1)):
            match = Match(tuple(passed), node, found)
        elif match is None and isinstance(found, str) and found:
            found = found.replace("a window lies in the padding alone", _EMPTY)
            refusal = refused(f"it scales by counts of a mask, but {found}")
    return match or refusal


def _numerators(conv: gs.Node, tables: CountTables) -> tuple[int, ...]:
    """Mask values under a window, weights of one output, and 1."""
    return tables.most, int(prod(conv.inputs[1].shape[1:])), 1


def _run(scene: Scene, tensor: gs.Tensor) -> Iterator[tuple[gs.Tensor, gs.Node]]:
    """Each step with the tensor that it takes, and that no other node reads."""
    while True:
        node = sole_reader(scene.graph, tensor)
        if node is None or not (is_standard(node, *_STEPS) or _chooses(node, tensor)):
            return
        if node.op in ("Sub", "Div") and node.inputs[0] is not tensor:
            return
        yield tensor, node
        tensor = node.outputs[0]


def _chooses(node: gs.Node, tensor: gs.Tensor) -> bool:
    """Whether a node is Where(condition, tensor, other) or Where(condition, other, tensor)."""
    return is_standard(node, "Where") and [entry is tensor for entry in node.inputs].count(True) == 1


def _step(tables: CountTables, line: Line, tensor: gs.Tensor, node: gs.Node) -> tuple[Line, bool] | None:
    """The line after one node, and whether the node reads counts; None when another operand is unknown."""
    if node.op == "Where":
        condition, first, second = node.inputs
        chosen, other = tables.read(condition), tables.read(second if first is tensor else first)
        if (
            chosen is None
            or other is None
            or not {chosen.table.shape[-1], other.table.shape[-1]} <= {1, tables.channels}
        ):
            return None
        here = (chosen.table != 0) if first is tensor else (chosen.table == 0)
        return line.select(here, other.table), chosen.plane
    operand = tables.read(other_operand(node, tensor))
    if operand is None or operand.table.shape[-1] not in (1, tables.channels):
        return None
    return line.step(node.op, operand.table), operand.plane and node.op in ("Mul", "Div")


def _replace(scene: Scene, conv: gs.Node, tables: CountTables, match: Match) -> None:
    masks = [mask for mask in tables.next_masks() if _follows(mask, tables.mask)]
    raw, after, z = take_out(scene, conv, match)
    graph, shape = scene.graph, raw.shape
    one = None if shape is None else [tables.mask.shape[0], 1, *shape[2:]]
    counted = tables.mask
    if tables.mask_channels > 1:
        counted = gs.Variable(f"{z.name}.mask", tables.mask.dtype, [tables.mask.shape[0], 1, *tables.mask.shape[2:]])
        axes = gs.Constant(f"{z.name}.mask.axes", np.array([1]))
        graph.nodes.append(gs.Node("ReduceSum", counted.name, {"keepdims": 1}, [tables.mask, axes], [counted]))
    u = gs.Variable(f"{z.name}.count", np.float32, one)
    graph.nodes.append(gs.Node("MaskedCount", u.name, window_attributes(tables.window), [counted], [u], domain=DOMAIN))
    attributes = {"numerator": match.fit.numerator, "empty_bias": int(match.fit.empty_bias)}
    name = f"{conv.name or z.name}.masked"
    graph.nodes.append(gs.Node("MaskedRectify", name, attributes, [raw, u, after], [z], domain=DOMAIN))
    for index, mask in enumerate(masks):
        _next_mask(graph, u, mask, f"{z.name}.next{index}")


def _follows(mask: gs.Tensor, before: gs.Tensor) -> bool:
    """Whether a next mask has known channels, and as many rows as the one before."""
    return mask.shape is not None and isinstance(mask.shape[1], int) and mask.shape[0] == before.shape[0]


def _next_mask(graph: gs.Graph, u: gs.Tensor, mask: gs.Tensor, name: str) -> None:
    """Make a next mask from the count of one channel."""
    mask.inputs.clear()
    channels = mask.shape[1]
    most = gs.Constant(f"{name}.most", np.array(1, np.float32))
    steps: list[tuple[str, dict[str, object], list[gs.Tensor]]] = [("Min", {}, [most])]
    if mask.dtype != np.float32:
        steps.append(("Cast", {"to": _TYPES[np.dtype(mask.dtype)]}, []))
    if channels != 1:
        sizes = np.array([1, channels, *[1] * (len(mask.shape) - 2)])
        steps.append(("Expand", {}, [gs.Constant(f"{name}.shape", sizes)]))
    x = u
    for index, (operator, attributes, more) in enumerate(steps):
        last = index == len(steps) - 1
        dtype = np.float32 if operator == "Min" else mask.dtype
        out = mask if last else gs.Variable(f"{name}.{operator}", dtype, u.shape)
        graph.nodes.append(gs.Node(operator, f"{name}.{operator}", attributes, [x, *more], [out]))
        x = out


_TYPES = {np.dtype(np.float16): TensorProto.FLOAT16, np.dtype(np.float64): TensorProto.DOUBLE}
