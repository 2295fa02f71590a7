"""Conditions of facts that attributes and dtypes alone cannot state, by the name that facts.json uses."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from onnx import NodeProto

from rectexport.exporter.engine_facts.view import View, attributes
from rectexport.exporter.engine_facts.window import pool_axes

Condition = Callable[[NodeProto, View], bool]


def padded(node: NodeProto, view: View) -> bool:
    """Any padding."""
    return any(attributes(node).get("pads", []))


def not_padded(node: NodeProto, view: View) -> bool:
    """No padding."""
    return not padded(node, view)


def last_window_left_out(node: NodeProto, view: View) -> bool:
    """The last window of a pool with ceil_mode begins behind the input, or may."""
    values, shape = attributes(node), view.shape(node.input[0])
    kernel = values.get("kernel_shape", [])
    sizes = None if shape is None else shape[2:]
    rest = (values.get(name, []) for name in ("strides", "pads", "dilations"))
    axes = pool_axes(sizes, kernel, *rest)
    return any(not axis.never_left_out and (axis.size is None or axis.left_out) for axis in axes)


def dilated(node: NodeProto, view: View) -> bool:
    """A dilation above 1."""
    return any(step > 1 for step in attributes(node).get("dilations", []))


def weight_of_another_kind(node: NodeProto, view: View) -> bool:
    """The weight of a transposed convolution is also that of a convolution."""
    weight = node.input[1]
    while (maker := view.maker(weight)) is not None and maker.op_type == "Identity":
        weight = maker.input[0]
    names = [weight, *(name for entry in view.readers(weight) if entry.op_type == "Identity" for name in entry.output)]
    return any(entry.op_type == "Conv" and name == entry.input[1] for name in names for entry in view.readers(name))


def second_output(node: NodeProto, view: View) -> bool:
    """A second output is used."""
    return len(node.output) > 1 and bool(node.output[1])


def no_axes(node: NodeProto, view: View) -> bool:
    """Neither an input nor an attribute gives axes."""
    return len(node.input) < 2 and "axes" not in attributes(node)


def axes_are_an_input(node: NodeProto, view: View) -> bool:
    """Axes are given as an input, as from opset 18 on."""
    return len(node.input) > 1 and bool(node.input[1])


def transform_along_another_axis(node: NodeProto, view: View) -> bool:
    """A DFT of opset 20 along an axis other than 1."""
    if view.opset < 20:
        return False
    given = view.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    shape = view.shape(node.input[0])
    axis = -2 if given is None else int(given)
    return axis != 1 and (shape is None or axis % len(shape) != 1)


def signed_behind_concat(node: NodeProto, view: View) -> bool:
    """int8 is quantized from the output of a Concat."""
    maker = view.maker(node.input[0])
    zero = node.input[2] if len(node.input) > 2 else ""
    return maker is not None and maker.op_type == "Concat" and view.dtype(zero) == "int8"


def nonzero_zero_point(node: NodeProto, view: View) -> bool:
    """A zero point other than 0."""
    zero = view.constant(node.input[2]) if len(node.input) > 2 else None
    return zero is not None and bool(zero.any())


def integer_bias(node: NodeProto, view: View) -> bool:
    """The bias of a convolution comes from int32 by DequantizeLinear."""
    maker = view.maker(node.input[2]) if len(node.input) > 2 else None
    return maker is not None and maker.op_type == "DequantizeLinear" and view.dtype(maker.input[0]) == "int32"


def even_size(node: NodeProto, view: View) -> bool:
    """An even attribute size."""
    return attributes(node).get("size", 1) % 2 == 0


def broken_bias(node: NodeProto, view: View) -> bool:
    """An attribute bias that is no whole number."""
    bias = attributes(node).get("bias", 1.0)
    return bool(bias != round(bias))


def clips_quantized(node: NodeProto, view: View) -> bool:
    """Cuts off what a DequantizeLinear gives, at a stored bound that is no whole number of steps."""
    maker = view.maker(node.input[0])
    scale = view.constant(maker.input[1]) if maker is not None and maker.op_type == "DequantizeLinear" else None
    bounds = [view.constant(name) for name in node.input[1:] if name]
    if scale is None or scale.size != 1:
        return False
    steps = [float(bound.reshape(-1)[0] / scale.reshape(-1)[0]) for bound in bounds if bound is not None and bound.size]
    return any(abs(count - round(count)) > 1e-3 for count in steps)


def many(node: NodeProto, view: View) -> bool:
    """A TopK of 3840 and more."""
    count = view.constant(node.input[1])
    return count is not None and int(count.reshape(-1)[0]) >= 3840


def small_results_count(node: NodeProto, view: View) -> bool:
    """A logarithm, root, reciprocal or power is taken of the output, or something is divided by it."""
    names = [node.output[0]]
    names += [name for entry in view.readers(names[0]) if entry.op_type == "Identity" for name in entry.output]
    places = {"Log": 0, "Sqrt": 0, "Reciprocal": 0, "Pow": 0, "Div": 1}
    pairs = ((entry, name) for name in names for entry in view.readers(name) if entry.op_type in places)
    return any(entry.input[places[entry.op_type]] == name for entry, name in pairs)


def _by_name(conditions: Iterable[Condition]) -> dict[str, Condition]:
    return {condition.__name__: condition for condition in conditions}


CONDITIONS = _by_name(
    (
        padded,
        not_padded,
        last_window_left_out,
        dilated,
        weight_of_another_kind,
        second_output,
        no_axes,
        axes_are_an_input,
        transform_along_another_axis,
        signed_behind_concat,
        nonzero_zero_point,
        integer_bias,
        even_size,
        broken_bias,
        clips_quantized,
        many,
        small_results_count,
    )
)
