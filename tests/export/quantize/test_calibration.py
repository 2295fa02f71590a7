"""The split, and data that ranges cannot be taken from."""

from __future__ import annotations

import numpy as np
import pytest

from rectexport.exporter.frontend.inputs import InputPlan
from rectexport.exporter.quantize.calibration import Items, check, observe, split
from rectexport.runtime.base.shapes import ShapeRange
from rectexport.runtime.errors import BadInput
from rectexport.runtime.evaluation.examples import open_examples
from rectexport.runtime.package.manifest import TensorEntry
from tests.export.quantize.nets import items, rectified_net

ENTRY = TensorEntry("x", "float32", ("n", 3, 8, 8))


def parts(array: np.ndarray, images: int = 256) -> tuple[Items, Items]:
    return split(open_examples({"x": array, "labels": np.arange(len(array))}, [ENTRY]), images)


def test_the_parts_are_disjoint_and_the_same_every_time() -> None:
    array = items(60).feeds["x"]
    first, second = parts(array)
    assert len(first) == 45 and len(second) == 15
    assert not {*map(bytes, first.feeds["x"])} & {*map(bytes, second.feeds["x"])}
    assert first.targets is not None and np.array_equal(array[first.targets], first.feeds["x"])
    assert parts(array)[0].sha256 == first.sha256 != second.sha256
    assert len(parts(array, 20)[0]) == 20


def test_too_few_items_are_refused() -> None:
    assert len(parts(items(21).feeds["x"])[0]) == 16
    with pytest.raises(BadInput, match="needs at least 16 others: give 21 items or more"):
        parts(items(20).feeds["x"])
    with pytest.raises(BadInput, match=r"arrays: \d different items among 30; calibration needs 16"):
        parts(np.tile(items(8).feeds["x"], (5, 1, 1, 1)))


def test_repeated_items_leave_the_hold_out() -> None:
    array = items(60).feeds["x"]
    array[30:] = array[0]
    first, second = parts(array)
    assert 0 < len(second) < 15
    assert not {*map(bytes, first.feeds["x"])} & {*map(bytes, second.feeds["x"])}
    with pytest.raises(BadInput, match="every item of the hold-out is in the calibration data"):
        parts(np.tile(items(20).feeds["x"], (20, 1, 1, 1)))


def test_an_unusable_item_is_named_as_the_data_names_it() -> None:
    array = items(60).feeds["x"]
    array[37, 0, 0, 0] = np.inf
    both = parts(array)
    part = next(part for part in both if not np.isfinite(part.feeds["x"]).all())
    with pytest.raises(BadInput, match="data: input x of item 37 holds NaN or infinity"):
        check(part, [PLAN], True, "data")


def test_a_constant_channel_of_pixels_is_refused() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 3, 8, 8), np.uint8)
    plan = InputPlan("x", pixels[:2], ShapeRange(*[(2, 3, 8, 8)] * 3))
    check(Items({"x": pixels}, None), [plan], True, "data")
    pixels[:, 2] = 7
    with pytest.raises(BadInput, match="channel 2 of input x is 7 in every item"):
        check(Items({"x": pixels}, None), [plan], True, "data")


PLAN = InputPlan("x", np.clip(items(2).feeds["x"], 0, 1), ShapeRange(*[(2, 3, 8, 8)] * 3))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x: np.where(np.arange(24)[:, None, None, None] == 5, np.nan, x), "of item 5 holds NaN"),
        (lambda x: x * np.array([1, 0, 1]).reshape(3, 1, 1), "channel 1 of input x is 0 in every item"),
        (lambda x: x * 0.5, "reaches 0.5, and the model's own example 1: they are scaled differently"),
        (lambda x: x * 255, "they are scaled differently"),
    ],
)
def test_data_without_a_range_is_refused(change: object, said: str) -> None:
    array = np.clip(items(24).feeds["x"], 0, 1)
    check(Items({"x": array}, None), [PLAN], True, "data")
    with pytest.raises(BadInput) as caught:
        check(Items({"x": np.asarray(change(array), np.float32)}, None), [PLAN], True, "data")  # type: ignore[operator]
    assert said in str(caught.value)


def test_a_random_example_says_nothing_about_the_scale() -> None:
    check(Items({"x": 255 * np.clip(items(24).feeds["x"], 0, 1)}, None), [PLAN], False, "data")


def test_distributions_do_not_depend_on_the_batches() -> None:
    model, data, names = rectified_net(), items(10), ["x", "a.out", "flat"]
    first, second = (observe(model, data, names, rows, lambda *_: None) for rows in ((4, 4), (10, 1)))
    for name in names:
        one, two = first.distributions[name], second.distributions[name]
        assert one.low == pytest.approx(two.low, abs=1e-5) and one.high == pytest.approx(two.high, rel=1e-5)
        assert one.counts.sum() == pytest.approx(two.counts.sum(), rel=1e-3)
    assert first.distributions["a.out"].low == 0 and first.shapes["a.out"][1:] == (6, 8, 8)
    assert first.distributions["x"].counts.sum() == data.feeds["x"].size
