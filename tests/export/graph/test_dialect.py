"""The dialect: its function bodies against the NumPy reference, and which of them a model carries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, checker, helper, parser

from rectexport.exporter.graph import dialect
from rectexport.models.layers.symmetry import group_pads, group_sizes
from rectexport.plugins import reference
from tests.export.helper import Array, build, normal, outputs

OPSETS = (18, 20, 23)
FLOATS = {"float32": 3e-7, "float16": 2e-3, "float64": 3e-7}  # r itself is float32 for every type
few = settings(max_examples=40, deadline=None)


@dataclass(frozen=True)
class Case:
    """A window on a plane that it fits; the values of its dialect node."""

    size: tuple[int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int, int, int]
    dilations: tuple[int, int]
    mode: str

    @property
    def attributes(self) -> dict[str, Any]:
        numerator = self.kernel[0] * self.kernel[1] if self.mode == "sum" else 1
        return {
            "kernel_shape": self.kernel,
            "strides": self.strides,
            "pads": self.pads,
            "dilations": self.dilations,
            "numerator": numerator,
        }

    @property
    def factors(self) -> Array:
        return reference.rectification_map(
            *self.size, self.kernel, self.strides, self.pads, self.dilations, mode=self.mode
        )


@st.composite
def axes(draw: st.DrawFn) -> tuple[int, int, int, int, int, int]:
    size, kernel, stride = draw(st.integers(1, 12)), draw(st.integers(1, 5)), draw(st.integers(1, 3))
    dilation, before = draw(st.integers(1, 4)), draw(st.integers(0, 5))
    least = max((kernel - 1) * dilation + 1 - size - before, 0)
    assume(least <= 5)
    return size, kernel, stride, before, draw(st.integers(least, 5)), dilation


@st.composite
def cases(draw: st.DrawFn) -> Case:
    (height, kh, sh, top, bottom, dh), (width, kw, sw, left, right, dw) = draw(axes()), draw(axes())
    mode = draw(st.sampled_from(["sum", "average"]))
    return Case((height, width), (kh, kw), (sh, sw), (top, left, bottom, right), (dh, dw), mode)


def node_model(operator: str, inputs: dict[str, Array], opset: int, **attributes: Any) -> Any:
    """A model of one dialect node on inputs whose sizes are all dynamic."""
    kinds = {name: helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in inputs.items()}
    values = [
        helper.make_tensor_value_info(name, kinds[name], [f"{name}_{axis}" for axis in range(array.ndim)])
        for name, array in inputs.items()
    ]
    kind = TensorProto.FLOAT if operator == "RectificationMap" else kinds[next(iter(inputs))]
    rank = next(iter(inputs.values())).ndim
    result = helper.make_tensor_value_info("result", kind, [None] * rank)
    node = helper.make_node(operator, list(inputs), ["result"], domain=dialect.DOMAIN, **attributes)
    graph = helper.make_graph([node], "one", values, [result])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    dialect.attach_functions(model)
    checker.check_model(model)
    return model


def run_node(operator: str, inputs: dict[str, Array], opset: int, **attributes: Any) -> Array:
    (result,) = outputs(node_model(operator, inputs, opset, **attributes), inputs)
    return result


@pytest.mark.parametrize("opset", OPSETS)
@few
@given(case=cases())
def test_rectification_map(opset: int, case: Case) -> None:
    x, y = np.zeros((1, 1, *case.size), np.float32), np.zeros((2, 3, *case.factors.shape), np.float32)
    r = run_node("RectificationMap", {"x": x, "y": y}, opset, **case.attributes)
    assert r.dtype == np.float32
    assert r.shape == (1, 1, *case.factors.shape)
    np.testing.assert_allclose(r[0, 0], case.factors, rtol=1e-7, atol=0)


@pytest.mark.parametrize("opset", OPSETS)
@few
@given(case=cases(), dtype=st.sampled_from(list(FLOATS)), empty=st.sampled_from(["zero", "bias"]))
def test_rectify(opset: int, case: Case, dtype: str, empty: str) -> None:
    y = normal(2, 3, *case.factors.shape, dtype=dtype)
    x, bias = np.zeros((2, 4, *case.size), dtype), normal(3, seed=1, dtype=dtype)
    attributes = {**case.attributes, "empty_bias": int(empty == "bias")}
    actual = run_node("Rectify", {"y": y, "x": x, "bias": bias}, opset, **attributes)
    expected = reference.rectify(
        y, x.shape, bias, case.kernel, case.strides, case.pads, case.dilations, case.mode, empty
    )
    assert actual.dtype == dtype
    np.testing.assert_allclose(actual, expected, rtol=FLOATS[dtype], atol=FLOATS[dtype] * np.abs(expected).max())


def test_windows_without_a_tap_are_among_the_cases() -> None:
    """The bias of such a pixel is the one thing that `empty` decides."""
    case = Case((2, 3), (1, 2), (2, 1), (3, 0, 0, 4), (1, 1), "sum")
    assert (case.factors == 0).any() and (case.factors > 0).any()
    y = normal(1, 2, *case.factors.shape)
    inputs = {"y": y, "x": np.zeros((1, 1, 2, 3), np.float32), "bias": np.array([5, 7], np.float32)}
    for empty, expected in ((0, [0, 0]), (1, [5, 7])):
        z = run_node("Rectify", inputs, 18, **case.attributes, empty_bias=empty)
        assert z[0][:, case.factors == 0].T.tolist() == [expected] * int((case.factors == 0).sum())


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("order", sorted(reference.SYMMETRIC_ORDERS))
@pytest.mark.parametrize("kernel", [2, 4])
def test_symmetric_pad(kernel: int, order: str, opset: int) -> None:
    for channels in range(1, 10):
        for remainder in ("first", "last", *(["error"] if channels % 4 == 0 else [])):
            x = normal(2, channels, 3, 4, seed=channels)
            splits, pads = group_sizes(channels, remainder), group_pads(kernel, order)
            actual = run_node("SymmetricPad", {"x": x}, opset, splits=splits, pads=pads)
            np.testing.assert_array_equal(actual, reference.symmetric_pad(x, kernel, order, remainder))


@pytest.mark.parametrize("opset", OPSETS)
@few
@given(
    modes=st.lists(st.integers(0, 6), min_size=1, max_size=3),
    seed=st.integers(0, 99),
    dtype=st.sampled_from(["float32", "float16", "int64"]),
)
def test_boundary_pad(opset: int, modes: list[int], seed: int, dtype: str) -> None:
    polar = (dialect.POLES, dialect.POLE_POINTS)
    assume(not any(mode in polar for mode in (*modes[:-2], modes[-1])))
    rng = np.random.default_rng(seed)
    x = (8 * rng.standard_normal((2, 3, *rng.integers(3, 7, len(modes))))).astype(dtype)
    pads = [int(pad) for pad in rng.integers(0, 3, 2 * len(modes))]
    expected = reference.boundary_pad(x, pads, [dialect.BORDERS[mode] for mode in modes])
    actual = run_node("BoundaryPad", {"x": x}, opset, modes=modes, pads=pads)
    assert actual.dtype == dtype
    np.testing.assert_array_equal(actual, expected)


def test_the_borders_are_those_of_the_reference() -> None:
    assert dialect.BORDERS == reference.BORDERS


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
@pytest.mark.parametrize("operator", ["CRelu", "NegConcat"])
def test_doubling(operator: str, dtype: str, opset: int) -> None:
    judge = reference.crelu if operator == "CRelu" else reference.neg_concat
    for shape in ((2, 3), (2, 3, 4), (1, 3, 4, 5)):
        x = normal(*shape, dtype=dtype)
        x[..., 0] = 0
        for axis in range(-len(shape), len(shape)):
            actual = run_node(operator, {"x": x}, opset, axis=axis)
            expected = np.moveaxis(judge(np.moveaxis(x, axis, 1)), 1, axis)
            np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("name", list(dialect.BODIES))
def test_signatures_are_those_of_the_bodies(name: str) -> None:
    inputs, output, kinds = dialect.SIGNATURES[name]
    body = dialect.function(name, 18)
    prefix = f"{dialect.DOMAIN}.{name}."
    assert tuple(body.input) == tuple(prefix + entry for entry in inputs)
    assert tuple(body.output) == (prefix + output,)
    assert {*body.attribute, *(entry.name for entry in body.attribute_proto)} == set(kinds)
    assert {entry.name: entry.i for entry in body.attribute_proto}.items() <= dialect.DEFAULTS.items()
    assert [(entry.domain, entry.version) for entry in body.opset_import] == [("", 18), ("rectexport", 1)]


def test_tensors_of_bodies_have_names_of_their_own() -> None:
    """TensorRT 10.1 reads an outer tensor of the same name instead."""
    for name in dialect.BODIES:
        body = dialect.function(name, 18)
        used = {entry for node in body.node for entry in (*node.input, *node.output)}
        assert all(entry.startswith(f"{dialect.DOMAIN}.{name}.") for entry in used)


MAP = "kernel_shape=[3,3], strides=[1,1], pads=[1,1,1,1], dilations=[1,1], numerator=9"
PLANES = "(float[N,2,H,W] x, float[2] b) => (float[N,2,H,W] z)"


def names(model: Any) -> list[str]:
    return [entry.name for entry in model.functions]


def test_a_model_carries_exactly_the_bodies_it_needs() -> None:
    model = build(PLANES, f"z = rectexport.Rectify<{MAP}, empty_bias=1>(x, x, b)")
    assert names(model) == ["Rectify"]
    again = type(model).FromString(model.SerializeToString())
    dialect.attach_functions(again)
    assert again == model
    model.graph.node[0].CopyFrom(helper.make_node("Relu", ["x"], ["z"]))
    dialect.attach_functions(model)
    assert not model.functions
    assert [entry.domain for entry in model.opset_import] == [""]
    checker.check_model(model)


def test_bodies_follow_the_opset_of_the_model() -> None:
    for opset in OPSETS:
        model = build("(float[N,2] x) => (float[N,M] z)", "z = rectexport.CRelu<axis=1>(x)", opset)
        assert model.functions[0].opset_import[0].version == opset


def test_functions_of_others_stay() -> None:
    own = parser.parse_function('<domain: "mine", opset_import: ["" : 18]> Twice (x) => (y) { y = Add(x, x) }')
    model = build("(float[N,2] x) => (float[N,4] z)", "z = rectexport.CRelu<axis=1>(x)")
    model.functions.append(own)
    dialect.attach_functions(model)
    assert names(model) == ["Twice", "CRelu"]


def test_nodes_in_branches_count() -> None:
    branch = "g () => (float[N,4] b) { b = rectexport.CRelu<axis=1>(x) }"
    other = "h () => (float[N,4] c) { c = rectexport.NegConcat<axis=1>(x) }"
    model = build(
        "(bool which, float[N,2] x) => (float[N,4] z)", f"z = If<then_branch = {branch}, else_branch = {other}>(which)"
    )
    assert dialect.used_operators(model) == ["CRelu", "NegConcat"]
    x = normal(3, 2)
    (z,) = outputs(model, {"which": np.array(False), "x": x})
    np.testing.assert_array_equal(z, np.concatenate([x, -x], 1))


def test_attributes_are_plain_values() -> None:
    node = helper.make_node("SymmetricPad", ["x"], ["y"], splits=[1, 2], axis=3, mode="edge")
    assert dialect.attributes(node) == {"splits": (1, 2), "axis": 3, "mode": b"edge"}


def test_default_opset() -> None:
    model = build("(float[2] x) => (float[2] y)", "y = Relu(x)", 19)
    assert dialect.default_opset(model) == 19
    model.opset_import[0].domain = "ai.onnx"
    assert dialect.default_opset(model) == 19
    del model.opset_import[:]
    assert dialect.default_opset(model) == 1


@pytest.mark.parametrize("opset", OPSETS)
@settings(max_examples=15, deadline=None)
@given(drawn=st.lists(axes(), min_size=3, max_size=3), count=st.sampled_from([1, 3]), empty=st.booleans())
def test_rectification_along_one_and_three_axes(opset: int, drawn: list[Any], count: int, empty: bool) -> None:
    size, kernel, strides, begins, ends, dilations = zip(*drawn[:count], strict=True)
    window = (kernel, strides, (*begins, *ends), dilations)
    factors = reference.rectification_factors(size, *window)
    names = ("kernel_shape", "strides", "pads", "dilations")
    attributes = {**dict(zip(names, window, strict=True)), "numerator": int(np.prod(kernel))}
    y, bias = normal(2, 3, *factors.shape), normal(3, seed=1)
    x = np.zeros((2, 4, *size), np.float32)
    r = run_node(f"RectificationMap{count}d", {"x": x, "y": y}, opset, **attributes)
    np.testing.assert_allclose(r, np.broadcast_to(factors, (1, 1, *factors.shape)), rtol=1e-7)
    expected = reference.rectify(y, x.shape, bias, *window, empty="bias" if empty else "zero")
    z = run_node(f"Rectify{count}d", {"y": y, "x": x, "bias": bias}, opset, **attributes, empty_bias=int(empty))
    np.testing.assert_allclose(z, expected, rtol=3e-7, atol=3e-7 * np.abs(expected).max())
    half = {name: value.astype(np.float16) for name, value in (("y", y), ("x", x), ("bias", bias))}
    z = run_node(f"Rectify{count}d", half, opset, **attributes, empty_bias=int(empty))
    np.testing.assert_allclose(z, expected, rtol=2e-3, atol=2e-3 * np.abs(expected).max())


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("size", [(7,), (5, 6), (3, 4, 5)])
def test_masked_convolution(size: tuple[int, ...], opset: int) -> None:
    count = len(size)
    window = {"kernel_shape": (2,) * count, "strides": (1,) * count, "pads": (1,) * count + (0,) * count}
    window |= {"dilations": (1,) * count}
    mask = (np.random.default_rng(0).random((2, 1, *size)) > 0.8).astype(np.float32)
    u = run_node("MaskedCount", {"mask": mask}, opset, **window)
    wanted = reference.masked_count(mask, *window.values())
    np.testing.assert_array_equal(u, wanted)
    y, bias = normal(2, 3, *u.shape[2:]), normal(3, seed=1)
    column = bias.reshape(1, -1, *[1] * count)
    assert (u == 0).any()
    for empty in (0, 1):
        z = run_node("MaskedRectify", {"y": y, "u": u, "bias": bias}, opset, numerator=5, empty_bias=empty)
        ratio = np.where(wanted > 0, 5 / np.maximum(wanted, 1), 0)
        np.testing.assert_allclose(z, y * ratio + column * ((wanted > 0) | bool(empty)), rtol=1e-6, atol=1e-6)
