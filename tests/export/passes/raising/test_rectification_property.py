"""Any geometry: a convolution times its own map is raised, and one pixel off is not."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from rectexport.exporter.graph.dialect import attributes
from rectexport.exporter.passes.raising import raise_model
from rectexport.plugins import reference


@st.composite
def geometries(draw):
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    options = {
        "strides": draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        "pads": draw(st.tuples(*[st.integers(0, 4)] * 4)),
        "dilations": draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
    }
    size = draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    for axis in (0, 1):
        reach = (kernel[axis] - 1) * options["dilations"][axis] + 1
        assume(size[axis] + options["pads"][axis] + options["pads"][axis + 2] >= reach)
    return size, kernel, options


def build(size, kernel, options, r, bias_mode, groups):
    """conv, map, bias: float32 [1, 4, H, W] -> [1, 6, H_out, W_out]."""
    random = np.random.default_rng(0)
    arrays = {"w": random.standard_normal((6, 4 // groups, *kernel)), "r": r[None, None]}
    arrays["b"] = random.standard_normal(6 if bias_mode == "inside" else (6, 1, 1))
    attrs = {"group": groups, **{name: list(value) for name, value in options.items()}}
    inputs = ["x", "w", "b"] if bias_mode == "inside" else ["x", "w"]
    nodes = [helper.make_node("Conv", inputs, ["y"], **attrs)]
    if bias_mode == "after":
        nodes += [helper.make_node("Mul", ["y", "r"], ["s"]), helper.make_node("Add", ["s", "b"], ["z"])]
    else:
        nodes += [helper.make_node("Mul", ["y", "r"], ["z"])]
    x = helper.make_tensor_value_info("x", 1, [1, 4, *size])
    z = helper.make_tensor_value_info("z", 1, [None] * 4)
    stored = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "g", [x], [z], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return model, arrays


CASES = {
    "geometry": geometries(),
    "mode": st.sampled_from(["sum", "average"]),
    "bias_mode": st.sampled_from(["inside", "after"]),
    "groups": st.sampled_from([1, 2]),
}


@settings(max_examples=100, deadline=None)
@given(**CASES)
def test_raised_and_equal_to_the_definition(geometry, mode, bias_mode, groups):
    size, kernel, options = geometry
    r = reference.rectification_map(*size, kernel, mode=mode, **options)
    assume(r.any())  # all padding: the map is zero and says nothing about its mode
    model, arrays = build(size, kernel, options, r, bias_mode, groups)
    raised, results = raise_model(model)
    assert [node.op_type for node in raised.graph.node] == ["Conv", "Rectify"], results[-1].refused
    found = attributes(raised.graph.node[1])
    assert found["kernel_shape"] == kernel and found["pads"] == options["pads"]
    x = np.random.default_rng(1).standard_normal((1, 4, *size)).astype(np.float32)
    # onnx.reference knows no defaults of a function's attributes.
    raised.graph.node[1].attribute.append(helper.make_attribute("biased", 0))
    (z,) = ReferenceEvaluator(raised).run(None, {"x": x})
    bias = arrays["b"].reshape(-1)
    expected = reference.rectified_conv2d(
        x,
        arrays["w"].astype(np.float32),
        bias.astype(np.float32),
        groups=groups,
        mode=mode,
        bias_mode=bias_mode,
        **options,
    )
    assert np.linalg.norm(z - expected) <= 1e-6 * np.linalg.norm(expected)


@settings(max_examples=60, deadline=None)
@given(**CASES, pixel=st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)))
def test_one_pixel_off_is_not_raised(geometry, mode, bias_mode, groups, pixel):
    size, kernel, options = geometry
    r = reference.rectification_map(*size, kernel, mode=mode, **options)
    row, column = pixel[0] % r.shape[0], pixel[1] % r.shape[1]
    assume(r[row, column] > 0)
    r[row, column] *= 1.00001
    model, _ = build(size, kernel, options, r, bias_mode, groups)
    raised, _ = raise_model(model)
    assert raised is model
