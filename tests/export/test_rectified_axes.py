"""Rectified convolutions along one and three axes, from PyTorch to both engines and back from the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

import rectexport
from rectexport.exporter.passes.raising import raise_model
from rectexport.exporter.tools.plain_twin import plain_twin
from rectexport.models.layers import rectified
from tests.export.engines import ENGINES

CONVS = {1: rectified.RectifiedConv1d, 3: rectified.RectifiedConv3d}
NORMS = {1: nn.BatchNorm1d, 3: nn.BatchNorm3d}
SIZES = {1: ((9,), (16,)), 3: ((4, 5, 6), (5, 7, 4))}


class Net(nn.Module):
    """Both bias modes, both modes, a stride, a dilation, uneven padding, a window without a tap, BatchNorm."""

    def __init__(self, axes: int) -> None:
        super().__init__()
        conv = CONVS[axes]
        self.first = conv(2, 4, 3, padding=1, bias=False)
        self.norm = NORMS[axes](4)
        self.second = conv(4, 4, 3, 2, 1, mode="average", bias_mode="inside")
        self.third = conv(4, 3, 2, padding=(2, 1) * axes, dilation=2, empty="zero")

    def forward(self, x: Tensor) -> Tensor:
        return self.third(self.second(self.norm(self.first(x)).relu()).relu())


def network(axes: int) -> nn.Module:
    torch.manual_seed(0)
    net = Net(axes).eval()
    for norm in (module for module in net.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)):
        norm.running_mean.normal_(), norm.running_var.uniform_(0.5, 2), nn.init.normal_(norm.bias)
    return net


def free(axes: int) -> Any:
    return ({2 + axis: torch.export.Dim(f"s{axis}", min=4, max=64) for axis in range(axes)},)


@pytest.mark.parametrize(
    ("axes", "dynamic", "target"),
    [(1, False, "portable"), (1, True, "tensorrt"), (3, True, "portable"), (3, False, "tensorrt")],
)
def test_every_engine_answers_as_pytorch(axes: int, dynamic: bool, target: str, tmp_path: Path) -> None:
    net, (size, other) = network(axes), SIZES[axes]
    shapes = free(axes) if dynamic else None
    package = rectexport.export(net, (torch.randn(2, 2, *size),), tmp_path / "net", shapes, target=target)
    model = onnx.load(package.model_file)
    assert not any(node.domain for node in model.graph.node) and not model.functions
    passes = {entry["name"]: entry["fired"] for entry in package.manifest.data["passes"]}
    assert passes["rectify_graph" if dynamic else "rectify_fold"] and passes["batch_norm"]
    assert bool(passes.get("rectify_ones")) == (dynamic and target == "tensorrt")
    for engine in ENGINES:
        with rectexport.load(package.path, backend=engine) as session, torch.no_grad():
            for shape in (size, other) if dynamic else (size,):
                x = torch.randn(2, 2, *shape)
                np.testing.assert_allclose(session(x.numpy()), net(x).numpy(), rtol=1e-4, atol=1e-5)
    cases = json.loads((package.path / "parity.json").read_text())["cases"]
    layers = {layer["layer"]: layer for layer in cases[0]["layers"]}
    assert set(layers["norm"]["regions"]) == ({"edge", "interior"} if axes == 1 else {"corner", "edge", "interior"})
    raised, _ = raise_model(model)
    assert [node.op_type for node in raised.graph.node if node.domain].count(f"Rectify{axes}d") == 3
    assert target == "tensorrt" or plain_twin(model).rectifications == 3


def test_the_plugin_is_given_planes_only(tmp_path: Path) -> None:
    axes = 3
    net, (size, _) = network(axes), SIZES[axes]
    package = rectexport.export(
        net, (torch.randn(1, 2, *size),), tmp_path / "net", free(axes), rectify="plugin", target="tensorrt"
    )
    model = onnx.load(package.model_file)
    assert not any(node.domain for node in model.graph.node) and not model.functions
