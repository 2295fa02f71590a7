"""Every form, precision and kind of shape that the exporter writes for TensorRT parses and builds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from torch import Tensor, nn

from rectexport.exporter.base.log import Log
from rectexport.exporter.base.options import ExportOptions, Int8
from rectexport.exporter.frontend.inputs import ShapeOptions
from rectexport.exporter.pipeline import run_export
from rectexport.models import RectifiedConv2d, create_model
from rectexport.runtime.base.shapes import ShapeRange
from rectexport.runtime.engines.tensorrt.building.builder import Model, build_engine
from rectexport.runtime.engines.tensorrt.options import BuildOptions
from rectexport.runtime.engines.tensorrt.versions import Api
from rectexport.runtime.errors import BadInput
from tests.export.helper import build as graph
from tests.export.nets import Chain, Pair, Small, exported, image, seeded, source
from tests.tensorrt_rtx.conftest import TARGETS

pytestmark = [
    pytest.mark.usefixtures("shared_traces"),
    pytest.mark.filterwarnings("ignore:.*Timing cache operations are no-ops:DeprecationWarning"),
]
RANGE = ShapeOptions(min=["x:1x2x4x4"], opt=["x:2x2x6x6"], max=["x:3x2x9x9"])
BATCH = ShapeOptions(min=["x:1x2x6x6"], opt=["x:2x2x6x6"], max=["x:3x2x6x6"])
SHAPES = {"static": ShapeOptions(), "batch": BATCH, "dynamic": RANGE}
PRECISIONS: dict[str, dict[str, Any]] = {"fp32": {}, "fp16": {"fp16": True}, "bf16": {"bf16": True, "opset": 22}}


FORMS = (
    ("fold", "static"),
    ("fold", "batch"),
    ("auto", "static"),
    ("auto", "dynamic"),
    ("graph", "dynamic"),
    ("plugin", "static"),
    ("plugin", "dynamic"),
)
#: Those that every change builds: each form that differs, each precision, each kind of shape.
QUICK = {("auto", "static", "bf16"), ("graph", "dynamic", "fp32"), ("plugin", "dynamic", "fp16")}
CASES = [
    pytest.param(*case, marks=[pytest.mark.quick] * (case in QUICK))
    for case in ((*form, precision) for form in FORMS for precision in PRECISIONS)
]


@pytest.mark.parametrize(("form", "shapes", "precision"), CASES)
def test_forms(build: Callable[..., bytes], form: str, shapes: str, precision: str, tmp_path: Path) -> None:
    """The plugin form is built from the nodes' function bodies."""
    net = source(seeded(Small()), image(2, 2, 6, 6))
    options = {"rectify": form, "target": "tensorrt", **PRECISIONS[precision]}
    assert build(exported(net, tmp_path / "net", SHAPES[shapes], **options).package.path)


@pytest.mark.parametrize(
    "fp16", [pytest.param(False, id="fp32"), pytest.param(True, id="fp16", marks=pytest.mark.quick)]
)
def test_int8(build: Callable[..., bytes], fp16: bool, tmp_path: Path) -> None:
    """Q/DQ nodes, with float32 or float16 between them."""
    net = source(seeded(Small()), image(2, 2, 6, 6))
    data = np.stack([image(2, 6, 6, seed=seed).numpy() for seed in range(24)])
    options = ExportOptions(target="tensorrt", fp16=fp16, int8=Int8({"x": data}))
    package = run_export(net, BATCH, tmp_path / "net", options, Log()).package
    nodes = [node.op_type for node in onnx.load(package.model_for("tensorrt")).graph.node]
    assert nodes.count("QuantizeLinear") > 1 and build(package.path)


@pytest.mark.parametrize("net", [Chain, Pair])
def test_planes_and_several_inputs(build: Callable[..., bytes], net: Any, tmp_path: Path) -> None:
    images = (image(2, 2, 6, 6),) if net is Chain else (image(1, 1, 6, 6), image(1, 1, 5, 7))
    assert build(exported(source(seeded(net()), *images), tmp_path / "net", target="tensorrt").package.path)


def test_a_map_takes_few_layers(api: Api, tmp_path: Path) -> None:
    """Where H and W are dynamic: two rectified layers of one geometry share one map, of twelve layers."""
    counts = {}
    for kind, shapes in SHAPES.items():
        net = source(seeded(Twice()), image(2, 2, 6, 6))
        package = exported(net, tmp_path / kind, shapes, target="tensorrt").package
        graph = api.module.Builder(logger := api.module.Logger()).create_network(0)
        parser = api.module.OnnxParser(graph, logger)
        assert parser.parse_from_file(str(package.model_file))
        counts[kind] = graph.num_layers
    assert counts["static"] == counts["batch"] and counts["dynamic"] - counts["static"] <= 12


class Twice(nn.Module):
    """[N, 2, H, W] -> the same: two rectified convolutions of one window, and a ReLU between them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = RectifiedConv2d(2, 2, 3, padding=1)
        self.second = RectifiedConv2d(2, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).relu())


@pytest.mark.parametrize("name", ["digits"])
def test_networks_of_the_zoo(build: Callable[..., bytes], name: str, tmp_path: Path) -> None:
    net = source(create_model(name).eval(), image(1, 1, 8, 8))
    assert build(exported(net, tmp_path / "net", target="tensorrt").package.path)


def refused(api: Api, body: str, tmp_path: Path, **values: Any) -> str:
    """The error for a graph [2, 3] -> [2, 3]."""
    path = tmp_path / "model.onnx"
    onnx.save(graph("(float[2,3] x) => (float[2,3] y)", body, **values), path)
    shape = ShapeRange((2, 3), (2, 3), (2, 3))
    with pytest.raises(BadInput) as error:
        build_engine(Model(path), BuildOptions(({"x": shape},)), api, targets=TARGETS)
    return str(error.value)


@pytest.mark.quick
def test_the_parsers_reason_is_told(api: Api, tmp_path: Path) -> None:
    body = "a = Relu(x)\n wide = Add(shape, shape)\n y = Reshape(a, wide)"  # ONNX's checker does not add
    text = refused(api, body, tmp_path, shape=np.array([1, 2], np.int64))
    assert "Reshape): TensorRT for RTX" in text and "reshape changes volume" in text
    assert "Invalid Node" not in text and "cudaError" not in text


@pytest.mark.quick
def test_an_unknown_operator_is_named(api: Api, tmp_path: Path) -> None:
    text = refused(api, "y = Unique<axis=0>(x)", tmp_path)
    assert "(Unique)" in text and "does not support it" in text
