"""Profiles are parsed, stored and chosen."""

from __future__ import annotations

import pytest

from rectexport.runtime.base.shapes import MAX_DIMENSION, ShapeRange
from rectexport.runtime.engines.tensorrt.options import parse_size
from rectexport.runtime.engines.tensorrt.profiles import (
    as_dict,
    batch_profiles,
    choose,
    describe,
    flag_of,
    from_dict,
    make_profiles,
)
from rectexport.runtime.errors import UsageError
from rectexport.runtime.package.manifest import TensorEntry

WHOLE = ShapeRange((1, 3, 32, 32), (4, 3, 64, 64), (16, 3, 128, 128))
X = TensorEntry("x", "float32", ("n", 3, "h", "w"), WHOLE)
Y = TensorEntry("y", "float32", (2, 5))


def test_the_default_profile_is_the_packages_range() -> None:
    (profile,) = make_profiles([X, Y])
    assert profile == {"x": WHOLE, "y": ShapeRange((2, 5), (2, 5), (2, 5))}
    assert describe(profile) == "x 1x3x32x32 .. 16x3x128x128 (4x3x64x64), y 2x5"
    assert from_dict(as_dict(profile)) == profile


def test_several_profiles() -> None:
    texts = ["x:1x3x64x64", "x:[2,3,32,32]..4x3x64x64..8x3x64x64,y:2x5"]
    first, second = make_profiles([X, Y], texts)
    assert first["x"] == ShapeRange(*[(1, 3, 64, 64)] * 3)
    assert second["x"] == ShapeRange((2, 3, 32, 32), (4, 3, 64, 64), (8, 3, 64, 64))


def test_profiles_of_batches_cover_the_range() -> None:
    one, eight = batch_profiles([X, Y], (8, 1, 99))
    assert one["x"] == ShapeRange((1, 3, 32, 32), (1, 3, 64, 64), (1, 3, 128, 128))
    assert eight["x"] == ShapeRange((2, 3, 32, 32), (8, 3, 64, 64), (16, 3, 128, 128))
    assert one["y"] == eight["y"] == ShapeRange((2, 5), (2, 5), (2, 5))
    assert batch_profiles([Y], (1, 8)) == make_profiles([Y])
    assert batch_profiles([X], (99,)) == make_profiles([X])


def test_profiles_of_batches_in_steps_and_without_an_end() -> None:
    stepped = TensorEntry("x", "float32", ("n", 3), ShapeRange((4, 3), (8, 3), (16, 3), (4, 1)))
    assert [profile["x"].min[0] for profile in batch_profiles([stepped], (4, 5, 12))] == [4, 8]
    endless = TensorEntry("x", "float32", ("n", 3), ShapeRange((1, 3), (2, 3), (MAX_DIMENSION, 3)))
    assert [profile["x"].max[0] for profile in batch_profiles([endless], (1, 8))] == [1, 8]
    wide = TensorEntry("x", "float32", ("n", "w"), ShapeRange((1, 3), (2, 3), (8, MAX_DIMENSION)))
    with pytest.raises(UsageError, match="an axis has no upper bound, and an engine needs one"):
        batch_profiles([wide], (1, 8))


def test_a_profile_as_a_flag_is_read_back() -> None:
    profiles = batch_profiles([X, Y], (1, 8))
    texts = [flag_of(profile) for profile in profiles]
    assert texts[1] == "x:2x3x32x32..8x3x64x64..16x3x128x128,y:2x5"
    assert make_profiles([X, Y], texts) == profiles


def test_min_opt_and_max_shapes_narrow_the_range() -> None:
    (profile,) = make_profiles([X], low=["2x3x32x32"], high=["x:3x3x64x64"])
    assert profile["x"] == ShapeRange((2, 3, 32, 32), (3, 3, 64, 64), (3, 3, 64, 64))
    (profile,) = make_profiles([X], opt=["x:16x3x128x128"])
    assert profile["x"].opt == (16, 3, 128, 128)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["x:1x3x64x64..2x3x64x64"], "expected NAME:MIN..OPT..MAX or NAME:SHAPE"),
        (["z:1x3x64x64"], "no input 'z'; the model has x, y"),
        (["x:1x3x64x64,x:2x3x64x64"], "input x is given twice"),
        (["x:4x3x64x64..2x3x64x64..8x3x64x64"], "input x, axis 0: expected min <= opt <= max, got 4, 2, 8"),
        (
            ["x:1x3x64x64..2x3x64x64..32x3x64x64"],
            "exceeds the range that the package was exported for, 1x3x32x32 .. 16x3x128x128",
        ),
        (["x:1x3x16x64"], "1x3x16x64 .. 1x3x16x64 exceeds the range that the package was exported for"),
        (["y:3x5"], "input y: a profile of 3x5 .. 3x5 exceeds"),
        (["x:1x3x64"], "input x: a profile of 1x3x64 .. 1x3x64 exceeds"),
    ],
)
def test_wrong_profiles(texts: list[str], message: str) -> None:
    with pytest.raises(UsageError) as refused:
        make_profiles([X, Y], texts)
    assert message in str(refused.value)


def test_both_kinds_of_options_together_are_refused() -> None:
    with pytest.raises(UsageError, match="give one kind"):
        make_profiles([X], ["x:1x3x64x64"], opt=["x:1x3x64x64"])


def test_an_axis_without_upper_bound_is_refused() -> None:
    endless = TensorEntry("x", "float32", ("n", 3), ShapeRange((1, 3), (2, 3), (MAX_DIMENSION, 3)))
    with pytest.raises(UsageError, match=r"no upper bound, and an engine needs one; give it, as in --max-shapes x:2x3"):
        make_profiles([endless])
    assert make_profiles([endless], high=["x:9x3"])[0]["x"].max == (9, 3)


def test_the_nearest_profile_is_chosen() -> None:
    profiles = make_profiles([X], ["x:1x3x32x32..1x3x64x64..16x3x128x128", "x:1x3x32x32..16x3x64x64..16x3x64x64"])
    assert choose(profiles, {"x": (2, 3, 64, 64)}) == 0
    assert choose(profiles, {"x": (12, 3, 64, 64)}) == 1
    assert choose(profiles, {"x": (12, 3, 128, 64)}) == 0
    assert choose(profiles, {"x": (17, 3, 64, 64)}) is None


@pytest.mark.parametrize(
    ("text", "size"), [("4G", 4 << 30), ("512m", 512 << 20), ("1.5GiB", 3 << 29), ("100", 100), ("2KB", 2048)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "G", "-1G", "0", "4X", "1e9G", "9999999T"])
def test_wrong_sizes(text: str) -> None:
    with pytest.raises(UsageError, match=r"--workspace .*: expected a size, as in 4G or 512M"):
        parse_size(text)
