"""Shape with start or end becomes a Gather of the whole shape."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch

from rectexport.exporter.frontend.inputs import ShapeOptions
from rectexport.exporter.passes.engines import whole_shape
from tests.export.helper import build, check_pass, normal, operators
from tests.export.nets import exported, image, seeded, source


@pytest.mark.parametrize(
    "attributes",
    ["start=2", "start=2, end=3", "start=-2", "start=-3, end=-1", "end=2", "start=1, end=9", "start=-9, end=1"],
)
@pytest.mark.parametrize("dims", ["2,3,4,5", "N,3,H,W"])
def test_sizes(attributes: str, dims: str) -> None:
    model = build(f"(float[{dims}] x) => (int64[K] y)", f"a = Relu(x)\n y = Shape<{attributes}>(a)")
    rewritten, _ = check_pass(whole_shape.run, model, {"x": normal(2, 3, 4, 5)})
    assert operators(rewritten) == ["Relu", "Shape", "Gather"]
    assert not any(node.attribute for node in rewritten.graph.node if node.op_type == "Shape")


def test_whole_shapes_stay() -> None:
    model = build("(float[N,3] x) => (int64[2] y, int64[2] z)", "y = Shape(x)\n z = Shape<start=0>(x)")
    rewritten, result = check_pass(whole_shape.run, model, {"x": normal(2, 3)})
    assert rewritten is model and not result.refused


def test_an_empty_choice_and_an_unknown_rank_are_refused() -> None:
    text = "y = Shape<start=3, end=2>(x)\n b = Reshape(x, s)\n z = Shape<start=1>(b)"
    model = build("(float[2,3] x, int64[K] s) => (int64[0] y, int64[L] z)", text)
    _, result = whole_shape.run(model)
    assert [entry.reason for entry in result.refused] == [
        "start 3 and end 2 leave nothing of 2 sizes",
        "the rank of b is unknown",
    ]


class Sizes(torch.nn.Module):
    """Reads the height, as a net with a size-dependent step does."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        return y.flatten(2) / y.shape[2]


def test_an_export_for_tensorrt_has_whole_shapes_only(tmp_path: Path) -> None:
    net = source(seeded(Sizes()), image(2, 2, 6, 6))
    shapes = ShapeOptions(min=["1x2x6x6"], max=["4x2x9x9"])
    for target, found in (("tensorrt", False), ("onnxruntime", True)):
        model = onnx.load(exported(net, tmp_path / target, target=target, shapes=shapes).package.model_file)
        read = [node for node in model.graph.node if node.op_type == "Shape"]
        assert read and any(node.attribute for node in read) == found
