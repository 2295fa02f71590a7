"""The sizes of a sweep: within the ranges, odd, tall and wide, equal for equal names, and never too large."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from rectexport.runtime.base.shapes import MAX_DIMENSION, ShapeRange
from rectexport.runtime.package.manifest import TensorEntry
from rectexport.runtime.parity import sweep as module
from rectexport.runtime.parity.sweep import batch_dimension, dynamic_dimensions, feeds_of, sweep


def entry(low: Any, opt: Any, high: Any, *names: Any, name: str = "x") -> TensorEntry:
    shape = tuple(names) or tuple(
        size if size == most else f"axis{axis}" for axis, (size, most) in enumerate(zip(low, high, strict=True))
    )
    return TensorEntry(name, "float32", shape, ShapeRange(tuple(low), tuple(opt), tuple(high)))


IMAGES = entry((1, 3, 8, 8), (4, 3, 16, 16), (32, 3, 64, 40), "batch", 3, "height", "width")


def test_a_sweep_has_the_ends_odd_sizes_batches_and_tall_and_wide_planes() -> None:
    found = {label: shapes["x"] for label, shapes in sweep([IMAGES]).items()}
    assert found["opt"] == (4, 3, 16, 16)
    assert found["min"] == (1, 3, 8, 8)
    assert found["max"] == (32, 3, 64, 40)
    assert {label: shape[0] for label, shape in found.items() if label.startswith("batch")} == {
        f"batch {size}": size for size in (1, 2, 3, 5, 7)
    }
    assert (found["opt-1"], found["opt+1"]) == ((4, 3, 15, 15), (4, 3, 17, 17))
    assert (found["tall"], found["wide"]) == ((4, 3, 64, 8), (4, 3, 8, 40))
    odd = found["odd"]
    assert all(size % 2 for size in odd) and len(set(odd)) == 4
    assert all(IMAGES.range and IMAGES.range.contains(shape) for shape in found.values())
    assert len(set(found.values())) == len(found)


def test_a_narrow_range_gives_few_cases() -> None:
    only_batch = entry((1, 3, 8, 8), (1, 3, 8, 8), (2, 3, 8, 8), "batch", 3, 8, 8)
    assert sweep([only_batch]) == {"opt": {"x": (1, 3, 8, 8)}, "max": {"x": (2, 3, 8, 8)}}


@pytest.mark.parametrize(
    "fixed",
    [
        entry((4, 3), (4, 3), (4, 3), 4, 3),
        TensorEntry("x", "float32", (4, 3)),
        TensorEntry("x", "float32", ("batch", 3)),  # of unknown range: nothing can be promised
    ],
)
def test_fixed_and_unknown_sizes_are_not_swept(fixed: TensorEntry) -> None:
    assert sweep([fixed]) == {}
    assert batch_dimension([fixed]) is None


def test_inputs_that_share_a_dimension_always_have_one_size() -> None:
    masks = entry((1, 8), (4, 16), (32, 64), "batch", "height", name="mask")
    cases = sweep([IMAGES, masks])
    assert len(cases) > 8
    for shapes in cases.values():
        assert (shapes["x"][0], shapes["x"][2]) == shapes["mask"]
    assert batch_dimension([IMAGES, masks]) == module.Dimension("batch", 1, 4, 32)


def test_inputs_with_separate_batches_have_no_batch_dimension() -> None:
    other = entry((1, 8), (4, 8), (32, 8), "rows", 8, name="y")
    assert batch_dimension([IMAGES, other]) is None
    assert set(dynamic_dimensions([IMAGES, other])) == {"batch", "height", "width", "rows"}


def test_unnamed_dimensions_are_independent() -> None:
    nameless = entry((1, 8), (2, 8), (4, 9), "", "")
    assert set(dynamic_dimensions([nameless])) == {"x[0]", "x[1]"}
    assert sweep([nameless])["max"] == {"x": (4, 9)}


def test_an_axis_without_bound_stays_near_its_opt_size() -> None:
    unbounded = entry((1, 8), (2, 8), (MAX_DIMENSION, 8), "batch", 8)
    assert sweep([unbounded])["max"] == {"x": (8, 8)}


def test_the_largest_case_is_bounded_and_labelled_near_max(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ELEMENTS", 20_000)
    cases = sweep([IMAGES])
    assert "max" not in cases
    assert math.prod(cases["near max"]["x"]) <= 20_000
    assert all(math.prod(shapes["x"]) <= 40_000 for shapes in cases.values())
    monkeypatch.setattr(module, "MAX_ELEMENTS", 10)
    assert cases["opt"]["x"] == (4, 3, 16, 16)  # what the package is made for is always fed


def test_feeds_hold_the_examples_values_in_different_rows() -> None:
    examples = {"x": np.arange(8, dtype=np.int64).reshape(2, 4) * 10}
    shapes = {"x": (5, 3, 7)}
    feeds = feeds_of(shapes, examples, "odd")
    assert feeds["x"].shape == (5, 3, 7) and feeds["x"].dtype == np.int64
    assert set(feeds["x"].ravel()) <= set(examples["x"].ravel())
    assert len({row.tobytes() for row in feeds["x"]}) == 5
    np.testing.assert_array_equal(feeds_of(shapes, examples, "odd")["x"], feeds["x"])
    assert not np.array_equal(feeds_of(shapes, examples, "even")["x"], feeds["x"])


def test_a_sweep_honours_the_steps() -> None:
    bounds = ShapeRange((1, 3, 32, 33), (2, 3, 64, 65), (5, 3, 320, 161), (1, 1, 32, 16))
    images = TensorEntry("x", "float32", ("batch", 3, "height", "width"), bounds)
    found = {label: shapes["x"] for label, shapes in sweep([images]).items()}
    assert all(bounds.contains(shape) for shape in found.values())
    assert {"min", "max", "odd", "opt-1", "opt+1", "tall", "wide"} <= set(found)
    assert found["opt+1"] == (2, 3, 96, 81)
    assert batch_dimension([TensorEntry("x", "float32", ("n",), ShapeRange((2,), (2,), (8,), (2,)))]) is None
