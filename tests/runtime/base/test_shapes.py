"""Shape options: every accepted notation, and errors for the others."""

from __future__ import annotations

import re

import pytest

from rectexport.runtime.base.shapes import (
    DTYPES,
    ShapeFlag,
    ShapeRange,
    check_range,
    format_shape,
    parse_shape_flag,
    parse_shape_flags,
    resolve_names,
    with_multiples,
)
from rectexport.runtime.errors import UsageError

SHAPE = (1, 3, 224, 224)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x:1x3x224x224", ShapeFlag("x", SHAPE)),
        ("x:1X3X224X224", ShapeFlag("x", SHAPE)),
        ("x:[1,3,224,224]", ShapeFlag("x", SHAPE)),
        ("x:[1, 3, 224, 224]", ShapeFlag("x", SHAPE)),
        (" x : 1x3x224x224 ", ShapeFlag("x", SHAPE)),
        ("1x3x224x224", ShapeFlag(None, SHAPE)),
        ("[1,3,224,224]", ShapeFlag(None, SHAPE)),
        ("x:1x3x224x224:float16", ShapeFlag("x", SHAPE, "float16")),
        ("x:[1,3,224,224]:int64", ShapeFlag("x", SHAPE, "int64")),
        ("1x3x224x224:uint8", ShapeFlag(None, SHAPE, "uint8")),
        ("[1,3,224,224] : bool", ShapeFlag(None, SHAPE, "bool")),
        ("x:8", ShapeFlag("x", (8,))),
        ("8", ShapeFlag(None, (8,))),
        ("input.1:2x5", ShapeFlag("input.1", (2, 5))),
        ("images:0:2x5", ShapeFlag("images:0", (2, 5))),
        ("images:0:[2,5]:int32", ShapeFlag("images:0", (2, 5), "int32")),
        ("a/b-c:2x5", ShapeFlag("a/b-c", (2, 5))),
        ("3x3:2x5", ShapeFlag("3x3", (2, 5))),
        ("x:2147483647x1", ShapeFlag("x", (2147483647, 1))),
        ("x:1048576x1048576", ShapeFlag("x", (2**20, 2**20))),
    ],
)
def test_accepted_notations(text: str, expected: ShapeFlag) -> None:
    assert parse_shape_flag(text) == expected


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_is_taken(dtype: str) -> None:
    assert parse_shape_flag(f"x:2x2:{dtype}") == ShapeFlag("x", (2, 2), dtype)


SPELLING = "expected NAME:1x3x224x224 or NAME:[1,3,224,224]"
NUMBERS = "expected positive whole numbers between 'x', as in x:1x3x224x224"
BOUNDS = "every dimension must lie in 1..2147483647"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", SPELLING),
        ("x", SPELLING),
        ("x:batch", SPELLING),
        ("x:x", SPELLING),
        ("x:x3", SPELLING),
        ("x:", SPELLING),
        (":1x3", SPELLING),
        ("x:1x3xbatch", SPELLING),
        ("x:1*3", SPELLING),
        ("x:1x-3", SPELLING),
        ("x:1.5x3", SPELLING),
        ("x:[1,3", SPELLING),
        ("x:(1,3)", SPELLING),
        ("x:1x3 224", SPELLING),
        ("x:[]", NUMBERS),
        ("x:1xx3", NUMBERS),
        ("x:1x3x", NUMBERS),
        ("x:[1,,3]", NUMBERS),
        ("x:[1,-3]", NUMBERS),
        ("x:[1,1.5]", NUMBERS),
        ("x:[1,²]", NUMBERS),
        ("x:1x0", BOUNDS),
        ("x:2147483648x1", BOUNDS),
        ("x:" + "9" * 30, BOUNDS),
        ("x:" + "9" * 5000, BOUNDS),
        ("x:1048577x1048576", "1099512676352 elements, more than 1099511627776"),
        ("x:1x3:float", "unknown dtype 'float', expected one of " + ", ".join(DTYPES)),
        ("x:1x3:int64x", "unknown dtype 'int64x'"),
    ],
)
def test_errors_name_the_option(text: str, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_shape_flag(text, "--opt-shapes")
    message = str(refused.value)
    assert message.startswith(f"--opt-shapes {text!r:.200}: ")
    assert said in message
    assert len(message) < 400
    assert refused.value.exit_code == 2


def test_the_default_option_is_input() -> None:
    with pytest.raises(UsageError, match=r"^--input 'x:a'"):
        parse_shape_flag("x:a")


@pytest.mark.parametrize(
    "texts",
    [
        ["a:1x3", "b:[2,5]:int64"],
        ["a:1x3,b:[2,5]:int64"],
        ["a:[1,3],b:2x5:int64"],
        ["a:[1,3], b:[2,5]:int64"],
    ],
)
def test_flags_repeated_or_joined_by_commas(texts: list[str]) -> None:
    found = parse_shape_flags(texts, "--input")
    assert found == {"a": ShapeFlag("a", (1, 3)), "b": ShapeFlag("b", (2, 5), "int64")}
    assert list(found) == ["a", "b"]


def test_no_flags_are_no_entries() -> None:
    assert parse_shape_flags([], "--input") == {}


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["a:1x3", "a:1x4"], "--min-shapes: input a is given twice"),
        (["a:1x3,a:1x3"], "--min-shapes: input a is given twice"),
        (["1x3", "1x4"], "--min-shapes: input (unnamed) is given twice"),
        (["a:1x3,"], "--min-shapes '': expected NAME:1x3x224x224"),
    ],
)
def test_repeated_names_are_refused(texts: list[str], said: str) -> None:
    with pytest.raises(UsageError, match="^" + re.escape(said)):
        parse_shape_flags(texts, "--min-shapes")


def test_names_are_resolved() -> None:
    named, unnamed = ShapeFlag("b", (1, 3)), ShapeFlag(None, (1, 3))
    assert resolve_names({"b": named}, ["a", "b"], "--input") == {"b": named}
    assert resolve_names({None: unnamed}, ["a"], "--input") == {"a": unnamed}
    assert resolve_names({}, ["a", "b"], "--input") == {}


@pytest.mark.parametrize(
    ("flags", "names", "said"),
    [
        (["1x3"], ["a", "b"], "--input: the model has inputs a, b; say which, as in a:1x3x224x224"),
        (["c:1x3"], ["a", "b"], "--input: no input 'c'; the model has a, b"),
        (["1x3", "a:1x4"], ["a"], "--input: input a is given twice, with its name and without"),
        (["a:1x4", "1x3"], ["a"], "--input: input a is given twice, with its name and without"),
    ],
)
def test_unknown_names_are_refused(flags: list[str], names: list[str], said: str) -> None:
    with pytest.raises(UsageError) as refused:
        resolve_names(parse_shape_flags(flags, "--input"), names, "--input")
    assert str(refused.value) == said


def test_a_range_keeps_its_sides() -> None:
    bounds = check_range("x", (1, 3, 8), (2, 3, 8), (4, 3, 9))
    assert bounds == ShapeRange((1, 3, 8), (2, 3, 8), (4, 3, 9))
    assert bounds.dynamic_axes == (0, 2)
    assert check_range("x", (1, 3), (1, 3), (1, 3)).dynamic_axes == ()


@pytest.mark.parametrize(
    ("low", "opt", "high", "said"),
    [
        ((1, 3), (1, 3, 8), (1, 3, 8), "input x: min (1, 3), opt (1, 3, 8) and max (1, 3, 8) differ in rank"),
        ((1, 3), (1, 3), (1, 3, 8), "input x: min (1, 3), opt (1, 3) and max (1, 3, 8) differ in rank"),
        ((1, 9), (1, 8), (1, 9), "input x, axis 1: expected min <= opt <= max, got 9, 8, 9"),
        ((1, 8), (5, 8), (4, 8), "input x, axis 0: expected min <= opt <= max, got 1, 5, 4"),
    ],
)
def test_impossible_ranges_are_refused(low: tuple, opt: tuple, high: tuple, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        check_range("x", low, opt, high)
    assert str(refused.value) == said


def test_shapes_inside_a_range() -> None:
    bounds = ShapeRange((1, 3, 8), (2, 3, 8), (4, 3, 9))
    for inside in [(1, 3, 8), (4, 3, 9), (2, 3, 9)]:
        assert bounds.contains(inside)
    for outside in [(0, 3, 8), (5, 3, 8), (2, 3, 10), (2, 3), (2, 3, 8, 1), (2, 2, 8)]:
        assert not bounds.contains(outside)


def test_shapes_are_written_as_they_are_read() -> None:
    assert format_shape(("batch", 3, 8)) == "batchx3x8"
    assert parse_shape_flag(format_shape(SHAPE)).shape == SHAPE


STEPPED = ShapeRange((1, 32), (2, 64), (4, 320), (1, 32))


def test_steps_between_sizes() -> None:
    assert STEPPED.contains((3, 96)) and not STEPPED.contains((3, 97))
    assert [STEPPED.floor(1, size) for size in (1, 32, 95, 96, 1000)] == [32, 32, 64, 96, 320]
    assert [STEPPED.describe(axis) for axis in (0, 1)] == ["1..4", "32..320 in steps of 32"]
    assert STEPPED.nearest(1, 50) == "; the nearest sizes that fit are 32 and 64"
    assert (STEPPED.nearest(1, 500), STEPPED.nearest(0, 9)) == ("", "")


def test_multiples() -> None:
    bounds = ShapeRange((1, 32), (2, 64), (4, 320))
    assert with_multiples("x", bounds, (1, 32), "--multiple-of") == STEPPED
    assert with_multiples("x", bounds, (1, 1), "--multiple-of") == bounds
    with pytest.raises(UsageError, match=r"input x, axis 1: opt is 64, which is no multiple of 20 .*; give 60, 80"):
        with_multiples("x", ShapeRange((1, 20), (1, 64), (1, 80)), (1, 20), "--multiple-of")
    with pytest.raises(UsageError, match="--multiple-of x:32 has rank 1, but the input's shape has rank 2"):
        with_multiples("x", bounds, (32,), "--multiple-of")
