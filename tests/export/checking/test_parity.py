"""The package's ONNX against the source model, by output, by layer and by region."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import rectexport
from rectexport.exporter.checking import parity
from rectexport.exporter.checking.parity import Rounding, parity_cases
from rectexport.exporter.frontend.inputs import InputPlan, ShapeOptions
from rectexport.exporter.passes import rectify_fold
from rectexport.exporter.tracing import translation
from rectexport.runtime.base.metrics import Difference
from rectexport.runtime.base.shapes import MAX_DIMENSION, ShapeRange
from rectexport.runtime.errors import ParityError
from rectexport.runtime.parity.reports import CaseReport, LayerReport, compare_outputs, judge_layers
from rectexport.runtime.verify import verify
from tests.export.helper import Array
from tests.export.nets import Chain, Small, exported, image, seeded, source

pytestmark = pytest.mark.usefixtures("shared_traces")
RANGE = ShapeOptions(min=["x:1x2x4x5"], opt=["x:2x2x8x9"], max=["x:5x2x19x16"])


def plan(low: tuple[int, ...], opt: tuple[int, ...], high: tuple[int, ...], name: str = "x") -> InputPlan:
    return InputPlan(name, np.arange(np.prod(opt), dtype=np.float32).reshape(opt), ShapeRange(low, opt, high))


def shapes(*inputs: InputPlan) -> dict[str, list[tuple[int, ...]]]:
    return {label: [array.shape for array in feeds.values()] for label, feeds in parity_cases(inputs).items()}


def test_static_inputs_are_fed_the_example() -> None:
    entry = plan((2, 3), (2, 3), (2, 3))
    cases = parity_cases([entry])
    assert list(cases) == ["example"]
    np.testing.assert_array_equal(cases["example"]["x"], entry.example)


def test_dynamic_inputs_are_fed_every_end_of_the_range() -> None:
    cases = shapes(plan((1, 3, 160, 160), (8, 3, 224, 224), (32, 3, 320, 320)))
    assert list(cases) == ["opt", "min", "max", "odd"]
    assert cases["opt"] == [(8, 3, 224, 224)]
    assert cases["min"] == [(1, 3, 160, 160)]
    assert cases["max"] == [(32, 3, 320, 320)]
    assert cases["odd"] == [(7, 3, 225, 257)]


def test_cases_of_equal_shape_are_fed_once() -> None:
    cases = shapes(plan((1, 3), (1, 3), (2, 3)))
    assert cases == {"opt": [(1, 3)], "max": [(2, 3)]}


def test_several_inputs_move_together() -> None:
    cases = shapes(plan((1, 4), (2, 8), (4, 8)), plan((5, 2), (5, 2), (5, 2), "y"))
    assert cases["min"] == [(1, 4), (5, 2)]
    assert cases["max"] == [(4, 8), (5, 2)]


@st.composite
def plans(draw: st.DrawFn) -> InputPlan:
    few = st.integers(0, 9)
    bounds = draw(st.lists(st.tuples(st.integers(1, 20), few, few), min_size=1, max_size=3))
    low = tuple(first for first, _, _ in bounds)
    high = tuple(first + more + rest for first, more, rest in bounds)
    return InputPlan("x", np.zeros(low, np.float32), ShapeRange(low, tuple(a + b for a, b, _ in bounds), high))


@settings(deadline=None)
@given(entry=plans())
def test_the_odd_case(entry: InputPlan) -> None:
    """Within the range, odd unless the other axes have all odd sizes, another on each axis where there are enough."""
    bounds = entry.range
    odd = shapes(entry).get("odd")
    if odd is None:
        return
    (shape,) = odd
    assert bounds.contains(shape)
    for axis in bounds.dynamic_axes:
        assert shape[axis] % 2 or set(_odd_sizes(bounds, axis)) <= set(shape)
    free = [bounds.max[axis] - bounds.min[axis] + 1 for axis in bounds.dynamic_axes]
    if all(count >= len(free) for count in free):
        assert len({shape[axis] for axis in bounds.dynamic_axes}) == len(free)


def _odd_sizes(bounds: ShapeRange, axis: int) -> list[int]:
    return [size for size in range(bounds.min[axis], bounds.max[axis] + 1) if size % 2]


def test_axes_without_bound_are_tested_near_the_common_size() -> None:
    cases = shapes(plan((1, 1, 8, 8), (2, 1, 8, 8), (MAX_DIMENSION, 1, MAX_DIMENSION, 8)))
    assert cases["max"] == [(8, 1, 32, 8)]
    assert all(size < 40 for size in cases["odd"][0])


def test_the_largest_case_fits_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity, "MAX_ELEMENTS", 1000)
    (shape,) = shapes(plan((1, 2, 4), (2, 2, 4), (4000, 2, 9000)))["max"]
    assert shape == (125, 2, 4)
    (shape,) = shapes(plan((1, 3000), (1, 3000), (7, 3000)))["opt"]
    assert shape == (1, 3000)  # the example itself is always fed


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Any:
    net = source(seeded(Small()), image(2, 2, 8, 9))
    return exported(net, tmp_path_factory.mktemp("parity") / "package", RANGE).parity


def test_every_case_is_compared(report: Any) -> None:
    assert report.passed and not report.kept
    assert [case.label for case in report.cases] == ["opt", "min", "max", "odd"]
    assert [case.shapes["x"] for case in report.cases][:3] == [(2, 2, 8, 9), (1, 2, 4, 5), (5, 2, 19, 16)]
    for case in report.cases:
        assert case.outputs["output"].relative_l2 <= 1e-5
        assert case.outputs["output"].top1 == 1


def test_layers_are_compared_by_region(report: Any) -> None:
    for case in report.cases:
        assert {layer.layer for layer in case.layers} >= {"norm", "crelu", "even", "last"}
        for layer in case.layers:
            assert set(layer.regions) <= {"corner", "edge", "interior"} and "corner" in layer.regions
            assert layer.worst[1] <= 1e-5


def test_goldens_are_the_first_case(report: Any) -> None:
    feeds, expected = report.goldens
    np.testing.assert_array_equal(feeds["x"], image(2, 2, 8, 9).numpy())
    with torch.no_grad():
        logits = seeded(Small()).double()(image(2, 2, 8, 9).double())
    np.testing.assert_array_equal(expected["output"], logits.numpy())


def test_as_a_document(report: Any) -> None:
    document = report.as_dict()
    assert document["passed"] is True
    assert document["reference"] == "PyTorch, float64"
    assert document["backend"] == "onnxruntime CPU"
    assert document["tolerances"] == {"relative_l2": 1e-5}
    case = document["cases"][1]
    assert (case["case"], case["shapes"], case["failures"]) == ("min", {"x": [1, 2, 4, 5]}, [])
    distances = {"max_abs", "relative_l2", "cosine", "snr_db", "top1", "top5", "worst"}
    assert set(case["outputs"]["output"]) == {*distances, "regions"}
    assert set(case["layers"][0]) == {"tensor", "layer", "operator", *distances, "regions"}
    assert set(case["layers"][0]["regions"]["corner"]) == distances


def fails(out: Path, net: nn.Module, **options: Any) -> str:
    """Export without guard and cost table, so that parity is what catches the fault in the map; the message."""
    with pytest.raises(ParityError) as caught:
        exported(source(net, image(2, 2, 8, 8)), out, guard=False, target="portable", **options)
    assert caught.value.exit_code == 3
    assert not out.exists()
    return str(caught.value)


def flat_corners(r: Array) -> Array:
    r[..., :: r.shape[2] - 1, :: r.shape[3] - 1] = 1
    return r


def flat_edges(r: Array) -> Array:
    r[..., 1:-1, 0] = r[..., 1:-1, -1] = r[..., 0, 1:-1] = r[..., -1, 1:-1] = 1
    return r


def scaled_interior(r: Array) -> Array:
    r[..., 1:-1, 1:-1] *= np.float32(1.01)
    return r


@pytest.mark.parametrize(
    ("change", "layer", "region"),
    [
        (flat_corners, "first", "corner"),
        (flat_edges, "first", "edge"),
        (scaled_interior, "first", "interior"),
        (lambda r: r.transpose(0, 1, 3, 2).copy(), "second", "corner|edge"),
    ],
    ids=["corners", "edges", "interior", "transposed"],
)
def test_a_border_bug_is_located(
    change: Callable[[Array], Array], layer: str, region: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    right = rectify_fold.factors
    monkeypatch.setattr(rectify_fold, "factors", lambda *given: change(right(*given)))
    message = fails(tmp_path / "out", seeded(Chain()))
    assert f"first layer to diverge: {layer} (tensor" in message
    assert any(f"worst in region {name}: relative L2" in message for name in region.split("|"))
    assert "case example" in message and "allowed 1e-05" in message
    kept = np.load(tmp_path / "out.failed.npz")
    assert sorted(kept.files) == ["actual.output", "expected.output", "input.x"]
    np.testing.assert_array_equal(kept["input.x"], image(2, 2, 8, 8).numpy())
    with torch.no_grad():
        np.testing.assert_array_equal(kept["expected.output"], seeded(Chain()).double()(image(2, 2, 8, 8).double()))
    assert not np.allclose(kept["actual.output"], kept["expected.output"], rtol=1e-4)
    assert str(tmp_path / "out.failed.npz") in message


def test_a_fault_before_the_passes_is_found_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The guard compares ONNX with ONNX; what the exporter got wrong, only PyTorch tells."""
    right = translation._rectify

    def top_left(y: Any, x: Any, bias: Any, kernel: Any, strides: Any, pads: Any, *rest: Any) -> Any:
        return right(y, x, bias, kernel, strides, [pads[2], pads[3], pads[0], pads[1]], *rest)

    monkeypatch.setattr(translation, "_rectify", top_left)
    with pytest.raises(ParityError, match=r"first layer to diverge: second .* worst in region (corner|edge)"):
        exported(source(seeded(Chain(), seed=9), image(2, 2, 8, 8)), tmp_path / "out")  # traced here and nowhere else
    assert not (tmp_path / "out").exists()


def test_the_case_that_fails_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A fault that shows at one size only."""
    right = rectify_fold.factors
    monkeypatch.setattr(rectify_fold, "factors", lambda *given: flat_corners(right(*given)))
    net = source(seeded(Chain()), image(2, 2, 8, 8))
    with pytest.raises(ParityError, match=r"\(case opt\)"):
        exported(net, tmp_path / "out", ShapeOptions(min=["1x2x8x8"], max=["4x2x8x8"]), guard=False, target="portable")


class Twins(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.a(x), 100 * self.b(x)


def test_bounds_of_one_output(tmp_path: Path) -> None:
    net = source(seeded(Twins()), image(3, 4))
    exported(net, tmp_path / "a", atol={"": 1e-3}, rtol={"output_0": 1e-2})
    with pytest.raises(ParityError, match=r"output_1: \d+ of 12 elements outside atol 1e-30, rtol 0") as caught:
        exported(net, tmp_path / "b", atol={"": 1.0, "output_1": 1e-30})
    assert "output_0:" not in str(caught.value)
    kept = np.load(tmp_path / "b.failed.npz")
    assert sorted(kept.files) == [*(f"{side}.output_{i}" for side in ("actual", "expected") for i in (0, 1)), "input.x"]


class Undefined(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x - x) / (x - x)


def test_outputs_that_are_all_nan_do_not_agree(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match="output: the source model gives nothing but NaN, so nothing was compared"):
        exported(source(Undefined(), image(1, 4)), tmp_path / "out")


class Masked(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.masked_fill(x < 0, float("-inf"))


def test_infinities_that_agree_are_fine(tmp_path: Path) -> None:
    result = exported(source(Masked(), image(1, 4)), tmp_path / "out", atol={"": 0.0})
    assert result.parity.cases[0].outputs["output"].relative_l2 == 0


def test_an_output_of_another_shape() -> None:
    case = CaseReport("example", {"x": (1, 2)})
    wanted, got = np.zeros((1, 2)), {"y": np.zeros((2, 1), np.float32)}
    compare_outputs(case, {"y": wanted}, got, parity.Tolerance(1e-5))
    assert case.failures == ["y: shape [2, 1], expected [1, 2]"]


def test_only_the_first_layer_is_blamed() -> None:
    good, bad = Difference(0, 1e-7, 1), Difference(1, 0.1, 1)
    layers = [
        LayerReport("t0", "stem", good, {"corner": good}),
        LayerReport("t1", "middle", good, {"corner": good, "edge": bad}),
        LayerReport("t2", "last", bad, {"corner": bad}),
    ]
    case = CaseReport("example", {}, layers=layers)
    judge_layers(case, parity.Tolerance(1e-5))
    (failure,) = case.failures
    assert failure.startswith("first layer to diverge: middle (tensor t1), worst in region edge: relative L2 1.0e-01")
    assert layers[0].worst == ("all", 1e-7)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_layer_without_a_number_fails(value: float) -> None:
    odd = Difference(value, value, 0)
    case = CaseReport("example", {}, layers=[LayerReport("t", "stem", odd, {})])
    judge_layers(case, parity.Tolerance(1e-5))
    assert len(case.failures) == 1


def test_inner_tensors_are_compared_on_the_smallest_batch() -> None:
    feeds = {"x": np.zeros((5, 2), np.float32), "y": np.zeros((5, 2), np.float32)}
    inputs = [plan((2, 2), (3, 2), (9, 2)), plan((5, 2), (5, 2), (5, 2), "y")]
    assert {name: array.shape for name, array in parity._one_row(feeds, inputs).items()} == {"x": (2, 2), "y": (5, 2)}


class Cancelling(nn.Module):
    """Adds and takes away a large number: float32 itself is about 1e-3 off."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) + 1e5 - 1e5


def test_where_float32_itself_is_off_more_is_allowed(tmp_path: Path) -> None:
    """The package's tolerance follows, so that its goldens agree with it later."""
    package = rectexport.export(seeded(Cancelling()), image(1, 2, 8, 8), tmp_path / "net")
    tolerance = package.manifest.tolerances["relative_l2"]
    assert 1e-5 < tolerance < 1e-1
    assert verify(package.path, "onnxruntime").passed
    plain = rectexport.export(seeded(nn.Conv2d(2, 3, 3)), image(1, 2, 8, 8), tmp_path / "plain")
    assert plain.manifest.tolerances["relative_l2"] == 1e-5


def test_rounding_is_measured_only_where_a_value_exceeds_the_tolerance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    found = Rounding.in_float32
    monkeypatch.setattr(Rounding, "in_float32", lambda *given: (asked.append(1), found(*given))[1])
    exported(source(seeded(Small()), image(1, 2, 8, 9)), tmp_path / "fine")
    assert not asked


def test_constant_planes_that_an_instance_norm_divides_by_their_variance(tmp_path: Path) -> None:
    def block(channels: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(channels, 8, 3, padding=1), nn.InstanceNorm2d(8), nn.PReLU())

    torch.manual_seed(3)
    net = nn.Sequential(block(1), block(8), block(8), nn.Conv2d(8, 1, 3, padding=1)).eval()
    package = rectexport.export(net, torch.randn(1, 1, 32, 32), tmp_path / "package")
    assert verify(package.path, backend="onnxruntime").passed
