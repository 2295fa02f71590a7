"""Every form of a border against the NumPy reference, on both CPU engines; and where each form must refuse."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper

from rectexport.exporter.graph import dialect
from rectexport.exporter.graph.shapes import infer_shapes
from rectexport.exporter.passes import lower
from rectexport.exporter.passes.lowering import Decision
from rectexport.exporter.passes.lowering.boundary import CIRCULAR_NAME, LARGEST_HALO, NAME
from rectexport.exporter.passes.lowering.machinery.tuning import ForcedForm, finished
from rectexport.plugins import reference
from tests.export.engines import ENGINES, run_on

node = helper.make_node
FORMS = ("as_written", "pad", "strips", "border")
Array = np.ndarray[Any, Any]


def build(nodes: list[NodeProto], shape: tuple[Any, ...], opset: int = 19, **stored: Array) -> ModelProto:
    """A float32 model from x to y."""
    graph = helper.make_graph(
        nodes,
        "borders",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * len(shape))],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in stored.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    dialect.attach_functions(model)
    checker.check_model(model)
    return infer_shapes(model)


def pad(x: str, y: str, borders: tuple[str, ...], pads: tuple[int, ...]) -> NodeProto:
    modes = [dialect.BORDERS.index(border) for border in borders]
    return node("BoundaryPad", [x], [y], f"{y}.pad", domain=dialect.DOMAIN, modes=modes, pads=list(pads))


def layer(x: str, y: str, borders: tuple[str, ...], amounts: tuple[int, ...], **attributes: Any) -> list[NodeProto]:
    """A convolution with a border; weights w_y and bias b_y."""
    return [
        pad(x, f"{y}_p", borders, amounts),
        node("Conv", [f"{y}_p", f"w_{y}", f"b_{y}"], [y], f"{y}.conv", **attributes),
    ]


def apply(model: ModelProto, form: str) -> tuple[ModelProto, list[Decision]]:
    lowered, _, decisions = lower(model, ForcedForm(form))
    return finished(lowered), [entry for entry in decisions if entry.operator in (NAME, CIRCULAR_NAME)]


def numbers(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    rank = draw(st.sampled_from([1, 2, 2, 3]))
    sizes = tuple(draw(st.integers(3, 7)) for _ in range(rank))
    borders = tuple(
        draw(st.sampled_from(reference.BORDERS if axis == rank - 2 else reference.BORDERS[:-2])) for axis in range(rank)
    )
    pads = tuple(draw(st.integers(0, 2)) for _ in range(2 * rank))
    return {
        "sizes": sizes,
        "borders": borders,
        "pads": pads,
        "kernel": tuple(draw(st.integers(1, 3)) for _ in range(rank)),
        "strides": tuple(draw(st.sampled_from([1, 1, 2])) for _ in range(rank)),
        "groups": draw(st.sampled_from([1, 2])),
        "seed": draw(st.integers(0, 99)),
    }


@pytest.mark.parametrize(("engine", "form"), [pair for pair in product(ENGINES, FORMS) if pair != ("openvino", "pad")])
@settings(max_examples=12, deadline=None)
@given(case=cases())
def test_each_form_agrees_with_the_reference(engine: str, form: str, case: dict[str, Any]) -> None:
    x = numbers(2, 4, *case["sizes"], seed=case["seed"])
    weight, bias = numbers(6, 4 // case["groups"], *case["kernel"]), numbers(6)
    attributes = {"strides": case["strides"], "group": case["groups"]}
    model = build(layer("x", "y", case["borders"], case["pads"], **attributes), x.shape, w_y=weight, b_y=bias)
    finished_model, _ = apply(model, form)
    assert not any(entry.domain for entry in finished_model.graph.node)
    expected = reference.boundary_conv(
        x, weight, bias, case["strides"], case["pads"], case["borders"], None, case["groups"]
    )
    np.testing.assert_allclose(run_on(engine, finished_model, x), expected, atol=5e-5)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("border", reference.BORDERS)
def test_open_sizes(engine: str, border: str) -> None:
    """Rows beyond a pole are left to the function body; the rest is the same for every size."""
    borders, pads = (border, "circular"), (2, 1, 1, 2)
    weight, bias = numbers(3, 2, 3, 3), numbers(3)
    model = build(layer("x", "y", borders, pads), ("N", 2, "H", "W"), w_y=weight, b_y=bias)
    written, _ = apply(model, "strips")
    assert not any(entry.domain for entry in written.graph.node)
    for sizes in ((3, 3), (4, 7), (9, 5)):
        x = numbers(2, 2, *sizes)
        expected = reference.boundary_conv(x, weight, bias, None, pads, borders)
        np.testing.assert_allclose(run_on(engine, written, x), expected, atol=5e-5)


def chain_of(layers: list[list[NodeProto]], size: tuple[int, int], **stored: Array) -> ModelProto:
    nodes = [entry for part in layers for entry in part]
    nodes[-1].output[0] = "y"
    return build(nodes, (1, 2, *size), **stored)


def circular_chain(kernels: list[int], size: tuple[int, int] = (96, 192)) -> tuple[ModelProto, dict[str, Array]]:
    """Circular convolutions with LeakyReLU between them."""
    stored: dict[str, Array] = {}
    layers, x = [], "x"
    for index, kernel in enumerate(kernels):
        before, behind = (kernel - 1) // 2, kernel // 2
        stored[f"w_t{index}"], stored[f"b_t{index}"] = numbers(2, 2, kernel, kernel, seed=index), numbers(2, seed=index)
        layers.append(layer(x, f"t{index}", ("circular", "circular"), (before, before, behind, behind)))
        layers.append([node("LeakyRelu", [f"t{index}"], [f"a{index}"], f"a{index}.act", alpha=0.1)])
        x = f"a{index}"
    return chain_of(layers[:-1], size, **stored), stored


def chain_answer(kernels: list[int], stored: dict[str, Array], x: Array) -> Array:
    for index, kernel in enumerate(kernels):
        before, behind = (kernel - 1) // 2, kernel // 2
        pads = (before, before, behind, behind)
        y = reference.boundary_conv(
            x, stored[f"w_t{index}"], stored[f"b_t{index}"], None, pads, ("circular", "circular")
        )
        x = np.where(y > 0, y, 0.1 * y)
    return y


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kernels", [[3, 3], [5, 3], [3, 1, 3], [4, 3], [2, 2, 2]])
def test_a_chain_is_padded_once(engine: str, kernels: list[int]) -> None:
    model, stored = circular_chain(kernels)
    x = numbers(1, 2, 96, 192)
    plain, _ = apply(model, "as_written")
    once, decisions = apply(model, "chain")
    assert decisions[0].taken == "chain"
    counts = [[entry.op_type for entry in made.graph.node].count("Concat") for made in (plain, once)]
    assert counts[1] * len([kernel for kernel in kernels if kernel > 1]) == counts[0]
    expected = chain_answer(kernels, stored, x)
    found = run_on(engine, once, x)
    assert np.linalg.norm(found - expected) <= 1e-6 * np.linalg.norm(expected)


@settings(max_examples=10, deadline=None)
@given(
    kernels=st.lists(st.integers(1, 4), min_size=2, max_size=4),
    height=st.integers(60, 120),
    width=st.integers(60, 120),
)
def test_chains_of_any_kernels(kernels: list[int], height: int, width: int) -> None:
    model, stored = circular_chain(kernels, (height, width))
    x = numbers(1, 2, height, width)
    expected = chain_answer(kernels, stored, x)
    found = run_on("onnxruntime", apply(model, "chain")[0], x)
    assert np.linalg.norm(found - expected) <= 2e-6 * np.linalg.norm(expected)


def near_misses() -> Iterator[tuple[str, ModelProto]]:
    circle, pads = ("circular", "circular"), (1, 1, 1, 1)
    stored = {"w_a": numbers(2, 2, 3, 3), "b_a": numbers(2), "w_b": numbers(2, 2, 3, 3), "b_b": numbers(2)}
    size = (96, 96)
    yield (
        "reflect",
        chain_of([layer("x", "a", circle, pads), layer("a", "b", ("reflect", "circular"), pads)], size, **stored),
    )
    yield (
        "stride",
        chain_of([layer("x", "a", circle, pads, strides=[2, 2]), layer("a", "b", circle, pads)], size, **stored),
    )
    yield "shrinking", chain_of([layer("x", "a", circle, (0, 0, 1, 1)), layer("a", "b", circle, pads)], size, **stored)
    zeros = [node("Conv", ["a", "w_b", "b_b"], ["b"], "b.conv", pads=[1, 1, 1, 1])]
    third = layer("b", "c", circle, pads)
    more = {**stored, "w_c": numbers(2, 2, 3, 3), "b_c": numbers(2)}
    yield "zeros between", chain_of([layer("x", "a", circle, pads), zeros, third], size, **more)
    residual = [node("Add", ["a", "x"], ["r"], "r.add")]
    yield "a sum", chain_of([layer("x", "a", circle, pads), residual, layer("r", "b", circle, pads)], size, **stored)
    softmax = [node("Softmax", ["a"], ["r"], "r.soft", axis=3)]
    yield (
        "not pointwise",
        chain_of([layer("x", "a", circle, pads), softmax, layer("r", "b", circle, pads)], size, **stored),
    )
    scale = [node("Mul", ["a", "map"], ["r"], "r.mul")]
    mapped = {**stored, "map": numbers(1, 1, 96, 96)}
    yield "a map", chain_of([layer("x", "a", circle, pads), scale, layer("r", "b", circle, pads)], size, **mapped)
    yield "small", chain_of([layer("x", "a", circle, pads), layer("a", "b", circle, pads)], (8, 8), **stored)


@pytest.mark.parametrize(("name", "model"), list(near_misses()), ids=[name for name, _ in near_misses()])
def test_no_chain(name: str, model: ModelProto) -> None:
    _, decisions = apply(model, "chain")
    assert all(decision.taken == "as_written" for decision in decisions)
    reasons = [entry.refusal for decision in decisions for entry in decision.considered if entry.form == "chain"]
    assert reasons and all(reasons)


def test_a_chain_ends_where_its_halo_costs_too_much() -> None:
    model, _ = circular_chain([3] * 12, (56, 56))
    once, _ = apply(model, "chain")
    joined = [entry for entry in once.graph.node if entry.op_type == "Concat"]
    assert 2 < len(joined) < 24
    sizes = {value.name: value for value in infer_shapes(once).graph.value_info}
    convs = [entry for entry in once.graph.node if entry.op_type == "Conv"]
    shapes = [[dim.dim_value for dim in sizes[entry.output[0]].type.tensor_type.shape.dim] for entry in convs[:-1]]
    assert sum(prod(shape[2:]) for shape in shapes) <= (1 + LARGEST_HALO) * 56 * 56 * len(shapes)


@pytest.mark.parametrize(
    ("borders", "shape", "attributes", "reason"),
    [
        (("poles", "circular"), (1, 2, 6, 6), {}, "cross a pole"),
        (("zeros", "circular"), (1, 2, 6, 6), {}, "zeros stand beyond"),
        (("reflect", "reflect"), (1, 2, "H", "W"), {}, "dynamic"),
        (("reflect", "reflect"), (1, 2, 6, 6), {"strides": [2, 1]}, "stride"),
        (("reflect", "reflect"), (1, 2, 6, 6), {"pads": [0, 1, 0, 0]}, "pads the same axis"),
        (("replicate", "replicate"), (1, 2, 2, 6), {}, "wholly beyond"),
    ],
)
def test_where_border_strips_refuse(
    borders: tuple[str, ...], shape: tuple[Any, ...], attributes: dict[str, Any], reason: str
) -> None:
    model = build(layer("x", "y", borders, (1, 1, 1, 1), **attributes), shape, w_y=numbers(2, 2, 3, 3), b_y=numbers(2))
    _, (decision,) = apply(model, "border")
    assert decision.taken == "as_written"
    assert reason in next(entry.refusal or "" for entry in decision.considered if entry.form == "border")


def test_a_padding_that_several_nodes_read_has_strips_alone() -> None:
    nodes = [
        pad("x", "p", ("reflect", "reflect"), (1, 1, 1, 1)),
        node("Relu", ["p"], ["q"]),
        node("Add", ["p", "q"], ["y"]),
    ]
    written, (decision,) = apply(build(nodes, (1, 2, 5, 6)), "strips")
    assert decision.taken == "strips" and "Pad" not in [entry.op_type for entry in written.graph.node]
    assert apply(build(nodes, (1, 2, 5, 6)), "border")[1][0].taken == "as_written"
