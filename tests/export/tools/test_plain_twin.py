"""The plain twin equals an export of the plain network, whatever form rectification was exported in."""

from __future__ import annotations

import copy
from itertools import product

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import nn

from benchmarks import chains
from benchmarks.chains import Chain
from rectexport import export
from rectexport.exporter.passes import lower
from rectexport.exporter.passes.lowering.machinery.tuning import ForcedForm, finished
from rectexport.exporter.passes.precision import half
from rectexport.exporter.tools.plain_twin import plain_twin, write_plain_twin
from rectexport.models import CReLU, RectifiedConv2d, SymmetricConv2d
from rectexport.models.rectify import plain
from rectexport.runtime.engines.onnxruntime_runner import OnnxRuntimeRunner
from rectexport.runtime.errors import BadInput


def operators(model):
    return sorted(node.op_type for node in model.graph.node)


def answers(model, x):
    runner = OnnxRuntimeRunner(model.SerializeToString(), threads=1, optimize=False)
    return next(iter(runner.run({runner.inputs[0].name: x}).values()))


def distance(one, other):
    return np.linalg.norm(one - other) / np.linalg.norm(other)


@pytest.mark.parametrize(
    ("form", "fp16"), [*product(("as_written", "residual", "tail"), (False, True)), ("blocked", False)]
)
def test_every_form_of_rectification_is_removed(form, fp16):
    chain = Chain(16, 6, 2, 3)
    model = finished(lower(chains.rectified(chain), ForcedForm(form))[0])
    model, floor = (half.run(entry)[0] if fp16 else entry for entry in (model, chains.plain(chain)))
    before = model.SerializeToString()
    twin = plain_twin(model)
    assert model.SerializeToString() == before
    assert twin.rectifications == 3 and twin.nodes == (len(model.graph.node), len(floor.graph.node))
    assert operators(twin.model) == operators(floor)
    x = np.random.default_rng(0).standard_normal((2, 16, 6, 6)).astype(np.float32)
    assert distance(answers(twin.model, x), answers(floor, x)) <= (2e-3 if fp16 else 1e-6)
    assert distance(answers(model, x), answers(floor, x)) > 1e-2


def network():
    return nn.Sequential(
        RectifiedConv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        CReLU(),
        RectifiedConv2d(16, 8, 3, padding=1, stride=2),
        nn.ReLU(),
        SymmetricConv2d(8, 8, 2),
        RectifiedConv2d(8, 4, 5, 2, 2, mode="average"),
        RectifiedConv2d(4, 4, 3, padding=3, bias_mode="inside"),
    )


def test_a_package_and_its_twin(tmp_path):
    """Everything else stays in the form that it has: nodes as in the package of the plain net, CReLU's parts too."""
    torch.manual_seed(0)
    net = network().eval()
    twin_net = copy.deepcopy(net)
    plain(twin_net)
    axes = {0: torch.export.Dim("batch", max=4), **{i: torch.export.Dim("hw"[i - 2], min=8, max=64) for i in (2, 3)}}
    shapes = (axes,)
    x = torch.randn(2, 3, 16, 18)
    package = export(net, (x,), tmp_path / "net", shapes)
    expected = onnx.load(export(twin_net, (x,), tmp_path / "plain", shapes).model_file)
    (tmp_path / "twin").mkdir()
    twin, description = write_plain_twin(package, tmp_path / "twin")
    assert description.startswith("4 rectifications removed")
    twin.verify_files()
    assert twin.manifest.inputs == package.manifest.inputs
    found = onnx.load(twin.model_file)
    assert operators(found) == operators(expected)
    assert distance(answers(found, x.numpy()), answers(expected, x.numpy())) <= 1e-6


def scaled(name, factor):
    """Conv, then a product."""
    weight = np.random.default_rng(0).standard_normal((2, 2, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["y"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Mul", ["y", factor], ["z"], name),
    ]
    x, r, z = (helper.make_tensor_value_info(n, 1, [1, 2, 4, 4]) for n in ("x", "r", "z"))
    graph = helper.make_graph(nodes, "g", [x, r], [z], [numpy_helper.from_array(weight, "w")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.mark.parametrize(
    ("name", "factor", "text"),
    [
        ("scale", "r", "the model has no rectification"),
        ("rectify_scale.z", "r", "the factor of rectify_scale.z depends on more than sizes"),
    ],
)
def test_what_is_no_rectification_is_refused(name, factor, text):
    with pytest.raises(BadInput, match=text):
        plain_twin(scaled(name, factor))


def test_anything_else_that_would_change_is_refused(monkeypatch):
    from rectexport.exporter.tools import plain_twin as module

    def careless(graph, scale):
        relu = next(node for node in graph.nodes if node.op == "Relu")
        relu.op = "Sigmoid"
        return remove(graph, scale)

    remove = module.remove_own
    monkeypatch.setattr(module, "remove_own", careless)
    with pytest.raises(BadInput, match="would also change Relu, Sigmoid"):
        plain_twin(finished(chains.rectified(Chain(8, 6, 1, 1))))


def test_each_engine_has_the_twin_of_its_own_model(tmp_path):
    torch.manual_seed(0)
    net = nn.Sequential(RectifiedConv2d(3, 16, 3, padding=1), nn.ReLU(), RectifiedConv2d(16, 16, 3, padding=1)).eval()
    package = export(net, (torch.randn(1, 3, 12, 12),), tmp_path / "net", target="onnxruntime,openvino")
    assert package.manifest.models
    (tmp_path / "twin").mkdir()
    twin, _ = write_plain_twin(package, tmp_path / "twin")
    twin.verify_files()
    assert twin.manifest.models == package.manifest.models
    x = np.random.default_rng(0).standard_normal((1, 3, 12, 12)).astype(np.float32)
    plain(net)
    expected = net(torch.from_numpy(x)).detach().numpy()
    for engine in ("onnxruntime", "openvino"):
        model = onnx.load(twin.model_for(engine))
        assert "Mul" not in operators(model)
        assert distance(answers(model, x), expected) <= 1e-6


def test_a_package_whose_model_is_unreadable(tmp_path):
    package = export(network().eval(), (torch.randn(1, 3, 16, 16),), tmp_path / "net")
    package.model_file.write_bytes(b"nothing")
    with pytest.raises(BadInput, match=r"model\.onnx: not an ONNX file"):
        write_plain_twin(package, tmp_path)
