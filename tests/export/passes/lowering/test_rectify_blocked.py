"""Rectification in the blocked layout: equal bits, and no change of layout in what ONNX Runtime makes of the graph."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from rectexport.exporter.graph import dialect
from rectexport.exporter.graph.shapes import infer_shapes
from rectexport.exporter.passes import PassContext, lower, select_passes
from rectexport.exporter.passes.lowering.machinery.tuning import ForcedForm, finished
from rectexport.exporter.passes.order import LOWER

PLAIN = {
    "kernel": 3, "strides": (1, 1), "pads": (1, 1, 1, 1), "dilation": 1, "groups": 1, "batch": 1, "size": (9, 7),
    "channels": 16, "outputs": 16, "bias": True, "numerator": 9, "skip": False,
}  # fmt: skip


def build(*layers, name=None, empty_bias=1):
    """Rectified convolutions in a row, ReLU behind each, in float32; `skip` adds the layer's input before the ReLU."""
    first, rng = {**PLAIN, **layers[0]}, np.random.default_rng(0)
    nodes, values, last = [], {}, "x"
    for index, change in enumerate(layers):
        case = {**first, **change}
        shape = (case["outputs"], case["channels"] // case["groups"], case["kernel"], case["kernel"])
        bias = rng.standard_normal(case["outputs"]) if case["bias"] else np.zeros(case["outputs"])
        values |= {f"w{index}": rng.standard_normal(shape) / 10, f"b{index}": bias}
        window = {"strides": case["strides"], "pads": case["pads"], "dilations": (case["dilation"],) * 2}
        nodes.append(helper.make_node("Conv", [last, f"w{index}"], [f"y{index}"], group=case["groups"], **window))
        attrs = {"kernel_shape": (case["kernel"],) * 2, "numerator": case["numerator"], "empty_bias": empty_bias}
        inputs = [f"y{index}", last, f"b{index}"]
        nodes.append(helper.make_node("Rectify", inputs, [f"z{index}"], domain=dialect.DOMAIN, **window, **attrs))
        if case["skip"]:
            nodes.append(helper.make_node("Add", [f"z{index}", last], [f"s{index}"]))
        last = f"u{index}" if index < len(layers) - 1 else "out"
        nodes.append(helper.make_node("Relu", [nodes[-1].output[0]], [last]))
    shape = [name or first["batch"], first["channels"], *first["size"]]
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value.astype(np.float32), key) for key, value in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    dialect.attach_functions(model)
    return infer_shapes(model), (first["batch"], *shape[1:])


def blocked(model):
    """The model with every form taken that is exact, and the decisions."""
    lowered, _, decisions = lower(model, ForcedForm("blocked"))
    return finished(lowered), decisions


def run(model, shape, optimized_file=None):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if optimized_file is None:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    else:
        options.optimized_model_filepath = str(optimized_file)
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.random.default_rng(1).standard_normal(shape, np.float32)})[0]


def optimized(model, shape, folder):
    """How often each operator occurs in the graph that ONNX Runtime runs."""
    run(model, shape, folder / "optimized.onnx")
    graph = onnx.load(folder / "optimized.onnx").graph
    return Counter(node.op_type for node in graph.node)


@st.composite
def cases(draw):
    kernel, dilation = draw(st.integers(1, 7)), draw(st.integers(1, 2))
    reach = (kernel - 1) * dilation
    return {
        "kernel": kernel,
        "dilation": dilation,
        "strides": (draw(st.integers(1, 2)), draw(st.integers(1, 2))),
        "pads": tuple(draw(st.integers(0, min(reach, 4))) for _ in range(4)),
        "size": tuple(draw(st.integers(reach + 1, reach + 12)) for _ in range(2)),
        "groups": draw(st.sampled_from((1, 16))),
        "batch": draw(st.integers(1, 3)),
        "bias": draw(st.booleans()),
        "numerator": draw(st.sampled_from((kernel**2, 1))),
    }


@settings(max_examples=40)
@given(case=cases(), named=st.booleans())
def test_the_bits_are_those_of_the_form_as_written(case, named):
    model, shape = build(case, name="n" if named else None)
    lowered, (decision,) = blocked(model)
    if decision.taken == "blocked":
        np.testing.assert_array_equal(run(lowered, shape), run(finished(model), shape))
    else:
        scaled = any(node.op_type == "Mul" for node in finished(model).graph.node)
        padding = "some windows lie wholly inside the padding"
        assert decision.considered[-1].refusal == (padding if scaled else "r is 1 everywhere")


@pytest.mark.parametrize(
    ("layers", "name", "more"),
    [
        (({}, {}, {}), None, {"DequantizeLinear": 1, "Conv": 7}),
        (({"batch": 3}, {}), None, {"DequantizeLinear": 1, "Expand": 1, "Conv": 5}),
        (({"batch": 2}, {}), "n", {"DequantizeLinear": 1, "Expand": 1, "Shape": 1, "Concat": 1, "Conv": 5}),
        (({}, {"skip": True}, {"skip": True}), None, {"DequantizeLinear": 1, "Conv": 7}),
        (({}, {"strides": (2, 2), "outputs": 32}), None, {"DequantizeLinear": 2, "Conv": 6}),
        (({"kernel": 5, "pads": (2,) * 4, "numerator": 25}, {}), None, {"DequantizeLinear": 1, "Div": 1, "Conv": 5}),
    ],
    ids=["chain", "batch", "open batch", "residual", "stride", "kernel 5"],
)
def test_onnxruntime_stays_in_the_blocked_layout(layers, name, more, tmp_path):
    model, shape = build(*layers, name=name)
    lowered, decisions = blocked(model)
    assert {decision.taken for decision in decisions} == {"blocked"}
    found = optimized(lowered, shape, tmp_path)
    assert found == {"ReorderInput": 1, "ReorderOutput": 1, "Mul": len(layers), **more}
    as_written = optimized(finished(model), shape, tmp_path)
    assert as_written["ReorderOutput"] > 1 and as_written["ReorderInput"] > 1, "it stays in the layout by itself now"
    np.testing.assert_array_equal(run(lowered, shape), run(finished(model), shape))


def test_no_bias_needs_no_last_convolution():
    model, shape = build({"bias": False})
    lowered, _ = blocked(model)
    assert Counter(node.op_type for node in lowered.graph.node)["Conv"] == 2
    np.testing.assert_array_equal(run(lowered, shape), run(finished(model), shape))


@pytest.mark.parametrize(
    ("change", "settings", "reason"),
    [
        ({"outputs": 24}, {}, "channels in multiples of 16"),
        ({"channels": 12}, {}, "channels in multiples of 16"),
        ({"channels": 16, "groups": 2}, {}, "channels in multiples of 16"),
        ({"pads": (0,) * 4}, {}, "r is 1 everywhere"),
        ({"pads": (3,) * 4}, {"empty_bias": 0}, "some windows lie wholly inside the padding"),
        ({"size": ("h", "w")}, {}, "H, W dynamic"),
    ],
)
def test_refused_where_it_would_not_stay_in_the_layout_or_not_be_exact(change, settings, reason):
    model, _ = build(change, **settings)
    _, (decision,) = blocked(model)
    assert decision.taken == "as_written" and reason in decision.considered[-1].refusal


def test_the_batch_must_be_that_of_an_input():
    model, _ = build({}, name="n")
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "m"
    _, (decision,) = blocked(model)
    assert "no input of the model has it" in decision.considered[-1].refusal


@pytest.mark.parametrize(
    ("context", "taken"),
    [
        (PassContext("onnxruntime", measured=ForcedForm("blocked")), True),
        (PassContext("onnxruntime", precision="fp16", measured=ForcedForm("blocked")), False),
        (PassContext("openvino"), False),
        (PassContext("tensorrt"), False),
        (PassContext("portable"), False),
    ],
    ids=["fp32", "fp16", "openvino", "tensorrt", "portable"],
)
def test_only_float32_for_onnxruntime_takes_it(context, taken):
    model, _ = build({"size": (32, 32)})
    for entry in select_passes(context, stages=(LOWER,)):
        model, _ = entry.run(model)
    assert ({decision.taken for decision in context.decisions} == {"blocked"}) == taken
