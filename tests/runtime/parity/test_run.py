"""Cases are run, compared and located, with any engine and reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rectexport.runtime.arrays.input_files import ImageScaling
from rectexport.runtime.base.tolerance import Tolerance
from rectexport.runtime.errors import BadInput, UsageError
from rectexport.runtime.package.folder import Package
from rectexport.runtime.package.manifest import TensorEntry
from rectexport.runtime.parity.cases import Case, asked_sizes, make_cases
from rectexport.runtime.parity.metamorphic import Bound
from rectexport.runtime.parity.outcome import Exhibit, ParityOutcome
from rectexport.runtime.parity.reports import CaseReport, LayerReport, compare_layer, compare_outputs, first_divergence
from rectexport.runtime.parity.run import Setup, run_parity

X = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)


def right(x: Any) -> Any:
    return x.sum(1, keepdims=True)


def wrong_corner(x: Any) -> Any:
    y = right(x)
    y[:, :, -1, -1] += 1
    return y


class Model:
    """An engine and a reference: a function of the input; `sizes` are the batch sizes that it takes."""

    description = "a function"

    def __init__(self, function: Callable[[Any], Any], sizes: tuple[int, ...] = tuple(range(9))) -> None:
        self.function, self.sizes = function, sizes

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        return {"logits": self.function(feeds["x"])}

    def outputs(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        return self.run(feeds)

    def accepts(self, shapes: Mapping[str, tuple[int, ...]]) -> bool:
        return shapes["x"][0] in self.sizes

    def close(self) -> None:
        pass


class Layers:
    """Compares one tensor, the output before the engine's fault, and records the feeds."""

    notes = ("a note",)

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function
        self.fed: list[tuple[int, ...]] = []

    def compare(self, feeds: Mapping[str, Any], exhibit: Exhibit) -> list[LayerReport]:
        self.fed.append(feeds["x"].shape)
        layer = compare_layer("t", "conv", right(feeds["x"]), self.function(feeds["x"]))
        exhibit.offer("conv", layer.worst[1] / 1e-4, right(feeds["x"]), self.function(feeds["x"]))
        return [layer]


@pytest.fixture
def package(write_manifest: Callable[..., Path]) -> Package:
    """[1..4, 3, 8, 8] -> logits, with the right goldens."""
    folder = write_manifest(lambda document: document["tolerances"].pop("atol:logits"))
    np.savez(folder / "goldens.npz", **{"input.x": X, "output.logits": right(X)})
    return Package.open(folder)


def outcome(
    package: Package,
    engine: Callable[[Any], Any] = right,
    shapes: tuple[str, ...] = (),
    reference: Model | None = None,
    **changes: Any,
) -> ParityOutcome:
    given: dict[str, Any] = {"layers": None, "per_layer": False, "no_layers": "nobody looks"}
    setup = Setup(
        package=package,
        engine=Model(engine),
        reopen=lambda: Model(engine),
        rebuilt=Bound(0.0, "the same"),
        reference=reference or Model(right),
        tolerance=Tolerance(1e-5),
        **{**given, **changes},
    )
    return run_parity(setup, make_cases(package, None, shapes, ImageScaling()), lambda text: None)


def test_a_right_engine_passes_every_case(package: Package) -> None:
    found = outcome(package)
    assert found.passed and found.failed_feeds is None and found.notes == []
    assert [case.label for case in found.cases] == ["goldens", "example", "min", "max", "odd"]
    assert [case.reference for case in found.cases][:2] == ["the stored answers", "a function"]
    assert found.cases[3].shapes == {"x": (4, 3, 8, 8)}
    assert len(found.checks) == 12 and {at for at, _ in found.checks} == {"3x3x8x8"}
    assert found.exhibit.title.startswith("output logits")


def test_a_failure_keeps_its_feeds_and_says_why_no_layer_is_named(package: Package) -> None:
    found = outcome(package, wrong_corner)
    assert not found.passed and found.divergence is None
    assert found.failures[0].startswith("goldens: logits: relative L2 ")
    np.testing.assert_array_equal(found.failed_feeds["x"], X)  # type: ignore[index]
    assert found.notes[0] == "the first layer to diverge is not known: nobody looks"
    assert found.cases[0].outputs["logits"].worst.index[2:] == (7, 7)  # type: ignore[union-attr]
    regions = found.cases[0].regions["logits"]
    assert regions["corner"].relative_l2 > 0.1 and regions["edge"].relative_l2 == regions["interior"].relative_l2 == 0


def test_the_diverging_layer_is_searched_once_on_all_rows(package: Package) -> None:
    layers = Layers(wrong_corner)
    found = outcome(package, wrong_corner, layers=layers)
    assert layers.fed == [X.shape]
    assert found.divergence is not None and found.divergence.worst[0] == "corner"
    assert "first layer to diverge: conv (tensor t), worst in region corner" in found.failures[1]
    assert found.exhibit.title == "conv" and found.notes == ["a note"]
    document = found.as_dict()
    assert document["first_divergence"]["layer"] == "conv" and document["passed"] is False


def test_a_fault_in_no_inner_layer_is_explained(package: Package) -> None:
    found = outcome(package, wrong_corner, layers=Layers(right))
    assert "every inner tensor agrees with a function, but the stored answers differ" in found.notes[0]
    only_four = outcome(
        package, lambda x: wrong_corner(x) if len(x) == 4 else right(x), ("x:4x3x8x8",), layers=Layers(right)
    )
    assert "no inner tensor diverges when it is exposed as an output" in only_four.notes[0]
    assert only_four.exhibit.title == "output logits, x:4x3x8x8"


def test_layers_are_compared_once_per_size_on_two_rows(package: Package) -> None:
    layers = Layers(right)
    found = outcome(package, layers=layers, per_layer=True)
    assert layers.fed == [(2, 3, 8, 8), (1, 3, 8, 8)]  # example and min; max and odd are the same two rows
    assert [bool(case.layers) for case in found.cases] == [False, True, True, False, False]


def test_sizes_that_the_reference_refuses_are_counted(package: Package) -> None:
    found = outcome(package, reference=Model(right, sizes=(2, 4)))
    assert [case.label for case in found.cases] == ["goldens", "example", "max"]
    assert found.notes == ["2 sizes were skipped: the reference does not take them"]


def test_a_reference_that_lacks_an_output_is_refused(package: Package) -> None:
    reference = Model(right)
    reference.outputs = lambda feeds: {"other": X}  # type: ignore[method-assign]
    with pytest.raises(BadInput, match="output logits is missing in a function"):
        outcome(package, reference=reference)


def test_metamorphic_failures_are_failures(package: Package) -> None:
    found = outcome(package, lambda x: right(x) if len(x) != 1 else right(x) * 2, ("x:2x3x8x8",))
    assert not any(case.failures for case in found.cases)
    (failure,) = found.failures
    assert failure.startswith("batch size at 3x3x8x8: batch 1 against 3: logits differs")
    assert found.failed_feeds["x"].shape == (3, 3, 8, 8)  # type: ignore[index]


def test_given_shapes_replace_the_sweep(package: Package) -> None:
    found = [case.label for case in make_cases(package, None, ("x:3x3x8x8", "1x3x8x8"), ImageScaling())]
    assert found == ["goldens", "example", "x:3x3x8x8", "1x3x8x8"]
    with pytest.raises(UsageError, match="no input 'z'") as refused:
        list(make_cases(package, None, ("z:1x3x8x8",), ImageScaling()))
    assert str(refused.value).startswith("shapes: no input")


@pytest.mark.parametrize(
    ("texts", "sizes"),
    [
        (["x:1x2", "y:3"], {"x:1x2,y:3": {"x": (1, 2), "y": (3,)}}),
        (["x:1x2,y:3"], {"x:1x2,y:3": {"x": (1, 2), "y": (3,)}}),
        (["x:1x2", "x:3x4"], {"x:1x2": {"x": (1, 2), "y": (9,)}, "x:3x4": {"x": (3, 4), "y": (9,)}}),
        (["y:3", "x:1x2", "y:4"], {"y:3,x:1x2": {"x": (1, 2), "y": (3,)}, "y:4": {"x": (9, 9), "y": (4,)}}),
    ],
)
def test_a_name_given_again_begins_another_size(texts: list[str], sizes: dict[str, dict[str, tuple[int, ...]]]) -> None:
    entries = [TensorEntry("x", "float32", ("n", "m")), TensorEntry("y", "float32", ("k",))]
    assert asked_sizes(entries, texts, {"x": (9, 9), "y": (9,)}) == sizes


def test_a_case_is_cut_along_a_dynamic_batch(package: Package) -> None:
    case = Case("c", {"x": np.zeros((4, 3, 8, 8))})
    assert case.cut(package.manifest.inputs, 2)["x"].shape == (2, 3, 8, 8)
    fixed = [type(package.manifest.inputs[0])("x", "float32", (4, 3, 8, 8))]
    assert case.cut(fixed, 2)["x"].shape == (4, 3, 8, 8)


def test_an_output_within_tolerance_may_fail_in_a_corner() -> None:
    """One pixel of 128 x 128: 4e-5 of the whole is within the tolerance, a hundredth of its region is not."""
    case = CaseReport("c", {})
    wanted = np.ones((1, 1, 128, 128))
    got = wanted.copy()
    got[0, 0, 0, 0] += 0.005
    compare_outputs(case, {"y": wanted}, {"y": got}, Tolerance(1e-4))
    assert case.outputs["y"].relative_l2 < 1e-4
    assert case.failures == [
        "y: relative L2 2.5e-03 in region corner, allowed 1e-03; farthest off at (0, 0, 0, 0): expected 1, actual 1.005"
    ]


def test_the_exhibit_is_the_first_failure_or_the_largest_error() -> None:
    arrays = np.zeros(1), np.ones(1)
    exhibit = Exhibit()
    for score in (0.1, 0.5, 0.3):
        exhibit.offer(str(score), score, *arrays)
    assert exhibit.title == "0.5"
    for score in (2.0, 100.0):
        exhibit.offer(str(score), score, *arrays)
    assert exhibit.title == "2.0"
    nan = Exhibit()
    nan.offer("nan", float("nan"), *arrays)
    nan.offer("2.0", 2.0, *arrays)
    assert nan.title == "nan"
    empty = Exhibit()
    empty.offer("nothing", 0.0, np.zeros((0, 3)), np.zeros((0, 3)))
    assert empty.score < 0


def test_a_layer_with_a_bound_of_its_own_diverges_above_that() -> None:
    noisy = compare_layer("conv", "conv", np.ones(4), np.ones(4) + 0.08)
    assert first_divergence([noisy], Tolerance(1e-3)) is noisy
    assert first_divergence([noisy], Tolerance(1e-3, layers={"conv": 0.1})) is None
    assert first_divergence([noisy], Tolerance(1e-3, layers={"conv": 0.05, "other": 0.1})) is noisy
    assert Tolerance(1e-3, layers={"conv": 5e-3}).of_layer("conv") == 1e-2  # bounds of their own are wider only


def test_the_first_layer_above_ten_times_the_tolerance_diverges() -> None:
    near, far = (
        compare_layer(name, name, np.ones(4), np.ones(4) + error) for name, error in (("a", 9e-5), ("b", 2e-4))
    )
    assert first_divergence([near, far], Tolerance(1e-5)) is far
    assert first_divergence([near], Tolerance(1e-5)) is None
    assert far.regions == {} and far.worst_pixel is not None
