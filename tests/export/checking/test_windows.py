"""Windows from graphs: right by perturbation, exact in tiles, and refused where none is finite."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from rectexport import export, load
from rectexport.exporter.checking.windows import ImageWindow, Whole, output_windows, tiling_entries
from rectexport.exporter.graph.shapes import infer_shapes
from rectexport.models.layers.rectified import RectifiedConv2d
from rectexport.models.layers.symmetric import SymmetricConv2d
from rectexport.runtime.engines.onnxruntime_runner import OnnxRuntimeRunner
from rectexport.runtime.package.manifest import TensorEntry
from rectexport.runtime.tiling.tiled import run_tiled
from tests.export.helper import build, normal

WEIGHT = normal(2, 2, 3, 3)
#: Bodies of x [N, 2, H, W] -> y, and (stride, low, high) of an output along each axis.
BODIES: dict[str, tuple[str, tuple[Any, int, int]]] = {
    "conv": ("y = Conv<pads=[1,1,1,1]>(x, w)", (1, -1, 1)),
    "strided": ("y = Conv<pads=[1,1,1,1], strides=[2,2]>(x, w)", (2, -1, 1)),
    "dilated": ("y = Conv<dilations=[3,3]>(x, w)", (1, 0, 6)),
    "twice": (
        "a = Conv<pads=[1,1,1,1], strides=[2,2]>(x, w)\n y = Conv<pads=[1,1,1,1], strides=[2,2]>(a, w)",
        (4, -3, 3),
    ),
    "pool": ("y = MaxPool<kernel_shape=[2,2], strides=[2,2]>(x)", (2, 0, 1)),
    "ceil pool": (
        "y = AveragePool<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1], ceil_mode=1>(x)",
        (2, -1, 1),
    ),
    "residual": ("a = Conv<pads=[1,1,1,1]>(x, w)\n y = Add(a, x)", (1, -1, 1)),
    "mirrored": ('a = Pad<mode="reflect">(x, ones)\n y = Conv(a, w)', (1, -3, 3)),
    "shuffled": ("a = Reshape(x, groups)\n b = Transpose<perm=[0,2,1,3,4]>(a)\n y = Reshape(b, back)", (1, 0, 0)),
    "softmax": ("y = Softmax<axis=1>(x)", (1, 0, 0)),
    "padded in five axes": ("a = Reshape(x, groups)\n b = Pad(a, more)\n y = Reshape(b, larger)", (1, -1, -1)),
}
STORED: dict[str, Any] = {
    "w": WEIGHT,
    "ones": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
    "groups": np.array([0, 2, 1, 24, 24]),
    "back": np.array([0, 2, 24, 24]),
    "more": np.array([0, 0, 0, 1, 1, 0, 0, 0, 1, 1]),
    "larger": np.array([0, 2, 26, 26]),
    "whole": np.array([0, 2, 576]),
    "planes": np.array([0, 2, 24, 24]),
    "axes": np.array([2, 3]),
    "first": np.array([0]),
}


def graph(body: str, size: int = 24) -> Any:
    used = {
        name: value
        for name, value in STORED.items()
        if name in body.replace("(", " ").replace(")", " ").replace(",", " ").split()
    }
    return build(f"(float[1,2,{size},{size}] x) => (float[N,C,A,B] y)", body, **used)


@pytest.mark.parametrize("name", BODIES)
def test_the_window_of_each_operator(name: str) -> None:
    body, (stride, low, high) = BODIES[name]
    found = output_windows(infer_shapes(graph(body)))["y"]
    assert isinstance(found, ImageWindow), found
    for window in found.windows:
        assert (window.stride, window.low, window.high) == (Fraction(stride), Fraction(low), Fraction(high))


@pytest.mark.parametrize("name", sorted({*BODIES} - {"mirrored"}))
def test_nothing_outside_the_window_changes_an_output(name: str) -> None:
    """Every input column is changed in turn; the outputs that follow are those whose windows hold it."""
    model = graph(BODIES[name][0])
    found = output_windows(infer_shapes(model))["y"]
    assert isinstance(found, ImageWindow)
    window, runner = found.windows[1], OnnxRuntimeRunner(model.SerializeToString(), optimize=False)
    x = normal(1, 2, 24, 24)
    before = runner.run({"x": x})["y"]
    for column in range(24):
        changed = x.copy()
        changed[..., column] += 1
        moved = np.unique(np.nonzero(runner.run({"x": changed})["y"] != before)[3])
        holding = {
            o
            for o in range(before.shape[3])
            if window.stride * o + window.low <= column <= window.stride * o + window.high
        }
        assert set(moved.tolist()) <= holding
    runner.close()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("a = GlobalAveragePool(x)\n y = Mul(x, a)", "GlobalAveragePool"),
        ("a = Reshape(x, whole)\n b = Softmax<axis=2>(a)\n y = Reshape(b, planes)", "changes the image's axes"),
        ("y = ReduceMean(x, axes)", "mixes values over the image"),
        ("y = Softmax<axis=3>(x)", "mixes values over the image"),
        ("a = ArgMax<axis=0, keepdims=0>(x)\n b = Cast<to=1>(a)\n y = Unsqueeze(b, first)", "it removes axes"),
        ("a = Transpose<perm=[0,2,3,1]>(x)\n y = MaxPool<kernel_shape=[2,2]>(a)", "other axes than the image's"),
        ('y = Pad<mode="wrap">(x, ones)', "opposite sides"),
        ("y = rectexport.BoundaryPad<modes = [5, 1], pads = [1, 1, 1, 1]>(x)", "joins distant sides"),
        ('y = Conv<auto_pad="SAME_UPPER", strides=[2,2]>(x, w)', "auto_pad"),
        (
            "a = MaxPool<kernel_shape=[2,2], strides=[2,2]>(x)\n b = Concat<axis=2>(a, a)\n y = Relu(b)",
            "over the image",
        ),
        ("s = Shape(x)\n f = Cast<to=1>(s)\n m = ReduceMax<keepdims=0>(f)\n y = Div(x, m)", "reads the image's size"),
    ],
)
def test_what_has_no_window_is_refused_by_node(body: str, said: str) -> None:
    found = output_windows(infer_shapes(graph(body)))["y"]
    assert isinstance(found, Whole) and said in found.reason, found


def test_attributes_that_do_not_fit_are_refused() -> None:
    model = graph("y = Pad(x, ones)")
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.zeros(5, np.int64), "ones"))
    found = output_windows(model)["y"]
    assert isinstance(found, Whole) and "do not fit the rank" in found.reason


class Net(nn.Module):
    """Rectification, an even kernel, dilation, a transposed convolution, upsampling both ways and two outputs."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.even = RectifiedConv2d(3, 8, 3, padding=1, stride=2), SymmetricConv2d(8, 8, 2)
        self.up, self.wide = nn.ConvTranspose2d(8, 8, 4, 2, 1), nn.Conv2d(8, 8, 3, padding=2, dilation=2)
        self.last = nn.Conv2d(8, 12, 3, padding=1, padding_mode="replicate")

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.up(torch.relu(self.even(self.stem(x))))
        y = self.wide(y) + y
        y = functional.interpolate(functional.avg_pool2d(y, 2), scale_factor=2, mode="bilinear")
        return functional.pixel_shuffle(self.last(y), 2), functional.max_pool2d(y, 4)


def test_a_package_answers_images_larger_than_its_size(tmp_path: Path) -> None:
    net = Net().eval()
    package = export(net, (torch.randn(1, 3, 48, 48),), tmp_path / "net")
    x = torch.randn(2, 3, 96, 136, generator=torch.Generator().manual_seed(1))
    with load(package.path, backend="onnxruntime") as session, torch.no_grad():
        for found, wanted in zip(session.tiled(x.numpy(), 48), net(x), strict=True):
            np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-5, atol=1e-5)


def test_one_pixel_less_of_a_real_network_differs(tmp_path: Path) -> None:
    """The derived window of convolutions is no wider than it must be."""
    net = nn.Sequential(RectifiedConv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 5, padding=2)).eval()
    package = export(net, (torch.randn(1, 3, 24, 24),), tmp_path / "net")
    (axes,) = (entry["axes"] for entry in package.manifest.data["tiling"].values())
    assert [axis["halo"] for axis in axes] == [[3, 3], [3, 3]]
    x = torch.randn(1, 3, 60, 24)
    with load(package.path, backend="onnxruntime") as session, torch.no_grad():
        package.manifest.data["tiling"]["output"]["axes"][0]["low"] = "-2"
        short = run_tiled(session.run, package, x.numpy(), 24)["output"]
        assert np.abs(short - net(x).numpy()).max() > 1e-3


def test_a_classifier_says_which_node_pools_the_whole_image() -> None:
    model = graph("a = Conv(x, w)\n b = GlobalAveragePool(a)\n y = Relu(b)")
    assert tiling_entries(model) == {"y": {"refused": "GlobalAveragePool b: it has no finite window that is known"}}


def test_signals_and_volumes_have_one_and_three_axes() -> None:
    line = build("(float[1,2,32] x) => (float[N,C,L] y)", "y = Conv<pads=[1,1]>(x, w)", w=normal(2, 2, 3))
    found = output_windows(infer_shapes(line))["y"]
    assert isinstance(found, ImageWindow) and len(found.windows) == 1
    package: Any = SimpleNamespace(
        path=Path("net"),
        manifest=SimpleNamespace(
            inputs=(TensorEntry("x", "float32", (1, 2, 32)),),
            outputs=(TensorEntry("y", "float32", (1, 2, "l")),),
            data={"tiling": tiling_entries(line)},
        ),
    )
    runner, free = OnnxRuntimeRunner(line.SerializeToString()), normal(1, 2, 70)
    whole = build("(float[1,2,70] x) => (float[N,C,L] y)", "y = Conv<pads=[1,1]>(x, w)", w=normal(2, 2, 3))
    run: Callable[[Any], Any] = runner.run
    np.testing.assert_allclose(
        run_tiled(run, package, free, 32)["y"],
        OnnxRuntimeRunner(whole.SerializeToString()).run({"x": free})["y"],
        rtol=1e-6,
    )
