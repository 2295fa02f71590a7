"""CReLU as a grouped convolution: agrees with the reference, and stays in ONNX Runtime's blocked layout."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rectexport.exporter.passes.lowering.machinery.costs import INT8
from rectexport.exporter.passes.lowering.machinery.tuning import ForcedForm, finished
from rectexport.exporter.passes.selection import PassContext, lower
from rectexport.plugins import reference
from tests.export.helper import build, operators, outputs, relative_l2

PLAIN = {"channels": 32, "outputs": 4, "size": (5, 6), "batch": "2", "slope": 0.0, "kernel": 3, "seed": 0}


def model_of(**changes):
    """x [N, C, H, W] → CReLU, or its Leaky variant → conv; also the weights."""
    case = {**PLAIN, **changes}
    channels, rows, columns = case["channels"], *case["size"]
    shape = (case["outputs"], 2 * channels, case["kernel"], case["kernel"])
    weight = np.random.default_rng(case["seed"]).standard_normal(shape).astype(np.float32)
    body = "k = rectexport.CRelu<axis = 1>(x)"
    if case["slope"]:
        body = f"n = rectexport.NegConcat<axis = 1>(x) k = LeakyRelu<alpha = {case['slope']}>(n)"
    pads = [case["kernel"] // 2] * 4
    return build(
        f"(float[{case['batch']}, {channels}, {rows}, {columns}] x) => (float[N, O, H, W] y)",
        f"{body} y = Conv<pads = {pads}>(k, w)",
        w=weight,
    ), weight


def grouped(model):
    lowered, _, (decision,) = lower(model, ForcedForm("grouped"), {"lower_crelu"})
    return lowered, decision


@settings(max_examples=30, deadline=None)
@given(
    channels=st.sampled_from((16, 32, 48)),
    slope=st.sampled_from((0.0, 0.125)),
    kernel=st.sampled_from((1, 3)),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    batch=st.sampled_from(("1", "3", "N")),
    seed=st.integers(0, 99),
)
def test_it_agrees_with_the_reference(channels, slope, kernel, size, batch, seed):
    model, weight = model_of(channels=channels, slope=slope, kernel=kernel, size=size, batch=batch, seed=seed)
    lowered, decision = grouped(model)
    assert decision.taken == "grouped"
    x = np.random.default_rng(seed).standard_normal((int(batch) if batch.isdigit() else 2, channels, *size))
    c = reference.crelu(x, lambda v: np.where(v > 0, v, slope * v))
    expected = reference.conv2d(c, weight.astype(np.float64), None, (1, 1), (kernel // 2,) * 4)
    assert relative_l2(expected, outputs(lowered, {"x": x.astype(np.float32)})[0]) <= 1e-6


READERS = {
    "pool and matrix": ("p = GlobalAveragePool(k) f = Flatten(p) y = Gemm<transB = 1>(f, w)", (5, 64)),
    "all pixels": ("f = Flatten(k) y = MatMul(f, w)", (64 * 30, 3)),
    "pool and convolution": ("p = AveragePool<kernel_shape = [2, 2]>(k) y = Conv(p, w)", (3, 64, 1, 1)),
}


@pytest.mark.parametrize("name", READERS)
def test_readers_of_both_halves_get_their_weights_in_the_new_order(name):
    tail, shape = READERS[name]
    rank = "[N, O, H, W]" if "Conv" in tail else "[N, O]"
    weight = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    body = f"k = rectexport.CRelu<axis = 1>(x) {tail}"
    model = build(f"(float[2, 32, 5, 6] x) => (float{rank} y)", body, w=weight)
    lowered, decision = grouped(model)
    assert decision.taken == "grouped"
    x = np.random.default_rng(2).standard_normal((2, 32, 5, 6)).astype(np.float32)
    assert relative_l2(*(outputs(entry, {"x": x})[0] for entry in (model, lowered))) <= 1e-6


WEIGHT = np.arange(256.0).reshape(4, 64, 1, 1)
REFUSED = {
    "channels": (model_of(channels=24)[0], "multiples of 16"),
    "open channels": (
        build(
            "(float[1, C, 5, 6] x) => (float[1, 4, 5, 6] y)",
            "k = rectexport.CRelu<axis = 1>(x) y = Conv(k, w)",
            w=WEIGHT.astype(np.float32),
        ),
        "multiples of 16",
    ),
    "float64": (
        build(
            "(double[1, 32, 5, 6] x) => (double[1, 4, 5, 6] y)",
            "k = rectexport.CRelu<axis = 1>(x) y = Conv(k, w)",
            w=WEIGHT,
        ),
        "for float32",
    ),
    "max pool": (
        build(
            "(float[1, 32, 5, 6] x) => (float[1, 64, 4, 5] y)",
            "k = rectexport.CRelu<axis = 1>(x) y = MaxPool<kernel_shape = [2, 2]>(k)",
        ),
        "not linear",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_it_refuses(name):
    model, reason = REFUSED[name]
    lowered, decision = grouped(model)
    assert decision.taken == "as_written" and operators(lowered) == operators(model)
    assert reason in next(entry.refusal for entry in decision.considered if entry.form == "grouped")


@pytest.mark.parametrize("precision", ["fp16", "bf16", INT8])
def test_it_is_for_float32_alone(precision):
    costs = PassContext(precision=precision, measured=ForcedForm("grouped")).costs
    assert costs.ratio("crelu", "grouped", None) is None and costs.ratio("crelu", "doubled", None) is None
    assert PassContext(measured=ForcedForm("grouped")).costs.ratio("crelu", "grouped", None) == 0.0


def test_nothing_of_a_chain_leaves_the_blocked_layout(tmp_path):
    weights = {f"w{index}": np.full((16, 16 if index == 0 else 32, 3, 3), 0.1, np.float32) for index in range(3)}
    layer = "k{0} = rectexport.CRelu<axis = 1>(c{0}) c{1} = Conv<pads = [1, 1, 1, 1]>(k{0}, w{1})"
    layers = " ".join(layer.format(index, index + 1) for index in range(2))
    body = f"c0 = Conv<pads = [1, 1, 1, 1]>(x, w0) {layers} y = Relu(c2)"
    model = build("(float[1, 16, 8, 8] x) => (float[1, 16, 8, 8] y)", body, **weights)
    lowered, _, _ = lower(model, ForcedForm("grouped"), {"lower_crelu"})
    options = ort.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(tmp_path / "optimized.onnx"), 3
    ort.InferenceSession(finished(lowered).SerializeToString(), options, providers=["CPUExecutionProvider"])
    found = Counter(node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node)
    assert found == {"ReorderInput": 1, "Conv": 5, "ReorderOutput": 1}
