"""Exported models stay correct after onnxslim and onnxsim, also where planes are as large as the channels.

OnnxSlim 0.1.98 takes a (1, 1, 1, W) factor for a scale per channel when W is the number of output channels, and
a (1, 1, H, 1) factor when H is; a whole map it leaves alone.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto
from torch import nn

from rectexport import export
from rectexport.exporter.frontend.load import load_source
from rectexport.exporter.tools.doctor import diagnose
from rectexport.models import RectifiedConv2d, create_model
from rectexport.runtime.engines.onnxruntime_runner import OnnxRuntimeRunner
from tests.places import DIGITS

CHANNELS = 12


def onnxsim(model: ModelProto) -> ModelProto:
    simplified, correct = pytest.importorskip("onnxsim").simplify(model)
    assert correct
    return simplified


def onnxslim(model: ModelProto) -> ModelProto:
    return pytest.importorskip("onnxslim").slim(model)


def answer(model: ModelProto, x: np.ndarray) -> np.ndarray:
    runner = OnnxRuntimeRunner(model.SerializeToString(), optimize=False)
    (output,) = runner.run({model.graph.input[0].name: x}).values()
    runner.close()
    return output


def layers() -> nn.Module:
    """Rectified layers like a ResNet's, 12 channels wide on planes of 12."""
    return nn.Sequential(
        RectifiedConv2d(3, CHANNELS, 3, padding=1, bias=False),
        nn.BatchNorm2d(CHANNELS),
        nn.ReLU(),
        RectifiedConv2d(CHANNELS, CHANNELS, 3, padding=1, mode="average"),
        nn.ReLU(),
        RectifiedConv2d(CHANNELS, CHANNELS, 5, padding=2, bias_mode="inside"),
    )


def resnet() -> nn.Module:
    return create_model("resnet50", width=0.25, blocks=(1, 1, 1, 1), num_classes=5)


@pytest.mark.parametrize("simplify", [onnxsim, onnxslim])
@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (layers, (1, 3, CHANNELS, CHANNELS)),
        (layers, (1, 3, 7, CHANNELS)),
        (layers, (1, 3, CHANNELS, 9)),
        (layers, (1, 3, 1, CHANNELS)),
        (layers, (1, 3, CHANNELS, 1)),
        (resnet, (1, 3, 64, 64)),
    ],
    ids=["both", "width", "height", "one row", "one column", "resnet"],
)
def test_an_export_survives(make, shape, simplify, tmp_path):
    torch.manual_seed(0)
    x = torch.randn(shape)
    export(make().eval(), (x,), tmp_path / "out")
    model = onnx.load(tmp_path / "out" / "model.onnx")
    expected = answer(model, x.numpy())
    found = answer(simplify(model), x.numpy())
    assert np.linalg.norm(found - expected) <= 1e-5 * np.linalg.norm(expected)


@pytest.mark.parametrize("simplify", [onnxsim, onnxslim])
def test_the_digits_network_survives(simplify, tmp_path):
    source = load_source(DIGITS)
    (example,) = source.example_inputs
    export(source.model, (torch.from_numpy(example),), tmp_path / "out")
    model = onnx.load(tmp_path / "out" / "model.onnx")
    expected, found = answer(model, example), answer(simplify(model), example)
    assert np.linalg.norm(found - expected) <= 1e-5 * np.linalg.norm(expected)
    diagnosis = diagnose(model)
    assert diagnosis.healthy and diagnosis.operators["Rectify"] > 0
