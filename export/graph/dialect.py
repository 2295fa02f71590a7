"""The ONNX dialect: one node for each of our operators, with a function body in standard operators.

A model that carries these nodes and functions runs as it is wherever ONNX functions are supported. Passes match one
node instead of its arithmetic. Domain `rectexport`, version 1, float16, float32, float64 or bfloat16:

operator          inputs      attributes              definition
RectificationMap  x, y        window, numerator       r [1, 1, H_out, W_out] float32 = numerator / v, and 0 where v = 0;
                                                      v[h, w] counts the taps of y's window that lie inside x
Rectify           y, x, bias  window, numerator,      z = r·y + bias, y = conv(x) with this window; without bias where
                              empty_bias, biased      v = 0 if empty_bias is 0. biased (0 if left out): y has the bias
                              already, z = r·(y − bias) + bias
SymmetricPad      x           splits, pads            y [N, C, H + k − 1, W + k − 1]: four contiguous channel groups of
                                                      `splits` channels, zero-padded by (top, left, bottom, right) in
                                                      the 16 `pads`
BoundaryPad       x           modes, pads             y: the last len(modes) axes of x extended by `pads` (begins, then
                                                      ends), each with a border of its own: BORDERS[mode]
…1d, …3d                                              RectificationMap and Rectify along one and three axes
MaskedCount       mask        window                  u [N, 1, …] float32: the sum of mask [N, 1, …] over each window
MaskedRectify     y, u, bias  numerator, empty_bias   z = y·numerator/u + bias where u > 0; elsewhere 0, or bias if
                                                      empty_bias is 1
CRelu             x           axis                    y = concat(relu(x), relu(−x)) along axis
NegConcat         x           axis                    y = concat(x, −x) along axis

BoundaryPad takes x [N, C, …] with one, two or three axes behind the channels, any element type. Beyond the border stand
zeros (zeros), the opposite side (circular), the axis mirrored without or with its last element repeated (reflect,
symmetric), the last element (replicate), or the rows of a globe beyond its poles (poles, pole_points): symmetric and
reflect, turned by half of the last axis. circular, symmetric and poles reach at most the axis's size, reflect and
pole_points one less. Axes do not depend on each other, but for a turn, which comes before the last axis is extended.

Elsewhere x [N, C_in, H, W], y and z [N, C, H_out, W_out], bias [C]; window is kernel_shape, strides, pads and
dilations, as Conv has them. numerator is m·n, the taps of a kernel, or 1. Along one and three axes, v is the product of
one count for each axis, r and its axes are [1, 1, L_out] and [1, 1, D_out, H_out, W_out].

Sources: RectificationMap, Rectify: Rectified Convolution (Zhang), eq. (4) with numerator m·n (sum), eq. (6) with 1
(average). MaskedCount, MaskedRectify: Image Inpainting for Irregular Holes Using Partial Convolutions (Liu et al.),
eqs. (1) and (2). SymmetricPad: Convolution with even-sized kernels and symmetric padding (Wu et al.). CRelu:
Understanding and Improving CNNs via Concatenated Rectified Linear Units (Shang et al.). NegConcat: PVANET (Kim et al.).
BoundaryPad: torch.nn.functional.pad, numpy.pad, and the padding modules of weather models (PeriodicPad2d,
GeoCyclicPadding).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import onnx
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, helper, parser

DOMAIN = "rectexport"
VERSION = 1
#: How the domain of the standard operators is written; graphsurgeon leaves it out where a node has none.
STANDARD_DOMAINS = (None, "", "ai.onnx")
#: Standard operators that draw random numbers; Dropout does only in training.
RANDOM = (
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
)
#: Kinds of border, by the number that stands for each in a BoundaryPad's `modes`.
BORDERS = ("zeros", "circular", "reflect", "replicate", "symmetric", "poles", "pole_points")
ZEROS, CIRCULAR, REFLECT, REPLICATE, SYMMETRIC, POLES, POLE_POINTS = range(len(BORDERS))
#: The oldest standard operator set that the bodies can be written in.
LEAST_OPSET = 18

#: Operators of rectification, by the number of axes behind the channels. TensorRT's plugin has the name of planes' one.
RECTIFIES = {1: "Rectify1d", 2: "Rectify", 3: "Rectify3d"}
RECTIFICATION_MAPS = {1: "RectificationMap1d", 2: "RectificationMap", 3: "RectificationMap3d"}

_WINDOW = "kernel_shape, strides, pads, dilations"
#: How the body calls the counts of each axis, the last three.
_VECTORS = ("plane", "column", "row")

# Taps of an axis: tap i of output o reads start + i*d with start = o*stride - pad. ceil(-start/d) taps read below 0,
# and floor((size - 1 - start)/d) + 1 read below `size`; both are clamped to 0..kernel. ONNX divides integers towards
# zero, which differs from floor and ceil only where the clamp decides the result.
_AXIS_TAPS = """
  size_{a} = Gather (in_size, axis_{a})
  out_{a} = Gather (out_size, axis_{a})
  kernel_{a} = Gather (kernel, axis_{a})
  stride_{a} = Gather (stride, axis_{a})
  dilation_{a} = Gather (dilation, axis_{a})
  pad_{a} = Gather (pad, axis_{a})
  index_{a} = Range (zero, out_{a}, one)
  step_{a} = Mul (index_{a}, stride_{a})
  start_{a} = Sub (step_{a}, pad_{a})
  past_{a} = Sub (dilation_{a}, one)
  before_{a} = Sub (past_{a}, start_{a})
  ceil_{a} = Div (before_{a}, dilation_{a})
  skipped_{a} = Max (ceil_{a}, zero)
  room_{a} = Sub (size_{a}, start_{a})
  reach_{a} = Add (room_{a}, past_{a})
  count_{a} = Div (reach_{a}, dilation_{a})
  fitting_{a} = Min (count_{a}, kernel_{a})
  inside_{a} = Sub (fitting_{a}, skipped_{a})
  taps_{a} = Max (inside_{a}, zero)
"""


def _factors(count: int) -> str:
    """r of `count` axes, as `factors`.

    Part of both bodies, because TensorRT resolves attribute references of one level only.
    """
    axes = "\n".join(f"  axis_{a} = Constant <value_int = {a}> ()" for a in range(count))
    vectors = "\n".join(
        f"  {name}_shape = Constant <value_ints = {[1, 1, *(-1 if other == a else 1 for other in range(count))]}> ()"
        for a, name in enumerate(_VECTORS[-count:])
    )
    reshaped = "\n".join(f"  {name} = Reshape (taps_{a}, {name}_shape)" for a, name in enumerate(_VECTORS[-count:]))
    product = {
        1: "  taps = Identity (row)",
        2: "  taps = Mul (column, row)",
        3: "  area = Mul (column, row)\n  taps = Mul (plane, area)",
    }[count]
    return f"""
  in_size = Shape <start = 2, end = {2 + count}> (x)
  out_size = Shape <start = 2, end = {2 + count}> (y)
  kernel = Constant <value_ints: ints = @kernel_shape> ()
  stride = Constant <value_ints: ints = @strides> ()
  pad = Constant <value_ints: ints = @pads> ()
  dilation = Constant <value_ints: ints = @dilations> ()
  total = Constant <value_int: int = @numerator> ()
  zero = Constant <value_int = 0> ()
  one = Constant <value_int = 1> ()
{axes}
{"".join(_AXIS_TAPS.format(a=a) for a in range(count))}
{vectors}
{reshaped}
{product}
  empty = Equal (taps, zero)
  divisor = Max (taps, one)
  taps_float = Cast <to = 1> (divisor)
  total_float = Cast <to = 1> (total)
  ratio = Div (total_float, taps_float)
  zero_float = Cast <to = 1> (zero)
  factors = Where (empty, zero_float, ratio)
"""


def _rectification_map(count: int) -> str:
    return f"""
{RECTIFICATION_MAPS[count]} <{_WINDOW}, numerator> (x, y) => (r) {{
{_factors(count).replace("factors =", "r =")}
}}
"""


def _rectify(count: int) -> str:
    return f"""
{RECTIFIES[count]} <{_WINDOW}, numerator, empty_bias, biased: int = 0> (y, x, bias) => (z) {{
{_factors(count)}
  r = CastLike (factors, y)
  scaled = Mul (y, r)
  channel_shape = Constant <value_ints = {[1, -1, *[1] * count]}> ()
  shift = Reshape (bias, channel_shape)
  always = Constant <value_int: int = @empty_bias> ()
  everywhere = Cast <to = 9> (always)
  covered = Cast <to = 9> (factors)
  shown = Or (everywhere, covered)
  mask = CastLike (shown, y)
  held = Constant <value_int: int = @biased> ()
  share = CastLike (held, y)
  taken = Mul (r, share)
  added = Sub (mask, taken)
  masked = Mul (shift, added)
  z = Add (scaled, masked)
}}
"""


def _rectify_in_float32(count: int) -> str:
    """The same for y in half precision: factors are exact in float32 only (49/20), so it computes in float32."""
    return f"""
{RECTIFIES[count]} <{_WINDOW}, numerator, empty_bias, biased: int = 0> (y, x, bias) => (z) {{
{_factors(count)}
  y_float = Cast <to = 1> (y)
  scaled = Mul (y_float, factors)
  channel_shape = Constant <value_ints = {[1, -1, *[1] * count]}> ()
  shift = Reshape (bias, channel_shape)
  shift_float = Cast <to = 1> (shift)
  always = Constant <value_int: int = @empty_bias> ()
  everywhere = Cast <to = 9> (always)
  covered = Cast <to = 9> (factors)
  shown = Or (everywhere, covered)
  mask = Cast <to = 1> (shown)
  held = Constant <value_int: int = @biased> ()
  share = Cast <to = 1> (held)
  taken = Mul (factors, share)
  added = Sub (mask, taken)
  masked = Mul (shift_float, added)
  sum = Add (scaled, masked)
  z = CastLike (sum, y)
}}
"""


def _symmetric_pad() -> str:
    groups = "\n".join(
        f"""
  begin_{i} = Constant <value_ints = [{4 * i}]> ()
  middle_{i} = Constant <value_ints = [{4 * i + 2}]> ()
  end_{i} = Constant <value_ints = [{4 * i + 4}]> ()
  before_{i} = Slice (pad, begin_{i}, middle_{i})
  after_{i} = Slice (pad, middle_{i}, end_{i})
  pads_{i} = Concat <axis = 0> (none, before_{i}, none, after_{i})
  padded_{i} = Pad (group_{i}, pads_{i})"""
        for i in range(4)
    )
    return f"""
SymmetricPad <splits, pads> (x) => (y) {{
  sizes = Constant <value_ints: ints = @splits> ()
  pad = Constant <value_ints: ints = @pads> ()
  none = Constant <value_ints = [0, 0]> ()
  group_0, group_1, group_2, group_3 = Split <axis = 1> (x, sizes)
{groups}
  y = Concat <axis = 1> (padded_0, padded_1, padded_2, padded_3)
}}
"""


# What an axis holds at place p: sign·p + c beyond either side, c linear in its size, by mode; p itself inside.
_BOUNDARY_AXIS = """
  size_{i} = Gather (sizes, place_{i})
  mode_{i} = Gather (kinds, place_{i})
  begin_{i} = Gather (begins, place_{i})
  end_{i} = Gather (ends, place_{i})
  first_{i} = Neg (begin_{i})
  stop_{i} = Add (size_{i}, end_{i})
  at_{i} = Range (first_{i}, stop_{i}, one)
  sign_{i} = Gather (signs, mode_{i})
  signed_{i} = Mul (at_{i}, sign_{i})
  low_share_{i} = Gather (low_shares, mode_{i})
  low_size_{i} = Mul (low_share_{i}, size_{i})
  low_offset_{i} = Gather (low_offsets, mode_{i})
  low_{i} = Add (low_size_{i}, low_offset_{i})
  low_at_{i} = Add (signed_{i}, low_{i})
  high_share_{i} = Gather (high_shares, mode_{i})
  high_size_{i} = Mul (high_share_{i}, size_{i})
  high_offset_{i} = Gather (high_offsets, mode_{i})
  high_{i} = Add (high_size_{i}, high_offset_{i})
  high_at_{i} = Add (signed_{i}, high_{i})
  under_{i} = Less (at_{i}, zero)
  within_{i} = Less (at_{i}, size_{i})
  upper_{i} = Where (within_{i}, at_{i}, high_at_{i})
  from_{i} = Where (under_{i}, low_at_{i}, upper_{i})
  over_{i} = Not (within_{i})
  beyond_{i} = Or (under_{i}, over_{i})
  empty_{i} = Equal (mode_{i}, zero)
  void_{i} = And (beyond_{i}, empty_{i})
"""

_BOUNDARY_PAD = f"""
BoundaryPad <modes, pads> (x) => (y) {{
  mode = Constant <value_ints: ints = @modes> ()
  pad = Constant <value_ints: ints = @pads> ()
  none = Constant <value_ints = [0, 0, 0]> ()
  first = Constant <value_ints = [0]> ()
  last = Constant <value_ints = [9223372036854775807]> ()
  three = Constant <value_ints = [-3]> ()
  zero = Constant <value_int = 0> ()
  one = Constant <value_int = 1> ()
  place_0 = Constant <value_int = 0> ()
  place_1 = Constant <value_int = 1> ()
  place_2 = Constant <value_int = 2> ()
  signs = Constant <value_ints = [0, 1, -1, 0, -1, -1, -1]> ()
  low_shares = Constant <value_ints = [0, 1, 0, 0, 0, 0, 0]> ()
  low_offsets = Constant <value_ints = [0, 0, 0, 0, -1, -1, 0]> ()
  high_shares = Constant <value_ints = [0, -1, 2, 1, 2, 2, 2]> ()
  high_offsets = Constant <value_ints = [0, 0, -2, -1, -1, -1, -2]> ()
  turned_modes = Constant <value_ints = [0, 0, 0, 0, 0, 1, 1]> ()
  count = Shape (mode)
  all_begins = Slice (pad, first, count)
  all_ends = Slice (pad, count, last)
  long_begins = Concat <axis = 0> (none, all_begins)
  begins = Slice (long_begins, three, last)
  long_ends = Concat <axis = 0> (none, all_ends)
  ends = Slice (long_ends, three, last)
  long_modes = Concat <axis = 0> (none, mode)
  kinds = Slice (long_modes, three, last)
  sizes = Shape <start = -3> (x)
{"".join(_BOUNDARY_AXIS.format(i=i) for i in range(3))}
  columns = Range (zero, size_2, one)
  two = Add (one, one)
  half = Div (size_2, two)
  back = Sub (columns, half)
  around = Add (back, size_2)
  wrapped = Less (back, zero)
  turn = Where (wrapped, around, back)
  turned = Gather <axis = -1> (x, turn)
  both = Concat <axis = -2> (x, turned)
  turns = Gather (turned_modes, mode_1)
  distance = Mul (turns, size_1)
  farther = Add (from_1, distance)
  rows = Where (beyond_1, farther, from_1)
  upright = Gather <axis = -2> (both, rows)
  deep = Gather <axis = -3> (upright, from_0)
  extended = Gather <axis = -1> (deep, from_2)
  column_axis = Constant <value_ints = [-1, 1]> ()
  plane_axis = Constant <value_ints = [-1, 1, 1]> ()
  void_rows = Reshape (void_1, column_axis)
  void_planes = Reshape (void_0, plane_axis)
  void_lines = Or (void_planes, void_rows)
  void = Or (void_lines, void_2)
  nothing = CastLike (zero, x)
  y = Where (void, nothing, extended)
}}
"""

_CRELU = """
CRelu <axis> (x) => (y) {
  positive = Relu (x)
  negated = Neg (x)
  negative = Relu (negated)
  y = Concat <axis: int = @axis> (positive, negative)
}
"""

_NEG_CONCAT = """
NegConcat <axis> (x) => (y) {
  negated = Neg (x)
  y = Concat <axis: int = @axis> (x, negated)
}
"""

_MASKED_COUNT = f"""
MaskedCount <{_WINDOW}> (mask) => (u) {{
  known = Cast <to = 1> (mask)
  taps = Constant <value_ints: ints = @kernel_shape> ()
  alone = Constant <value_ints = [1, 1]> ()
  shape = Concat <axis = 0> (alone, taps)
  one = Constant <value_float = 1.0> ()
  ones = Expand (one, shape)
  u = Conv <strides: ints = @strides, pads: ints = @pads, dilations: ints = @dilations> (known, ones)
}}
"""

_MASKED_RECTIFY = """
MaskedRectify <numerator, empty_bias> (y, u, bias) => (z) {
  total = Constant <value_int: int = @numerator> ()
  total_float = Cast <to = 1> (total)
  zero = Constant <value_float = 0.0> ()
  one = Constant <value_float = 1.0> ()
  known = Greater (u, zero)
  divisor = Where (known, u, one)
  quotient = Div (total_float, divisor)
  ratio = Where (known, quotient, zero)
  factors = CastLike (ratio, y)
  scaled = Mul (y, factors)
  sizes = Shape <start = 2> (u)
  same = Equal (sizes, sizes)
  ones = Cast <to = 7> (same)
  channels = Constant <value_ints = [1, -1]> ()
  column = Concat <axis = 0> (channels, ones)
  shift = Reshape (bias, column)
  always = Constant <value_int: int = @empty_bias> ()
  everywhere = Cast <to = 9> (always)
  shown = Or (everywhere, known)
  mask = CastLike (shown, y)
  masked = Mul (shift, mask)
  z = Add (scaled, masked)
}
"""

BODIES = {
    **{name: _rectification_map(count) for count, name in RECTIFICATION_MAPS.items()},
    **{name: _rectify(count) for count, name in RECTIFIES.items()},
    "MaskedCount": _MASKED_COUNT,
    "MaskedRectify": _MASKED_RECTIFY,
    "SymmetricPad": _symmetric_pad(),
    "BoundaryPad": _BOUNDARY_PAD,
    "CRelu": _CRELU,
    "NegConcat": _NEG_CONCAT,
}

_INTS: int = onnx.AttributeProto.INTS
_INT: int = onnx.AttributeProto.INT
_COUNT_KINDS = {"kernel_shape": _INTS, "strides": _INTS, "pads": _INTS, "dilations": _INTS}
_WINDOW_KINDS = {**_COUNT_KINDS, "numerator": _INT}
#: Inputs, output and attribute kinds of each operator.
SIGNATURES: dict[str, tuple[tuple[str, ...], str, dict[str, int]]] = {
    **dict.fromkeys(RECTIFICATION_MAPS.values(), (("x", "y"), "r", _WINDOW_KINDS)),
    **dict.fromkeys(
        RECTIFIES.values(), (("y", "x", "bias"), "z", {**_WINDOW_KINDS, "empty_bias": _INT, "biased": _INT})
    ),
    "MaskedCount": (("mask",), "u", _COUNT_KINDS),
    "MaskedRectify": (("y", "u", "bias"), "z", {"numerator": _INT, "empty_bias": _INT}),
    "SymmetricPad": (("x",), "y", {"splits": _INTS, "pads": _INTS}),
    "BoundaryPad": (("x",), "y", {"modes": _INTS, "pads": _INTS}),
    "CRelu": (("x",), "y", {"axis": _INT}),
    "NegConcat": (("x",), "y", {"axis": _INT}),
}

#: Attributes that a node may leave out, and their values then.
DEFAULTS = {"biased": 0}


@cache
def function(name: str, opset: int) -> FunctionProto:
    """The body of one operator in standard ops of `opset`, which must equal the model's."""
    return _parsed(BODIES[name], opset)


def _parsed(body: str, opset: int) -> FunctionProto:
    """A body whose tensors are named after it: TensorRT 10.1 reads an outer tensor of the same name instead."""
    found = parser.parse_function(f'<domain: "{DOMAIN}", opset_import: ["" : {opset}, "{DOMAIN}" : {VERSION}]>{body}')
    for names in (found.input, found.output, *(entry for node in found.node for entry in (node.input, node.output))):
        names[:] = [f"{DOMAIN}.{found.name}.{name}" for name in names]
    return found


def default_opset(model: ModelProto) -> int:
    """Version of the standard operator set that the model imports."""
    return next((entry.version for entry in model.opset_import if entry.domain in STANDARD_DOMAINS), 1)


def used_operators(model: ModelProto) -> list[str]:
    """Names of the dialect's operators that the model uses, sorted."""
    return sorted({node.op_type for node in dialect_nodes(model.graph) if node.op_type in BODIES})


def dialect_nodes(graph: GraphProto) -> Iterator[NodeProto]:
    """The dialect's nodes of a graph and of the branches and loop bodies in it."""
    for node in graph.node:
        if node.domain == DOMAIN:
            yield node
    for inner in _subgraphs(graph):
        yield from dialect_nodes(inner)


def read_in_subgraphs(graph: GraphProto) -> set[str]:
    """Names that the branches and loop bodies of a graph read."""
    names: set[str] = set()
    for inner in _subgraphs(graph):
        names.update(name for node in inner.node for name in node.input)
        names.update(value.name for value in inner.output)
        names |= read_in_subgraphs(inner)
    return names


def _subgraphs(graph: GraphProto) -> Iterator[GraphProto]:
    for attribute in (entry for node in graph.node for entry in node.attribute):
        yield from (attribute.g, *attribute.graphs) if attribute.HasField("g") else attribute.graphs


def attach_functions(model: ModelProto) -> None:
    """Give the model exactly the function bodies that its dialect nodes need, and the opset import; in place."""
    needed = used_operators(model)
    others = [entry for entry in model.functions if entry.domain != DOMAIN]
    opset = default_opset(model)
    del model.functions[:]
    model.functions.extend([*others, *(function(name, opset) for name in needed)])
    imports = [entry for entry in model.opset_import if entry.domain != DOMAIN]
    del model.opset_import[:]
    model.opset_import.extend(imports)
    if needed:
        model.opset_import.append(helper.make_opsetid(DOMAIN, VERSION))


def with_defaults(model: ModelProto) -> ModelProto:
    """The model with every attribute that its dialect nodes leave out: onnx's inliner leaves a default out too."""
    missing = [
        (position, name)
        for position, node in enumerate(dialect_nodes(model.graph))
        for name in DEFAULTS.keys() & SIGNATURES.get(node.op_type, ((), "", {}))[2].keys() - attributes(node).keys()
    ]
    if not missing:
        return model
    filled = ModelProto()
    filled.CopyFrom(model)
    nodes = list(dialect_nodes(filled.graph))
    for position, name in missing:
        nodes[position].attribute.append(helper.make_attribute(name, DEFAULTS[name]))
    return filled


def compute_in_float32(model: ModelProto) -> None:
    """Make the bodies of Rectify compute in float32, for a model in half precision; in place."""
    counts = {name: count for count, name in RECTIFIES.items()}
    for entry in model.functions:
        if entry.domain == DOMAIN and entry.name in counts:
            entry.CopyFrom(_parsed(_rectify_in_float32(counts[entry.name]), default_opset(model)))


def attributes(node: Any) -> dict[str, Any]:
    """Attributes of a NodeProto as plain values; ints lists as tuples."""
    values = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
