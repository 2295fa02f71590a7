"""rectexport.optimize: exact, guarded, for every target."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import parser

import rectexport
from rectexport.exporter import optimize as module
from rectexport.exporter.base.log import Log
from rectexport.exporter.graph import dialect
from rectexport.exporter.optimize import OptimizeOptions, run_optimize
from rectexport.exporter.passes import Code
from rectexport.exporter.passes.lowering import TARGETS, load_costs
from rectexport.exporter.passes.lowering.machinery.costs import CostTable
from rectexport.runtime.engines.onnxruntime_runner import OnnxRuntimeRunner
from rectexport.runtime.errors import BadInput, UsageError
from tests.export.helper import build, normal

NET = """
<ir_version: 9, opset_import: ["" : 18, "rectexport" : 1]>
net (float[N, 3, H, W] x) => (float[N, 4, H2, W2] y) {
  a = Conv <pads = [1, 1, 1, 1]> (x, w1)
  r = rectexport.Rectify <kernel_shape = [3, 3], strides = [1, 1], pads = [1, 1, 1, 1], dilations = [1, 1],
                          numerator = 9, empty_bias = 1> (a, x, b1)
  n = BatchNormalization (r, s, t, m, v)
  c = rectexport.CRelu <axis = 1> (n)
  d = Conv <pads = [1, 1, 1, 1]> (c, w2)
  e = Relu (d)
  p = rectexport.SymmetricPad <splits = [2, 2, 1, 1], pads = [0, 0, 1, 1, 1, 1, 0, 0, 0, 1, 1, 0, 1, 0, 0, 1]> (e)
  y = Conv (p, w3)
}
"""
SHAPES = {
    "w1": (5, 3, 3, 3), "b1": (5,), "s": (5,), "t": (5,), "m": (5,), "v": (5,), "w2": (6, 10, 3, 3), "w3": (4, 6, 2, 2)
}  # fmt: skip


@pytest.fixture
def net():
    model = parser.parse_model(NET)
    rng = np.random.default_rng(0)
    for name, shape in SHAPES.items():
        values = rng.uniform(0.5, 1.5, shape) if name in "sv" else rng.standard_normal(shape)
        model.graph.initializer.append(onnx.numpy_helper.from_array(values.astype(np.float32), name))
    dialect.attach_functions(model)
    return model


def outputs(model, x):
    runner = OnnxRuntimeRunner(model.SerializeToString(), threads=1, optimize=False)
    return runner.run({"x": x})["y"]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("shape", [(1, 3, 9, 12), (2, 3, 1, 1)])
def test_every_target_computes_the_same(net, target, shape):
    before = net.SerializeToString()
    model, results = rectexport.optimize(net, target, shapes={"x": shape})
    assert net.SerializeToString() == before
    assert not any(node.domain for node in model.graph.node) and not model.functions
    assert [entry.name for entry in results if entry.name in ("batch_norm", "lower_crelu", "cleanup")] == [
        "batch_norm", "lower_crelu", "cleanup"
    ]  # fmt: skip
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    expected = outputs(net, x)
    assert np.linalg.norm(outputs(model, x) - expected) <= 1e-6 * np.linalg.norm(expected)


def test_tuning_is_asked_with_the_models_own_sizes(net, monkeypatch):
    asked = {}

    def tuned(model, target, feeds, log):
        asked.update(target=target, shape=feeds["x"].shape)
        return CostTable(target, {}, [])

    monkeypatch.setattr(module, "tuned_costs", tuned)
    run_optimize(net, OptimizeOptions("openvino", tune=True, shapes={"x": (2, 3, 8, 8)}), Log())
    assert asked == {"target": "openvino", "shape": (2, 3, 8, 8)}


def test_decisions_name_every_site(net):
    done = run_optimize(net, OptimizeOptions("portable", shapes={"x": (1, 3, 8, 8)}), Log())
    assert [entry.operator for entry in done.decisions] == ["symmetric_conv", "crelu", "rectify"]


def test_tensorrt_gets_a_mean_that_it_reads_right():
    """TensorRT 8.6 averages over the batch, too, when it meets the ReduceMean of opset 18."""
    text = """
        <ir_version: 9, opset_import: ["" : 18]> net (float[2, 3, 4, 4] x) => (float[2, 3] y)
        <int64[2] axes = {2, 3}> { y = ReduceMean <keepdims = 0> (x, axes) }
    """
    found = {target: rectexport.optimize(parser.parse_model(text), target)[0] for target in ("tensorrt", "openvino")}
    assert [node.op_type for node in found["tensorrt"].graph.node] == ["GlobalAveragePool", "Flatten"]
    assert [node.op_type for node in found["openvino"].graph.node] == ["ReduceMean"]


def old_model(body, opset=11):
    header = f'<ir_version: 7, opset_import: ["" : {opset}]>'
    return parser.parse_model(f"{header} net (float[1, 2, 4, 4] x) => (float[a, b, c, d] y) {{ {body} }}")


def test_an_older_opset_is_converted_where_a_pass_fires():
    model, _ = rectexport.optimize(old_model("n = Neg (x) c = Concat <axis = 1> (x, n) y = Relu (c)"))
    assert dialect.default_opset(model) == dialect.LEAST_OPSET


@pytest.mark.parametrize("opset", [9, 11, 13, 18])
def test_a_model_that_no_pass_touches_stays_byte_for_byte(opset):
    model = old_model("y = Relu (x)", opset)
    model.doc_string, model.model_version, model.domain = "what it is for", 7, "here"
    model.graph.doc_string = "about the graph"
    model.graph.input[0].doc_string = "a picture"
    before = model.SerializeToString()
    done, results = rectexport.optimize(model)
    assert done is not model
    assert done.SerializeToString() == model.SerializeToString() == before
    assert not any(entry.fired for entry in results)


@pytest.mark.parametrize(
    ("opset", "body"),
    [
        (11, "h = Hardmax <axis = 1> (x) n = Neg (h) c = Concat <axis = 1> (h, n) y = Relu (c)"),
        (9, 'y = Upsample <mode = "linear"> (x, s)'),
        (10, 'y = Resize <mode = "linear"> (x, s)'),
    ],
)
def test_a_conversion_that_changes_the_outputs_is_not_made(opset, body):
    model = with_scales(old_model(body, opset))
    done, results = rectexport.optimize(model)
    assert done.SerializeToString() == model.SerializeToString()
    assert [entry.code for result in results for entry in result.refused] == [Code.OPSET]
    assert f"converting it from opset {opset} to 18 changes what it computes" in results[0].refused[0].reason


def with_scales(model, **more):
    stored = {"s": [1, 1, 2, 2], **more}
    read = {name for node in model.graph.node for name in node.input}
    for name, values in stored.items():
        if name in read:
            model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(values, np.float32), name))
    return model


NORMED = "c = Conv <pads = [1, 1, 1, 1]> (x, w) n = BatchNormalization (c, t, t, m, t)"
NORM = {"w": np.random.default_rng(0).standard_normal((2, 2, 3, 3)), "t": [1.5, 0.5], "m": [1, -1]}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("opset", "body", "operators"),
    [
        (9, 'y = Upsample <mode = "linear"> (n, s)', ["Conv", "Upsample"]),
        (
            11,
            "h = Hardmax <axis = 1> (n) k = Neg (h) y = Concat <axis = 1> (h, k)",
            ["Conv", "Hardmax", "Neg", "Concat"],
        ),
    ],
)
def test_passes_run_at_the_old_opset_where_its_conversion_changes_the_outputs(target, opset, body, operators):
    model = with_scales(old_model(f"{NORMED} {body}", opset), **NORM)
    done, results = rectexport.optimize(model, target)
    assert results[0].name == "opset" and "changes what it computes" in results[0].refused[0].reason
    assert [entry.name for entry in results if entry.fired] == ["batch_norm"]
    assert not any(entry.name.startswith("raise") for entry in results)
    assert dialect.default_opset(done) == opset and [node.op_type for node in done.graph.node] == operators
    x = np.random.default_rng(1).standard_normal((1, 2, 4, 4)).astype(np.float32)
    np.testing.assert_allclose(outputs(done, x), outputs(model, x), rtol=1e-5, atol=1e-6)


def test_passes_run_at_the_old_opset_where_onnx_cannot_convert_it():
    statistics = "a = Conv <pads = [1, 1, 1, 1]> (n, w) y = BatchNormalization <spatial = 0> (a, g, g, g, g)"
    model = with_scales(old_model(f"{NORMED} {statistics}", 8), **NORM, g=np.full((2, 4, 4), 2))
    done, results = rectexport.optimize(model)
    assert "opset 8 cannot be converted to 18" in results[0].refused[0].reason
    assert [node.op_type for node in done.graph.node] == ["Conv", "Conv", "BatchNormalization"]
    x = np.random.default_rng(1).standard_normal((1, 2, 4, 4)).astype(np.float32)
    np.testing.assert_allclose(outputs(done, x), outputs(model, x), rtol=1e-5, atol=1e-6)


def test_documentation_survives_passes(net):
    net.doc_string, net.model_version, net.domain = "what it is for", 7, "here"
    net.graph.doc_string, net.graph.input[0].doc_string, net.graph.output[0].doc_string = "graph", "input", "output"
    done, results = rectexport.optimize(net, shapes={"x": (1, 3, 8, 8)})
    assert any(entry.fired for entry in results)
    assert (done.doc_string, done.model_version, done.domain) == ("what it is for", 7, "here")
    graph = done.graph
    assert (graph.doc_string, graph.input[0].doc_string, graph.output[0].doc_string) == ("graph", "input", "output")


def test_given_inputs_are_compared_on():
    header = '<ir_version: 9, opset_import: ["" : 18]>'
    body = "n = Neg (x) c = Concat <axis = 0> (x, n) d = Relu (c) y = Reshape (d, shape)"
    text = f"{header} net (float[3, 2] x, int64[2] shape) => (float[A, B] y) {{ {body} }}"
    model = parser.parse_model(text)
    done, results = rectexport.optimize(model)
    assert done.SerializeToString() == model.SerializeToString()
    assert {entry.code for result in results for entry in result.refused} == {Code.GUARD}
    feeds = {"x": np.arange(6, dtype=np.float32).reshape(3, 2), "shape": np.array([4, 3])}
    done, results = rectexport.optimize(model, feeds=feeds)
    assert any(entry.fired for entry in results)
    with pytest.raises(BadInput, match="could not run with"):
        rectexport.optimize(model, feeds={**feeds, "shape": np.array([5, 3])})


def test_what_cannot_be_optimized(net):
    with pytest.raises(UsageError, match="target='tpu': expected one of onnxruntime"):
        rectexport.optimize(net, "tpu")
    with pytest.raises(UsageError, match="portable cannot be timed here"):
        rectexport.optimize(net, "portable", tune=True)
    with pytest.raises(BadInput, match="could not run with x"):
        rectexport.optimize(net, shapes={"x": (1, 4, 8, 8)})
    text = '<ir_version: 9, opset_import: ["" : 18]> net (float[A, B, C] x) => (float[A, B, C] y) { y = Relu (x) }'
    _, results = rectexport.optimize(parser.parse_model(text))
    assert not any(entry.fired for entry in results), "nothing to compare"
    text = text.replace("y = Relu (x)", "n = Neg (x) c = Concat <axis = 1> (x, n) y = Relu (c)")
    _, results = rectexport.optimize(parser.parse_model(text))
    reasons = [entry.reason for result in results for entry in result.refused]
    assert any("give them, as in shapes={'x': (1, 1, 1" in reason for reason in reasons)


@pytest.mark.parametrize("target", TARGETS)
def test_committed_costs_are_whole(target):
    table = load_costs(target)
    assert table.description
    for entry in table.entries:
        assert set(entry) == {"operator", "form", "kernel", "channels", "size", "batch", "ratio"}
        assert 0 < entry["ratio"] < 100


def test_padding_that_a_convolution_takes_over_is_worth_a_new_model() -> None:
    """Everything else that is only tidied leaves the model as it came."""
    weight, amounts = normal(2, 2, 3, 3), np.array([0, 0, 1, 1, 0, 0, 1, 1])
    padded = build(
        "(float[1,2,8,8] x) => (float[1,2,8,8] y)", "p = Pad(x, amounts)\n y = Conv(p, w)", w=weight, amounts=amounts
    )
    found, _ = rectexport.optimize(padded)
    assert [node.op_type for node in found.graph.node] == ["Conv"]
    kept = build("(float[1,2,8,8] x) => (float[1,2,6,6] y)", "p = Identity(x)\n y = Conv(p, w)", w=weight)
    assert rectexport.optimize(kept)[0].SerializeToString() == kept.SerializeToString()
