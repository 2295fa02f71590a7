"""Whatever kind of graph `optimize` is given, it computes the same afterwards: properties, with few examples each."""

from __future__ import annotations

import re
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper, parser

import rectexport
from rectexport.exporter.graph.widened import run_in_float64
from rectexport.exporter.passes.lowering import TARGETS
from tests.export.helper import Array, build, normal, outputs, relative_l2
from tests.export.passes.strategies import Window, windows

FEW = settings(max_examples=12)
IMAGE = normal(1, 4, 6, 7)
#: r of a 3x3 window with padding 1 on a plane of 6x7.
FACTORS = Window((6, 7), (3, 3), pads=(1, 1, 1, 1)).factors()[None, None].astype(np.float32)
CONSTANTS: dict[str, Array] = {
    "w": normal(4, 4, 3, 3, seed=1), "one": normal(4, seed=2), "two": normal(4, seed=3),
    "var": np.full(4, 1.5, np.float32),
    "r": FACTORS, "b": normal(1, 4, 1, 1, seed=4), "v": normal(5, 8, 1, 1, seed=5), "u": normal(5, 4, 1, 1, seed=6),
    "minus": np.float32([-1]), "times": np.array(2),
    "scales": np.float32([0.5, 2]), "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "axes": np.array([2, 3]),
}  # fmt: skip
CONV = "c = Conv<pads=[1,1,1,1]>(x, w)"
#: Patterns that passes look for; each makes `n` of x [1, 4, 6, 7].
PATTERNS = {
    "batch_norm": f"{CONV}\n n = BatchNormalization(c, one, two, two, var)",
    "norm_conv": "c = BatchNormalization(x, one, two, two, var)\n n = Conv(c, u)",
    "linear": f"{CONV}\n n = Conv(c, u)",
    "rectification": f"{CONV}\n s = Mul(c, r)\n n = Add(s, b)",
    "crelu": "k = Neg(x)\n j = Concat<axis=1>(x, k)\n a = Relu(j)\n n = Conv(a, v)",
    "crelu_by_mul": "k = Mul(x, minus)\n d = Relu(x)\n e = Relu(k)\n a = Concat<axis=1>(d, e)\n n = Conv(a, v)",
    "avr": "d = Relu(x)\n k = Neg(x)\n e = Relu(k)\n n = Add(d, e)",
    "tidy": "i = Identity(x)\n p = Pad(i, pads)\n n = Conv(p, w)",
    "wrap": "n = Pad<mode=\"wrap\">(x, pads)",
    "pools": "n = AveragePool<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1], ceil_mode=1, count_include_pad=1>(x)",
    "mean": "n = ReduceMean(x, axes)",
    "transposed": "c = Conv<pads=[1,1,1,1]>(x, w)\n n = ConvTranspose(c, w)",
}  # fmt: skip
names, targets = st.sampled_from(sorted(PATTERNS)), st.sampled_from(TARGETS)


def model(body: str, more: str = "", opset: int = 19) -> ModelProto:
    """The body with the constants that it reads; its output is n, with further outputs and inputs as in the text."""
    used = {name: value for name, value in CONSTANTS.items() if re.search(rf"\b{name}\b", body)}
    inputs, _, results = more.partition("=>")
    extra_in, extra_out = (f", {text.strip()}" if text.strip() else "" for text in (inputs, results))
    return build(f"(float[1,4,6,7] x{extra_in}) => (float[A,B,E,F] n{extra_out})", body, opset, **used)


def same(given: ModelProto, target: str, *feeds: dict[str, Array], bound: float = 1e-5) -> ModelProto:
    """Optimize: valid, the given model untouched, equal outputs on every feed. Returns the new model."""
    before = given.SerializeToString(deterministic=True)
    done, _ = rectexport.optimize(given, target)
    assert given.SerializeToString(deterministic=True) == before
    checker.check_model(done)
    for feed in feeds:
        for wanted, got in zip(outputs(given, feed), outputs(done, feed), strict=True):
            assert got.dtype == wanted.dtype and got.shape == wanted.shape
            assert relative_l2(wanted, got) <= bound
    return done


@FEW
@given(names, targets, st.data())
def test_an_operator_of_another_domain_is_not_the_standard_one(name: str, target: str, data: st.DataObject) -> None:
    given = model(PATTERNS[name])
    node = data.draw(st.sampled_from([node for node in given.graph.node if node.op_type != "Constant"]))
    inner = NodeProto()
    inner.CopyFrom(node)
    inner.input[:] = [f"i{index}" for index in range(len(node.input))]
    inner.output[:] = ["plain"]
    other = helper.make_node("Tanh", ["plain"], ["o"])
    body = helper.make_function(
        "my", node.op_type, list(inner.input), ["o"], [inner, other], [helper.make_opsetid("", 19)]
    )
    node.domain = "my"
    del node.attribute[:]
    given.functions.append(body)
    given.opset_import.append(helper.make_opsetid("my", 1))
    same(given, target, {"x": IMAGE}, {"x": 3 * IMAGE})


@FEW
@given(names, targets, st.data())
def test_a_stored_value_that_a_caller_may_replace_is_no_constant(name: str, target: str, data: st.DataObject) -> None:
    given = model(PATTERNS[name])
    stored = [entry for entry in given.graph.initializer if entry.data_type == TensorProto.FLOAT]
    if not stored:
        return
    entry = data.draw(st.sampled_from(stored))
    given.graph.input.append(helper.make_tensor_value_info(entry.name, entry.data_type, entry.dims))
    other = np.abs(normal(*entry.dims, seed=9)) + np.float32(0.5)
    same(given, target, {"x": IMAGE}, {"x": IMAGE, entry.name: other})


@FEW
@given(names, targets, st.sampled_from(["If", "Loop", "Scan"]), st.data())
def test_what_a_subgraph_reads_keeps_its_value(name: str, target: str, kind: str, data: st.DataObject) -> None:
    made = [line.strip().partition(" ")[0] for line in PATTERNS[name].splitlines()]
    read = data.draw(st.sampled_from(["x", *made]))
    shape = "float[a1,a2,a3,a4]"
    bodies = {
        "If": f"If<then_branch = t () => ({shape} p) {{ p = Exp({read}) }}, "
        f"else_branch = e () => ({shape} q) {{ q = Neg({read}) }}>(flag)",
        "Loop": f"Loop<body = l (int64 i, bool on, {shape} state) => (bool go, {shape} next) "
        f"{{ go = Identity(on)\n next = Mul(state, {read}) }}>(times, , {read})",
        "Scan": f"Scan<num_scan_inputs=1, body = l (float step) => ({shape} f) {{ f = Mul(step, {read}) }}>(scales)",
    }
    given = model(
        f"{PATTERNS[name]}\n z = {bodies[kind]}",
        f"{'bool flag' * (kind == 'If')} => float[{'T,' * (kind == 'Scan')}P,Q,R,S] z",
    )
    flags = (True, False) if kind == "If" else (None,)
    same(given, target, *({"x": IMAGE, **({} if flag is None else {"flag": np.array(flag)})} for flag in flags))


@FEW
@given(names, targets, st.data())
def test_sparse_initializers_are_kept_or_read_right(name: str, target: str, data: st.DataObject) -> None:
    given = model(PATTERNS[name])
    stored = [entry for entry in given.graph.initializer if entry.data_type == TensorProto.FLOAT]
    if not stored:
        return
    entry = data.draw(st.sampled_from(stored))
    array = numpy_helper.to_array(entry)
    places = np.arange(0, array.size, 2)
    values = numpy_helper.from_array(array.reshape(-1)[places], entry.name)
    indices = numpy_helper.from_array(places.astype(np.int64), f"{entry.name}_places")
    given.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, list(array.shape)))
    given.graph.initializer.remove(entry)
    if name in ("batch_norm", "norm_conv") and entry.name == "var":
        return  # a variance of 0: what is computed has no digits
    same(given, target, {"x": IMAGE})


@FEW
@given(windows(), st.sampled_from(["Mul", "Div"]), targets, st.integers(1, 3))
def test_windows_of_padding_alone(window: Window, operator: str, target: str, channels: int) -> None:
    """A convolution and factors for each pixel; a pixel whose window lies in the padding has no factor."""
    sizes = f"float[1,2,{window.size[0]},{window.size[1]}] x"
    body = f"c = Conv<{window.convolution}>(x, w)\n s = {operator}(c, r)\n y = Add(s, b)"
    factors = window.factors()[None, None].astype(np.float32)
    factors = 1 / np.where(factors == 0, 1, factors) if operator == "Div" else factors
    stored = {"w": normal(channels, 2, *window.kernel), "r": factors.astype(np.float32), "b": normal(1, channels, 1, 1)}
    given = build(f"({sizes}) => (float[A,B,E,F] y)", body, **stored)
    same(given, target, {"x": normal(1, 2, *window.size, seed=7)})


@FEW
@given(st.integers(1, 4), st.integers(1, 4), st.sampled_from(["[1,C,1,1]", "[1,C,6,7]", "[1,1,6,7]", "[1]"]), targets)
def test_channels_that_an_operator_spreads(made: int, spread: int, shape: str, target: str) -> None:
    """One channel meets a tensor with several: the result has more channels than the convolution."""
    if 1 not in (made, spread) and made != spread:
        return
    dims = [int(size) for size in re.findall(r"\d+", shape.replace("C", str(spread)))]
    stored = {"w": normal(made, 4, 3, 3), "r": FACTORS, "b": normal(*dims, seed=8), "o": np.ones(made, np.float32)}
    body = f"{CONV}\n s = Mul(c, r)\n a = Add(s, b)\n k = Neg(a)\n j = Concat<axis=1>(a, k)\n n = Relu(j)"
    given = build("(float[1,4,6,7] x) => (float[A,B,E,F] n)", body, **{key: stored[key] for key in "wrb"})
    same(given, target, {"x": IMAGE})


@FEW
@given(st.floats(-7, 7), st.booleans(), targets)
def test_a_crelu_whose_weights_almost_cancel(exponent: float, flipped: bool, target: str) -> None:
    """Forms that add the weights of both signs are right for inputs of one sign too, where only one half counts."""
    weights = np.concatenate([normal(5, 4, 1, 1), np.float32(10**exponent) * normal(5, 4, 1, 1, seed=1)], 1)
    if flipped:
        weights[:, 4:] = np.float32(1 + 1e-4) * weights[:, :4] * (-1 if exponent < 0 else 1)
    body = "k = Neg(x)\n j = Concat<axis=1>(x, k)\n a = Relu(j)\n n = Conv(a, v)"
    given = build("(float[1,4,6,7] x) => (float[A,B,E,F] n)", body, v=weights.astype(np.float32))
    same(given, target, {"x": IMAGE}, {"x": np.abs(IMAGE)}, {"x": -np.abs(IMAGE)}, bound=3e-5)


SHAPED = {
    "Reshape": ("int64[3] s", "y = Reshape(n, s)", np.array([4, 6, 7])),
    "Expand": ("int64[4] s", "y = Expand(n, s)", np.array([2, 4, 6, 7])),
    "Slice": ("int64[1] s", "y = Slice(n, s, ends, axis)", np.array([1])),
    "Resize": ("int64[4] s", "y = Resize<mode=\"linear\">(n, , , s)", np.array([1, 4, 3, 4])),
    "Tile": ("int64[4] s", "y = Tile(n, s)", np.array([1, 1, 2, 1])),
    "TopK": ("int64[1] s", "y, i = TopK<axis=3>(n, s)", np.array([2])),
    "OneHot": ("int64[1] s", "h = OneHot(s, depth, ends_values)\n k = ReduceSum(h)\n y = Mul(n, k)", np.array([1])),
}  # fmt: skip


@FEW
@given(st.sampled_from(sorted(SHAPED)), targets)
def test_inputs_that_are_shapes(name: str, target: str) -> None:
    """Random sizes do not run: then nothing may be rewritten; with sizes that run, the passes do."""
    extra, body, sizes = SHAPED[name]
    rank = ",".join("ABEF"[: 3 if name == "Reshape" else 4])
    stored = {**CONSTANTS, "ends": np.array([3]), "axis": np.array([1]), "depth": np.array([3])}
    stored["ends_values"] = np.float32([0, 1])
    text = f"{PATTERNS['batch_norm']}\n {body}"
    used = {key: value for key, value in stored.items() if re.search(rf"\b{key}\b", text)}
    given = build(f"(float[1,4,6,7] x, {extra}) => (float[{rank}] y)", text, **used)
    feeds = {"x": IMAGE, "s": sizes.astype(np.int64)}
    same(given, target, feeds)
    done, _ = rectexport.optimize(given, target, feeds=feeds)
    assert "BatchNormalization" not in [node.op_type for node in done.graph.node]
    assert relative_l2(outputs(given, feeds)[0], outputs(done, feeds)[0]) <= 1e-5


@FEW
@given(names, targets)
def test_metadata_survives(name: str, target: str) -> None:
    given = model(PATTERNS[name])
    helper.set_model_props(given, {"classes": '["cat", "dog"]', "": "empty key"})
    given.producer_name, given.model_version, given.doc_string, given.domain = "someone", 3, "what it is", "org"
    given.graph.doc_string, given.graph.input[0].doc_string = "the graph", "an image"
    given.graph.metadata_props.add(key="graph", value="kept")
    done = same(given, target, {"x": IMAGE})
    for field in ("producer_name", "model_version", "doc_string", "domain", "metadata_props"):
        assert getattr(done, field) == getattr(given, field), field
    assert (done.graph.doc_string, done.graph.name) == ("the graph", given.graph.name)
    assert done.graph.input[0].doc_string == "an image" and done.graph.metadata_props[0].value == "kept"


def typed(dtype: str, var: Array | None = None) -> tuple[ModelProto, dict[str, Array]]:
    """Convolution, BatchNorm and CReLU in a type, and an input."""
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    name = {"float64": "double", "float32": "float"}.get(dtype, dtype)
    body = "c = Conv(x, u) n = BatchNormalization(c, s, t, t, v) k = Neg(n) q = Concat<axis=1>(n, k) y = Relu(q)"
    text = f'<ir_version: 10, opset_import: ["" : 22]> net ({name}[1,4,6,7] x) => ({name}[A,B,E,F] y) {{ {body} }}'
    given = parser.parse_model(text)
    stored: dict[str, Any] = {"u": CONSTANTS["u"], "s": normal(5, seed=1), "t": normal(5, seed=2)}
    stored["v"] = np.full(5, 1.5) if var is None else var
    for key, value in stored.items():
        given.graph.initializer.append(numpy_helper.from_array(np.asarray(value).astype(kind), key))
    return given, {"x": IMAGE.astype(kind)}


@pytest.mark.parametrize(
    ("dtype", "bound"), [("float64", 1e-12), ("float32", 1e-6), ("float16", 5e-3), ("bfloat16", 4e-2)]
)
@pytest.mark.parametrize("target", TARGETS)
def test_graphs_of_every_float_type_are_optimized(dtype: str, bound: float, target: str) -> None:
    given, feeds = typed(dtype)
    done, results = rectexport.optimize(given, target)
    assert {"raise", "batch_norm"} <= {entry.name for entry in results if entry.fired}
    kinds = {entry.data_type for entry in done.graph.initializer} - {TensorProto.INT64}
    assert kinds == {entry.data_type for entry in given.graph.initializer}
    exact, got = run_in_float64(given, feeds), run_in_float64(done, feeds)
    assert exact is not None and got is not None
    assert relative_l2(exact["y"], got["y"]) <= bound


def test_a_badly_conditioned_norm_is_judged_against_float64() -> None:
    """Its mean is a million times its spread: float32 keeps a digit or two, folded or not."""
    given, feeds = typed("float32", var=np.full(5, 1e-8))
    for entry in given.graph.initializer:
        if entry.name == "t":
            entry.CopyFrom(numpy_helper.from_array(np.full(5, 3e2, np.float32), "t"))
    done, results = rectexport.optimize(given)
    assert "batch_norm" in {entry.name for entry in results if entry.fired}
    exact = run_in_float64(given, feeds)
    assert exact is not None
    before, after = (relative_l2(exact["y"], outputs(entry, feeds)[0]) for entry in (given, done))
    assert after <= 4 * before or after <= 1e-6
