"""Every kind of package and layer that is exported for TensorRT parses and builds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

import rectexport
from rectexport.exporter.frontend.load import load_source
from rectexport.models import BoundaryConv2d, MaskedConv2d, RectifiedConv1d, RectifiedConv3d
from rectexport.runtime.package.folder import WEIGHTS
from tests.export.helper import build as graph
from tests.export.helper import normal
from tests.export.nets import exported, image, seeded

pytestmark = pytest.mark.filterwarnings("ignore:.*Timing cache operations are no-ops:DeprecationWarning")
Build = Callable[..., bytes]
PHOTO = "photo:uint8,nhwc,rgb,resize=10,crop=8,mean=0.485,0.456,0.406,std=0.229,0.224,0.225"


@dataclass(frozen=True)
class Kind:
    """A network, its example, and the axes that are free: input -> axis -> name."""

    net: nn.Module
    examples: tuple[Tensor, ...]
    free: tuple[dict[int, str], ...]

    def sizes(self, dynamic: bool) -> Any:
        """As torch.export takes it: 4 to 16, the batch 1 to 4; None fixes every size."""
        names = {name for axes in self.free for name in axes.values()}
        dims = {name: Dim(name, min=1, max=4) if name == "n" else Dim(name, min=4, max=16) for name in names}
        return tuple({axis: dims[name] for axis, name in axes.items()} for axes in self.free) if dynamic else None


class Masked(nn.Module):
    """[N, 2, H, W] and a mask [N, 1, H, W] -> planes and their mask, through two masked convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = MaskedConv2d(2, 3, 3, padding=1), MaskedConv2d(3, 2, 3, 2, 1)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        y, seen = self.first(x, mask)
        found: tuple[Tensor, Tensor] = self.second(y.relu(), seen)
        return found


class Photo(nn.Module):
    """[N, 3, H, W] -> [N, 4]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.conv(x).relu().mean((2, 3)))
        return found


class Bytes(nn.Module):
    """[N, 3, H, W] -> uint8 [N, H, W] or [N, 4, H, W]."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.conv = kind, nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        if self.kind == "classes":
            return y.argmax(1).to(torch.uint8)
        return (y > 0).to(torch.uint8) if self.kind == "seen" else (y * 20 + 128).clamp(0, 255).to(torch.uint8)


def rows(conv: type[nn.Module], *shape: int) -> Kind:
    """Two rectified convolutions along the axes of the example; all of them are free."""
    net = nn.Sequential(conv(2, 3, 3, padding=1), nn.ReLU(), conv(3, 2, 3, 2, 1))  # type: ignore[call-arg]
    return Kind(net, (image(2, 2, *shape),), ({0: "n"} | {2 + axis: f"s{axis}" for axis in range(len(shape))},))


def border(mode: Any) -> Kind:
    """Two convolutions with one border; rows across a pole need a fixed width."""
    net = nn.Sequential(
        BoundaryConv2d(2, 3, 3, padding=1, padding_mode=mode),
        nn.ReLU(),
        BoundaryConv2d(3, 2, 3, padding=1, padding_mode=mode),
    )
    return Kind(net, (image(2, 2, 6, 8),), ({0: "n", 2: "h"} | ({} if "poles" in mode else {3: "w"}),))


def kinds() -> Iterator[Any]:
    """Layers beside those of forms.py."""
    plane = {0: "n", 2: "h", 3: "w"}
    yield pytest.param(lambda: rows(RectifiedConv1d, 9), id="lines")
    yield pytest.param(lambda: rows(RectifiedConv3d, 5, 6, 7), id="volumes")
    seen = torch.ones(2, 1, 6, 7)
    seen[..., 2:4, 1:5] = 0
    yield pytest.param(lambda: Kind(Masked(), (image(2, 2, 6, 7), seen), (plane, plane)), id="masks")
    for mode in ("circular", "reflect", "replicate", "symmetric", ("poles", "circular"), ("replicate", "circular")):
        yield pytest.param(lambda mode=mode: border(mode), id=mode if isinstance(mode, str) else "-".join(mode))


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("make", list(kinds()))
def test_layers(build: Build, make: Callable[[], Kind], dynamic: bool, precision: str, tmp_path: Path) -> None:
    kind, half = make(), precision == "fp16"
    shapes = kind.sizes(dynamic)
    package = rectexport.export(
        seeded(kind.net), kind.examples, tmp_path / "net", shapes, target="tensorrt", fp16=half, guard=False
    )
    assert build(package.path)


@pytest.mark.parametrize("rectify", ["graph", "plugin"])
def test_lines_and_volumes_take_no_plugin(build: Build, rectify: str, tmp_path: Path) -> None:
    """The plugin computes planes; along one and three axes the form writes standard operators."""
    kind = rows(RectifiedConv3d, 5, 6, 7)
    shapes = kind.sizes(dynamic=True)
    package = rectexport.export(
        seeded(kind.net), kind.examples, tmp_path / "net", shapes, target="tensorrt", rectify=rectify
    )
    assert build(package.path)


@pytest.mark.parametrize("precision", [{}, {"fp16": True}, {"bf16": True}], ids=["fp32", "fp16", "bf16"])
@pytest.mark.parametrize(
    ("words", "answer"),
    [("nhwc,rgb", "softmax"), ("nhwc,bgr", "sigmoid"), ("nchw,bgr", "argmax"), ("nchw,rgb", "topk=2")],
)
def test_an_image_before_and_an_answer_behind(
    build: Build, words: str, answer: str, precision: dict[str, Any], tmp_path: Path
) -> None:
    """The input is uint8."""
    size = (12, 14, 3) if "nhwc" in words else (3, 12, 14)
    photo = torch.randint(0, 256, (2, *size), dtype=torch.uint8)
    shapes = ({0: Dim("n", min=1, max=4)},)
    text = PHOTO.replace("nhwc,rgb", words)
    options = {"target": "tensorrt", "image_input": text, "output": answer, **precision}
    assert build(rectexport.export(seeded(Photo()), (photo,), tmp_path / "net", shapes, **options).path)


@pytest.mark.parametrize("net", ["classes", "seen", "picture"])
def test_bytes_out(build: Build, net: str, tmp_path: Path) -> None:
    """uint8 from integers, from a comparison, and from float32."""
    package = rectexport.export(seeded(Bytes(net)), (image(2, 3, 8, 8),), tmp_path / "net", target="tensorrt")
    assert package.manifest.outputs[0].dtype == "uint8"
    assert build(package.path)


def test_weights_beside_several_models(build: Build, tmp_path: Path) -> None:
    """Where engines get models of their own, all share a file of weights, which the parser reads, too."""
    net = nn.Sequential(nn.Conv2d(3, 256, 3), nn.AvgPool2d(3, 2, 1, ceil_mode=True))
    package = rectexport.export(
        seeded(net), (image(1, 3, 12, 12),), tmp_path / "net", target="onnxruntime,openvino,tensorrt"
    )
    assert WEIGHTS in package.manifest.files
    assert build(package.path)


def test_an_onnx_file(build: Build, tmp_path: Path) -> None:
    """What torch.onnx.export writes, packaged."""
    layers = (nn.Conv2d(2, 4, 3, padding=1, padding_mode="circular"), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2))
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    torch.onnx.export(seeded(net), (image(2, 2, 6, 6),), tmp_path / "net.onnx", dynamo=True, verbose=False)
    assert build(exported(load_source(tmp_path / "net.onnx"), tmp_path / "net", target="tensorrt").package.path)


def test_a_circular_border_in_an_onnx_file(build: Build, tmp_path: Path) -> None:
    """Pad of mode wrap, which TensorRT before 10 lacks."""
    body = 'p = Pad<mode="wrap">(x, pads)\n y = Conv(p, w)'
    pads, weight = np.array([0, 0, 1, 1, 0, 0, 1, 1]), normal(3, 2, 3, 3)
    onnx.save(graph("(float[1,2,6,7] x) => (float[1,3,6,7] y)", body, 19, pads=pads, w=weight), tmp_path / "net.onnx")
    package = exported(load_source(tmp_path / "net.onnx"), tmp_path / "net", target="tensorrt").package
    assert "Pad" not in {node.op_type for node in onnx.load(package.model_file).graph.node}
    assert build(package.path)
