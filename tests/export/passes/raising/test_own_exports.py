"""What we export ourselves is found again: static and dynamic, as the portable target leaves it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import ModelProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import nn

from rectexport import export
from rectexport.exporter.graph import dialect
from rectexport.exporter.graph.dialect import attributes
from rectexport.exporter.passes import inline, rectify_fold
from rectexport.exporter.passes.order import PASSES, RAISE
from rectexport.exporter.passes.raising import raise_model
from rectexport.exporter.passes.raising.prepare import prepare
from rectexport.exporter.passes.rectification import taps
from rectexport.models import AVR, CReLU, RectifiedConv2d, ScaledCReLU, SymmetricConv2d


def network() -> nn.Module:
    return nn.Sequential(
        RectifiedConv2d(3, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        CReLU(),
        RectifiedConv2d(8, 6, 3, padding=1),
        ScaledCReLU(6),
        SymmetricConv2d(12, 8),
        AVR(),
        RectifiedConv2d(8, 4, 5, 2, 2, mode="average", bias_mode="inside"),
        CReLU(nn.LeakyReLU(0.1)),
    )


FOUND = {"Rectify": 3, "CRelu": 1, "NegConcat": 2, "SymmetricPad": 1, "Abs": 1, "Pad": 0, "Range": 0}


def exported(folder: Path, dynamic: bool) -> ModelProto:
    torch.manual_seed(0)
    shapes = None
    if dynamic:
        names = {0: "batch", 2: "height", 3: "width"}
        shapes = ({axis: torch.export.Dim(name, min=2 if axis == 0 else 5, max=64) for axis, name in names.items()},)
    export(network().eval(), (torch.randn(2, 3, 10, 9),), folder, shapes, target="portable")
    return onnx.load(folder / "model.onnx")


def test_static(tmp_path, check):
    check(exported(tmp_path / "out", dynamic=False), FOUND)


def test_raised_twice(tmp_path, capfd):
    """What was raised and lowered is found again, and no two tensors share a name on the way."""
    once = inline_all(raise_model(exported(tmp_path / "out", dynamic=False))[0])
    capfd.readouterr()
    raised, _ = raise_model(once)
    assert sum(node.op_type == "Rectify" for node in raised.graph.node) == FOUND["Rectify"]
    assert "distinct tensors" not in "".join(capfd.readouterr())


def test_together_they_do_what_they_do_one_by_one(tmp_path):
    """Sharing one opened graph changes nothing, wherever a pass fires."""
    once = exported(tmp_path / "out", dynamic=False)
    for model in (once, raise_model(once)[0]):
        together, results = raise_model(model)
        ready, single = prepare(model), []
        for entry in (entry for entry in PASSES if entry.stage == RAISE):
            ready, result = entry.run(ready)
            single.append(result)
        assert results == single
        assert together == (ready if any(result.fired for result in single) else model)


def inline_all(model: ModelProto) -> ModelProto:
    for step in (rectify_fold.run, inline.run):
        model, _ = step(model)
    return model


def test_dynamic(tmp_path, check):
    check(exported(tmp_path / "out", dynamic=True), FOUND, shapes=[(2, 3, 10, 9), (3, 3, 17, 6)])


def same_counts(window: dict, other: dict) -> bool:
    """Whether another window counts the same taps along H, for every size and the outputs of the first."""
    kernel, stride, pad, dilation = (window[name][0] for name in ("kernel_shape", "strides", "pads", "dilations"))
    theirs = [other[name][0] for name in ("kernel_shape", "strides", "pads", "dilations")]
    for size in range(1, 60):
        out = (size + pad + window["pads"][2] - dilation * (kernel - 1) - 1) // stride + 1
        if out > 0 and not np.array_equal(taps(size, out, kernel, stride, pad, dilation), taps(size, out, *theirs)):
            return False
    return True


@settings(max_examples=40, deadline=None)
@given(
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    pads=st.tuples(*[st.integers(0, 4)] * 4),
    dilations=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    sum_mode=st.booleans(),
    off=st.sampled_from([None, "strides", "pads", "dilations", "kernel_shape"]),
)
def test_the_computed_map_of_any_window(kernel, strides, pads, dilations, sum_mode, off):
    window = {"kernel_shape": kernel, "strides": strides, "pads": pads, "dilations": dilations}
    counted = dict(window)
    if off:
        counted[off] = (window[off][0] + 1, *window[off][1:])
        assume(not same_counts(window, counted))
    numerator = kernel[0] * kernel[1] if sum_mode else 1
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["y"], **window),
        helper.make_node("RectificationMap", ["x", "y"], ["r"], domain=dialect.DOMAIN, numerator=numerator, **counted),
        helper.make_node("Mul", ["y", "r"], ["z"]),
    ]
    weight = np.random.default_rng(0).standard_normal((2, 3, *kernel)).astype(np.float32)
    x = helper.make_tensor_value_info("x", 1, ["N", 3, "H", "W"])
    z = helper.make_tensor_value_info("z", 1, [None] * 4)
    graph = helper.make_graph(nodes, "g", [x], [z], [numpy_helper.from_array(weight, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    dialect.attach_functions(model)
    plain, _ = inline.run(model)
    raised, results = raise_model(plain)
    if off:
        assert raised is plain, attributes(raised.graph.node[-1])
        return
    assert [node.op_type for node in raised.graph.node] == ["Conv", "Rectify"], results[-1].refused
    assert attributes(raised.graph.node[1])["numerator"] == numerator
    # onnx.reference knows no defaults of a function's attributes.
    raised.graph.node[1].attribute.append(helper.make_attribute("biased", 0))
    size = [dilations[axis] * (kernel[axis] - 1) + 3 for axis in (0, 1)]
    feeds = {"x": np.random.default_rng(1).standard_normal((1, 3, *size)).astype(np.float32)}
    (expected,), (found,) = (ReferenceEvaluator(entry).run(None, feeds) for entry in (plain, raised))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["digits"])
def test_a_zoo_network(name, tmp_path, check):
    from rectexport.models import create_model

    torch.manual_seed(0)
    export(create_model(name).eval(), (torch.randn(1, 1, 28, 28),), tmp_path / "out")
    raised = check(onnx.load(tmp_path / "out" / "model.onnx"), {})
    assert any(node.op_type == "Rectify" for node in raised.graph.node)
