"""Images in front of a model: what is exported equals PyTorch's own preprocessing, on every engine and pixel value."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import save_model
from torch import Tensor, nn
from torch.export import Dim
from torch.nn import functional

import rectexport
from rectexport.exporter.base.options import ExportOptions, ShapeOptions
from rectexport.exporter.base.processing import ImageInput, parse_image_input
from rectexport.exporter.checking.engines import installed_engines
from rectexport.exporter.frontend.load import load_source
from rectexport.exporter.frontend.source import Source
from rectexport.exporter.pipeline import describe_export
from rectexport.exporter.preprocess.image import ImagePreprocess
from rectexport.exporter.preprocess.picture import draw
from rectexport.exporter.preprocess.wrap import Processing, prepare
from rectexport.runtime.errors import BadInput, UsageError
from tests.export.helper import build
from tests.export.nets import image, seeded

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TEXT = "photo:uint8,nhwc,rgb,resize=10,crop=8,mean=0.485,0.456,0.406,std=0.229,0.224,0.225"


class Net(nn.Module):
    """[N, 3, H, W] -> [N, 4]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x).relu().amax((2, 3)))


def pixels(*shape: int) -> np.ndarray[Any, Any]:
    values = np.random.default_rng(3).integers(0, 256, shape, np.uint8)
    values.flat[:2] = (0, 255)
    return values


def by_hand(photo: np.ndarray[Any, Any], resize: int, crop: int, mode: str = "bilinear") -> Tensor:
    """torchvision's Resize, CenterCrop, ToDtype and Normalize, in float64."""
    y = torch.from_numpy(photo).permute(0, 3, 1, 2).double()
    height, width = y.shape[2:]
    short = min(height, width)
    size = (resize * height // short, resize * width // short)
    y = functional.interpolate(y, size=size, mode=mode, antialias=True, align_corners=False)
    top, left = (round((side - crop) / 2) for side in size)
    y = y[:, :, top : top + crop, left : left + crop] / 255
    mean, std = (torch.tensor(values, dtype=torch.float64).view(1, 3, 1, 1) for values in (MEAN, STD))
    return (y - mean) / std


@pytest.mark.parametrize("size", [(13, 17), (15, 11), (23, 10), (8, 9)])
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_the_reference_is_torchs_own(size: tuple[int, int], mode: str) -> None:
    photo = pixels(2, *size, 3)
    module = ImagePreprocess(parse_image_input(f"{TEXT},interpolation={mode}")).double()
    torch.testing.assert_close(module(torch.from_numpy(photo)), by_hand(photo, 10, 8, mode), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("words", "undo"), [("bgr", lambda y: y[..., ::-1]), ("nchw", lambda y: y.transpose(0, 3, 1, 2))]
)
def test_other_orders(words: str, undo: Any) -> None:
    photo = pixels(1, 13, 17, 3)
    module = ImagePreprocess(parse_image_input(TEXT.replace("nhwc,rgb", words))).double()
    given = torch.from_numpy(np.ascontiguousarray(undo(photo)))
    torch.testing.assert_close(module(given), by_hand(photo, 10, 8), rtol=1e-9, atol=1e-9)


def test_a_crop_larger_than_the_image() -> None:
    with pytest.raises(BadInput, match="crop=8x8: larger than the image, which is 6x9 here; add a larger resize"):
        ImagePreprocess(ImageInput("x", crop=(8, 8)))(torch.zeros(1, 6, 9, 3, dtype=torch.uint8))


@pytest.mark.parametrize("channels", ["rgb", "bgr", "gray"])
@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_the_drawn_picture(channels: str, layout: str) -> None:
    options = ImageInput("x", layout, channels)
    picture = draw(options, options.shape(2, 40, 50))
    assert (picture.shape, picture.dtype) == (options.shape(2, 40, 50), np.uint8)
    assert picture.min() < 3 and picture.max() > 252 and len(np.unique(picture)) > 100
    assert not np.array_equal(picture[0], picture[1])
    np.testing.assert_array_equal(picture, draw(options, options.shape(2, 40, 50)))


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Open batch, height and width."""
    folder = tmp_path_factory.mktemp("image") / "p"
    sides = {1: Dim("height", min=10, max=30), 2: Dim("width", min=10, max=30)}
    free = ({0: Dim("batch", max=4), **sides},)
    photo = torch.from_numpy(pixels(2, 13, 17, 3))
    rectexport.export(seeded(Net()), (photo,), folder, free, image_input=TEXT, target="portable")
    return folder


@pytest.mark.parametrize("engine", installed_engines())
@pytest.mark.parametrize("size", [(13, 17), (29, 12), (10, 10)])
def test_on_engines(engine: str, size: tuple[int, int], package: Path) -> None:
    photo = pixels(3, *size, 3)
    wanted = seeded(Net()).double()(by_hand(photo, 10, 8)).detach().numpy()
    with rectexport.load(package, backend=engine, threads=1) as session:
        got = session(photo=photo)
    assert np.linalg.norm(got - wanted) < 1e-5 * np.linalg.norm(wanted)


def test_what_is_recorded(package: Path) -> None:
    manifest = json.loads((package / "manifest.json").read_text())
    assert ImageInput.of(manifest["preprocessing"]) == parse_image_input(TEXT)
    assert manifest["inputs"][0]["shape"] == ["batch", "height", "width", 3]
    parity = json.loads((package / "parity.json").read_text())
    assert parity["reference"] == "PyTorch, float64"
    assert "conv" in {layer["layer"] for case in parity["cases"] for layer in case["layers"]}


def source(**changed: Any) -> Source:
    return Source("module", seeded(Net()), "Net", Path("net.pt"), **changed)


def prepared(text: str, **changed: Any) -> Source:
    return prepare(source(**changed), ShapeOptions(), Processing(parse_image_input(text)))


@pytest.mark.parametrize("name", ["photo", "x"])
def test_sizes_where_none_is_given(name: str) -> None:
    text = TEXT.replace("photo", name)
    assert prepared(text, example_inputs=(image(2, 3, 8, 8).numpy(),)).default_shapes == {name: (2, 12, 15, 3)}
    assert prepared(f"{name}:uint8", default_shape=(1, 3, 8, 9)).default_shapes == {name: (1, 8, 9, 3)}
    assert prepared(f"{name}:uint8").default_shapes == {}


def test_flags_give_other_sizes() -> None:
    shapes = ShapeOptions(min=["photo:1x12x12x3"], max=["photo:2x20x20x3"])
    plan = describe_export(source(), shapes, Path("out"), ExportOptions(image_input=parse_image_input(TEXT)))
    assert plan[0] == "input photo 1x12x12x3 .. 2x20x20x3 uint8"


def test_images_that_do_not_fit_the_model() -> None:
    with pytest.raises(UsageError, match=r"gray images have 1 channels, net\.pt takes 3"):
        prepared("x:gray", example_inputs=(image(1, 3, 8, 8).numpy(),))
    with pytest.raises(UsageError, match=r"no input 'photo'; net\.pt takes a, b"):
        prepared(TEXT, input_names=["a", "b"])


def test_files_that_cannot_be_wrapped(tmp_path: Path) -> None:
    save_model(build("(float[1,3,4,4] x) => (float[1,3,4,4] y)", "y = Relu(x)"), tmp_path / "net.onnx")
    with pytest.raises(UsageError, match=r"image_input: .*net\.onnx is ONNX file; what stands"):
        prepare(load_source(tmp_path / "net.onnx"), ShapeOptions(), Processing(parse_image_input(TEXT)))
    torch.jit.script(seeded(Net())).save(tmp_path / "net.pt")
    with pytest.raises(
        UsageError, match=r"image_input: .*net\.pt is TorchScript; what stands around a model is traced"
    ):
        prepare(load_source(tmp_path / "net.pt"), ShapeOptions(), Processing(parse_image_input(TEXT)))


def test_an_exported_program(tmp_path: Path) -> None:
    net, photo = seeded(Net()), pixels(1, 13, 17, 3)
    torch.export.save(torch.export.export(net, (image(1, 3, 8, 8),)), tmp_path / "net.pt2")
    found = load_source(next(tmp_path.glob("net.*")))
    from rectexport.exporter.base.log import Log
    from rectexport.exporter.base.processing import parse_answer
    from rectexport.exporter.pipeline import run_export

    options = ExportOptions(image_input=parse_image_input(TEXT), answer=parse_answer("topk=2"))
    shapes = ShapeOptions(input=["photo:1x13x17x3"])
    done = run_export(found, shapes, tmp_path / "p", options, Log()).package
    assert done.manifest.data["postprocessing"] == {"kind": "topk", "k": 2, "output": None}
    assert done.manifest.data["source"]["kind"] == "torch.export.ExportedProgram"
    with rectexport.load(done.path, backend="onnxruntime", threads=1) as session:
        got = session(photo)
    wanted = net.double()(by_hand(photo, 10, 8)).topk(2)
    np.testing.assert_array_equal(got["indices"], wanted.indices)
    np.testing.assert_allclose(got["values"], wanted.values.detach(), atol=1e-5)


class Halves(nn.Module):
    def forward(self, photo: Tensor) -> dict[str, Tensor]:
        return {"x": photo.permute(0, 3, 1, 2) / 2}


class Best(nn.Module):
    def forward(self, logits: Tensor) -> dict[str, Tensor]:
        return {"best": logits.argmax(1), "logits": logits}


def test_modules_of_the_user(tmp_path: Path) -> None:
    net, photo = seeded(Net()), image(2, 5, 6, 3)
    package = rectexport.export(net, (photo,), tmp_path / "p", preprocess=Halves(), postprocess=Best())
    assert package.manifest.data["preprocessing"] == {"module": f"{__name__}.Halves"}
    with rectexport.load(package.path, backend="onnxruntime", threads=1) as session:
        got = session(photo=photo.numpy())
    wanted = net(photo.permute(0, 3, 1, 2) / 2)
    np.testing.assert_array_equal(got["best"], wanted.argmax(1))
    with pytest.raises(UsageError, match="image_input and preprocess: one of the two"):
        rectexport.export(net, (photo,), tmp_path / "q", preprocess=Halves(), image_input=TEXT)
    with pytest.raises(UsageError, match=r"around the model, which"):
        Processing.of(package.manifest.data)
