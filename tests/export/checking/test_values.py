"""Feeds with other values than the example's."""

from __future__ import annotations

import numpy as np

from rectexport.exporter.checking.values import nudged, value_cases
from rectexport.exporter.frontend.inputs import InputPlan
from rectexport.runtime.base.shapes import ShapeRange


def plan(name: str, example: np.ndarray, least: tuple[int, ...] | None = None) -> InputPlan:
    return InputPlan(name, example, ShapeRange(least or example.shape, example.shape, example.shape))


def test_floats_are_negated_zeroed_and_made_large() -> None:
    x = np.array([[1.0, -2.0, 3.0]], np.float32)
    cases = value_cases([plan("x", x)])
    assert list(cases) == ["negated", "zeros", "tenfold", "large"]
    np.testing.assert_array_equal(cases["negated"]["x"], -x)
    assert not cases["zeros"]["x"].any()
    np.testing.assert_array_equal(cases["tenfold"]["x"], 10 * x)
    np.testing.assert_array_equal(cases["large"]["x"], 100 * x)
    assert {array["x"].dtype.name for array in cases.values()} == {"float32"}


def test_integers_cover_their_whole_range() -> None:
    for dtype in (np.uint8, np.int8, np.int64):
        image = np.arange(1, 13, dtype=dtype).reshape(3, 4)
        drawn = value_cases([plan("image", image)])["range"]["image"]
        limits = np.iinfo(dtype)
        assert drawn.dtype == dtype and drawn.shape == image.shape
        assert (drawn.min(), drawn.max()) == (limits.min, limits.max)


def test_the_smallest_shapes_are_used() -> None:
    cases = value_cases([plan("x", np.ones((4, 3, 8, 8), np.float32), (1, 3, 5, 5))])
    assert {array["x"].shape for array in cases.values()} == {(1, 3, 5, 5)}


def test_an_input_without_axes_stays_an_array() -> None:
    cases = value_cases([plan("scale", np.array(1.5, np.float32))])
    assert all(type(case["scale"]) is np.ndarray and case["scale"].shape == () for case in cases.values())


def test_a_case_equal_to_the_example_is_left_out() -> None:
    assert "zeros" not in value_cases([plan("x", np.zeros((2, 2), np.float32))])
    assert list(value_cases([plan("flag", np.array([True, False]))])) == ["negated", "zeros"]


def test_nudged_floats_differ_by_their_rounding() -> None:
    feeds = {"x": np.array([0.0, 1.0, -1e4], np.float32), "n": np.array([1, 2])}
    moved = nudged(feeds)
    assert moved is not None
    assert moved["x"].dtype == np.float32 and moved["x"][0] != 0
    np.testing.assert_allclose(moved["x"], feeds["x"], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(moved["n"], feeds["n"])
    assert nudged({"n": feeds["n"]}) is None
