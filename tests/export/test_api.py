"""`rectexport.export` from Python, on models that people write."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.nn import functional

import rectexport
from rectexport.exporter.api import export
from rectexport.models import AVR, CReLU, RectifiedConv2d, ScaledCReLU, SymmetricConv2d
from rectexport.runtime.errors import BadInput, ParityError, UsageError
from tests.export.nets import Small, image, seeded

pytestmark = pytest.mark.usefixtures("shared_traces")


class Fusion(nn.Module):
    """A user's own module: two pictures of their own sizes and a vector -> a map and logits."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Sequential(RectifiedConv2d(1, 4, 5, padding=2), nn.BatchNorm2d(4), CReLU())
        self.right = nn.Sequential(RectifiedConv2d(3, 4, 3, 2, 1, bias_mode="inside"), nn.BatchNorm2d(4), nn.ReLU())
        self.even = SymmetricConv2d(8, 4, 4)
        self.scaled = ScaledCReLU(4)
        self.avr = AVR()
        self.last = RectifiedConv2d(8, 2, 3, padding=(0, 1, 2, 1), mode="average", empty="zero")
        self.head = nn.Linear(4, 3)

    def forward(self, gray: Tensor, color: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        plane = self.last(self.scaled(self.even(self.left(gray))))
        pooled = self.avr(self.right(color)).mean((2, 3))
        return plane, self.head(pooled * weights)


SIZES = [((2, 1, 9, 8), (2, 3, 7, 12)), ((2, 1, 5, 14), (2, 3, 16, 6)), ((2, 1, 16, 5), (2, 3, 5, 5))]


def inputs(sizes: tuple[tuple[int, ...], tuple[int, ...]], seed: int = 0) -> tuple[Tensor, ...]:
    return image(*sizes[0], seed=seed), image(*sizes[1], seed=seed + 1), image(4, seed=seed + 2)


def agree(folder: Path, model: nn.Module, *given: Tensor) -> None:
    with rectexport.load(folder) as session:
        results = session(*(value.numpy() for value in given))
    with torch.no_grad():
        expected = model(*given)
    wanted = expected if isinstance(expected, tuple) else (expected,)
    for first, second in zip(wanted, results if isinstance(results, tuple) else (results,), strict=True):
        np.testing.assert_allclose(second, first.numpy(), rtol=2e-3, atol=1e-3)


@pytest.mark.parametrize(("form", "opset"), [("auto", 18), ("graph", 21)])
def test_a_model_of_a_user(form: str, opset: int, tmp_path: Path) -> None:
    """Two pictures whose four sizes move apart; by tuple or by name, with Dim or AUTO."""
    model = seeded(Fusion())
    height, width, rows = Dim("height", min=5, max=16), Dim("width", min=5, max=16), Dim("rows", min=5, max=16)
    shapes: Any = ({2: height, 3: width}, {2: rows, 3: Dim.DYNAMIC}, None)
    if opset == 21:
        shapes = {"gray": {2: height, 3: width}, "color": {2: rows, 3: Dim.AUTO}, "weights": None}
    package = export(model, inputs(SIZES[0]), tmp_path / "p", shapes, opset=opset, rectify=form)
    entries = {entry.name: entry for entry in package.manifest.inputs}
    assert entries["gray"].shape == (2, 1, "height", "width")
    assert entries["color"].shape == (2, 3, "color_height", "color_width")
    assert entries["weights"].shape == (4,)
    assert entries["color"].range.max == (2, 3, 16, 2**31 - 1)
    assert package.manifest.data["opset"] == {"ai.onnx": opset}
    for seed, sizes in enumerate(SIZES):
        agree(package.path, model, *inputs(sizes, seed))


@pytest.mark.parametrize("form", ["fold", "graph"])
def test_without_dynamic_shapes_all_is_fixed(form: str, tmp_path: Path) -> None:
    model = seeded(Fusion())
    package = rectexport.export(model, inputs(SIZES[0]), str(tmp_path / "p"), rectify=form)
    assert isinstance(package, rectexport.Package)
    assert [entry.shape for entry in package.manifest.inputs] == [*SIZES[0], (4,)]
    agree(package.path, model, *inputs(SIZES[0], 5))


def test_the_model_of_the_user_is_left_alone(tmp_path: Path) -> None:
    model = seeded(Small()).train()
    model.norm.eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    flags = [module.training for module in model.modules()]
    x = image(2, 2, 8, 8).requires_grad_()
    export(model, (x,), tmp_path / "p")
    assert [module.training for module in model.modules()] == flags
    assert x.requires_grad and x.grad is None
    for key, value in model.state_dict().items():
        assert value.dtype == before[key].dtype
        assert torch.equal(value, before[key])
    agree(tmp_path / "p", model.eval(), image(2, 2, 8, 8))


def test_a_program_can_be_exported_twice(tmp_path: Path) -> None:
    shapes = ({0: Dim("n", max=5)},)
    program = torch.export.export(seeded(Small()), (image(2, 2, 8, 8),), dynamic_shapes=shapes)
    first = export(program, (image(2, 2, 8, 8),), tmp_path / "a")
    second = export(program, (image(2, 2, 8, 8),), tmp_path / "b")
    assert first.manifest.files["model.onnx"] == second.manifest.files["model.onnx"]
    assert first.manifest.inputs[0].shape == ("batch", 2, 8, 8)
    assert first.manifest.inputs[0].range.max == (5, 2, 8, 8)
    assert first.manifest.data["source"]["kind"] == "torch.export.ExportedProgram"
    agree(tmp_path / "b", seeded(Small()), image(4, 2, 8, 8))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:The .grad attribute:UserWarning")
def test_a_script(tmp_path: Path) -> None:
    script: Any = torch.jit.trace(seeded(Small()), image(2, 2, 8, 8))
    script.train()
    export(script, (image(2, 2, 8, 8),), tmp_path / "p")
    assert script.training
    agree(tmp_path / "p", seeded(Small()), image(2, 2, 8, 8, seed=3))


def test_half_precision_without_guard_for_another_engine(tmp_path: Path) -> None:
    model = seeded(Small())
    package = export(model, (image(2, 2, 8, 8),), tmp_path / "p", fp16=True, guard=False, target="portable")
    options = package.manifest.data["options"]
    assert (options["precision"], options["guard"], options["target"]) == ("fp16", False, "portable")
    assert package.manifest.tolerances == {"relative_l2": 5e-3}
    assert package.manifest.inputs[0].dtype == "float32"


@pytest.mark.parametrize("bound", ["atol", "rtol"])
def test_bounds(bound: str, tmp_path: Path) -> None:
    with pytest.raises(ParityError, match=rf"elements outside .*{bound} 1e-30") as caught:
        export(seeded(Small()), (image(2, 2, 8, 8),), tmp_path / "p", **{bound: 1e-30})
    assert caught.value.exit_code == 3
    package = export(seeded(Small()), (image(2, 2, 8, 8),), tmp_path / "p", **{bound: 0.1})
    assert package.manifest.tolerances == {"relative_l2": 1e-5, bound: 0.1}


class Scales(nn.Module):
    def forward(self, x: Tensor, factor: Tensor) -> Tensor:
        return x * factor


def test_an_input_without_axes(tmp_path: Path) -> None:
    package = export(Scales(), (image(2, 3), torch.tensor(1.5)), tmp_path / "p")
    assert [entry.shape for entry in package.manifest.inputs] == [(2, 3), ()]
    agree(tmp_path / "p", Scales(), image(2, 3, seed=1), torch.tensor(-2.0))


def test_views_and_strides_do_not_matter(tmp_path: Path) -> None:
    x = image(8, 8, 2, 2).permute(2, 3, 0, 1)
    export(seeded(Small()), (x.contiguous(memory_format=torch.channels_last),), tmp_path / "p")
    agree(tmp_path / "p", seeded(Small()), x.contiguous())


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ([image(1, 2)], "example_inputs: expected a tensor, a tuple of arguments, or a dict .*, got list"),
        ({"y": image(1, 2)}, "example_inputs: no parameter 'y'; forward takes x"),
        ({}, "example_inputs: expected at least one tensor"),
        (("x",), r"example_inputs\[0\]: expected a tensor, got str"),
        ((image(1, 2), [None, "x"]), r"example_inputs\[1\]\[1\]: expected a tensor, got str"),
    ],
)
def test_examples_that_are_no_tuple_of_tensors(examples: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        export(Scales(), examples, tmp_path / "p")


class Options(nn.Module):
    """Takes an input by its name only, after one that may be left out, and a switch."""

    def forward(self, x: Tensor, factor: Tensor | None = None, *, shift: Tensor, twice: bool = False) -> Tensor:
        y = x if factor is None else x * factor
        return (2 * y if twice else y) + shift


def test_keyword_arguments_and_a_single_tensor(tmp_path: Path) -> None:
    model, x, shift = Options(), image(2, 3), image(2, 3, seed=1)
    axes = {"x": {0: Dim("n", max=9)}, "shift": {0: Dim("n", max=9)}}
    package = export(model, x, tmp_path / "p", axes, kwargs={"shift": shift, "twice": True})
    assert [entry.name for entry in package.manifest.inputs] == ["x", "shift"]
    with rectexport.load(package.path, backend="onnxruntime") as session:
        for rows in (1, 5):
            x, shift = image(rows, 3, seed=2), image(rows, 3, seed=3)
            np.testing.assert_allclose(session(x.numpy(), shift.numpy()), 2 * x + shift, rtol=1e-5)


def test_axes_of_a_single_tensor(tmp_path: Path) -> None:
    package = export(nn.Linear(3, 2), image(2, 3), tmp_path / "p", {0: Dim("n", max=9)})
    bounds = package.manifest.inputs[0].range
    assert bounds is not None and bounds.dynamic_axes == (0,)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (
            {"shit": image(2, 3)},
            "kwargs: forward takes no 'shit' besides example_inputs; it takes factor, shift, twice",
        ),
        ({"x": image(2, 3)}, "kwargs: forward takes no 'x' besides example_inputs"),
    ],
)
def test_keyword_arguments_that_forward_does_not_take(kwargs: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        export(Options(), image(2, 3), tmp_path / "p", kwargs=kwargs)


def test_load_model(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    net = seeded(Small())
    torch.save({"model": net.state_dict(), "model_ema": seeded(Small(), 1).state_dict()}, tmp_path / "w.pt")
    with caplog.at_level("INFO", "rectexport"):
        loaded = rectexport.load_model(tmp_path / "w.pt", model=Small)
    x = image(1, 2, 8, 8)
    with torch.no_grad():
        assert torch.equal(loaded(x), net(x)) and not loaded.training
        assert torch.equal(
            rectexport.load_model(tmp_path / "w.pt", model=Small, weights="ema")(x), seeded(Small(), 1)(x)
        )
    loading, choice = (record.getMessage() for record in caplog.records[:2])
    assert loading.endswith("w.pt: weights of Small") and "the file also has model_ema" in choice
    assert rectexport.load_model(model=nn.Linear, model_args={"in_features": 1, "out_features": 2}).out_features == 2
    torch.export.save(torch.export.export(Scales(), (image(2, 3), image(2, 3))), tmp_path / "p.pt2")
    with pytest.raises(BadInput, match=r"p\.pt2: is torch\.export program, and no torch\.nn\.Module"):
        rectexport.load_model(tmp_path / "p.pt2")


@pytest.mark.parametrize("model", ["net.pt", Small, None, torch.zeros(1), lambda x: x])
def test_values_that_are_no_models(model: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"model: expected a torch\.nn\.Module or an ExportedProgram, got"):
        export(model, (image(1, 2),), tmp_path / "p")


def test_dynamic_shapes_of_what_has_its_own(tmp_path: Path) -> None:
    program = torch.export.export(Scales(), (image(2, 3), image(2, 3)))
    with pytest.raises(UsageError, match=r"dynamic_shapes: for a torch\.nn\.Module only"):
        export(program, (image(2, 3), image(2, 3)), tmp_path / "p", ({0: Dim("n")}, None))


def test_too_few_examples_for_a_program(tmp_path: Path) -> None:
    program = torch.export.export(Scales(), (image(2, 3), image(2, 3)))
    with pytest.raises(UsageError, match=r"example_inputs: the program takes 2 \(x, factor\), got 1"):
        export(program, (image(2, 3),), tmp_path / "p")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_half_precision_belongs_into_the_graph(dtype: torch.dtype, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf"model: has weights in {dtype}; pass model\.float\(\).*fp16=True"):
        export(nn.Linear(2, 2).to(dtype), (image(1, 2),), tmp_path / "p")
    with pytest.raises(UsageError, match=r"example_inputs\[1\]: is bfloat16, which NumPy .*; pass model\.float\(\)"):
        export(Scales(), (image(1, 2), image(1, 2).bfloat16()), tmp_path / "p")


def test_a_model_that_cannot_be_copied(tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    model.extra = threading.Lock()  # type: ignore[assignment]
    with pytest.raises(BadInput, match="model: cannot be copied: TypeError: cannot pickle"):
        export(model, (image(1, 2),), tmp_path / "p")


def test_dynamic_shapes_that_torch_refuses(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"Scales: torch\.export could not trace the model with x 2x3, factor 2x3: "):
        export(Scales(), (image(2, 3), image(2, 3)), tmp_path / "p", ({0: Dim("n")}, None, None))
    assert not (tmp_path / "p").exists()


def test_dynamic_shapes_that_the_model_does_not_allow(tmp_path: Path) -> None:
    shapes = ({2: Dim("rows", min=2, max=9)},)
    with pytest.raises(
        BadInput, match=r"axis 2 \(height\): asked for 2\.\.9, smallest height that works: 3: at height 2 PyTorch fails"
    ):
        export(nn.Conv2d(2, 2, 3), (image(1, 2, 8, 8),), tmp_path / "p", shapes)


@pytest.mark.parametrize(
    "shapes", [({0: Dim("n", max=4)},), {"input": {0: Dim("n", max=4)}}, ((Dim("n", max=4), None),)]
)
def test_an_example_of_one_row_may_be_dynamic(shapes: Any, tmp_path: Path) -> None:
    model = seeded(nn.Linear(2, 3))
    export(model, (image(1, 2),), tmp_path / "p", shapes)
    agree(tmp_path / "p", model, image(3, 2))


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile, lambda model: nn.DataParallel(torch.compile(model))])
def test_wrappers_of_training_are_removed(wrap: Any, tmp_path: Path) -> None:
    model = seeded(nn.Linear(2, 3))
    package = export(wrap(model), (image(1, 2),), tmp_path / "p")
    assert [entry.name for entry in package.manifest.inputs] == ["input"]
    agree(tmp_path / "p", model, image(1, 2))


class Sum(nn.Module):
    def forward(self, *images: Tensor) -> Tensor:
        return images[0] + images[1]


def test_any_number_of_arguments(tmp_path: Path) -> None:
    export(Sum(), (image(1, 2), image(1, 2)), tmp_path / "p")
    agree(tmp_path / "p", Sum(), image(1, 2), image(1, 2))


class Dropping(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return functional.dropout(x + torch.randn_like(x), training=True)


def test_random_numbers_are_named_as_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match=r"forward draws random numbers \(randn_like, native_dropout\), so no two"):
        export(Dropping(), (image(1, 64),), tmp_path / "p", guard=False)
