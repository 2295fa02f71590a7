"""A structure gives back what forward returned, and one that was tampered with is refused."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import pytest

from rectexport.runtime.package.structure import (
    StructureError,
    check_structure,
    collect,
    constants,
    is_plain,
    rebuild,
    renamed,
)

Pair = namedtuple("Pair", "left right")
NESTED: dict[str, Any] = {
    "dict": [
        ["boxes", {"output": "boxes"}],
        [7, {"list": [{"output": "7.0"}, {"value": None}]}],
        ["pair", {"namedtuple": "Pair", "fields": [["left", {"output": "pair.left"}], ["right", {"value": 3}]]}],
        ["empty", {"tuple": []}],
    ]
}
NAMES = ("boxes", "7.0", "pair.left")
VALUE = {"boxes": "b", 7: ["s", None], "pair": Pair("p", 3), "empty": ()}
RESULTS = {"boxes": "b", "7.0": "s", "pair.left": "p"}


def test_there_and_back() -> None:
    check_structure(NESTED, NAMES)
    made = rebuild(NESTED, RESULTS)
    assert made == VALUE
    assert list(made) == list(VALUE)
    assert (made["pair"].left, made["pair"].right, type(made["pair"]).__name__) == ("p", 3, "Pair")
    assert collect(NESTED, VALUE) == RESULTS


def test_constants_have_their_paths() -> None:
    assert list(constants(NESTED)) == [("7.1", None), ("pair.right", 3)]


def test_other_names_leave_the_rest() -> None:
    new = renamed(NESTED, {"boxes": "a", "7.0": "b"})
    assert collect(new, VALUE) == {"a": "b", "b": "s", "pair.left": "p"}
    assert collect(NESTED, VALUE) == RESULTS


@pytest.mark.parametrize(
    ("node", "plain"),
    [
        ({"output": "y"}, True),
        ({"tuple": [{"output": "a"}, {"output": "b"}]}, True),
        ({"tuple": [{"output": "a"}, {"value": None}]}, False),
        ({"list": [{"output": "a"}]}, False),
        ({"dict": [["a", {"output": "a"}]]}, False),
    ],
)
def test_what_needs_no_record(node: dict[str, Any], plain: bool) -> None:
    assert is_plain(node) is plain


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"boxes": "b"}, "the result has no 7: expected a dict of 4, got a dict"),
        (["b"], "the result has no 'boxes': expected a dict of 4, got a list"),
        ({**VALUE, "pair": ("p", 3)}, r"the result\['pair'\] has no 'left': expected a namedtuple of 2, got a tuple"),
    ],
)
def test_another_result(value: Any, message: str) -> None:
    with pytest.raises(StructureError, match=message):
        collect(NESTED, value)


def deep(levels: int) -> dict[str, Any]:
    node: dict[str, Any] = {"output": "y"}
    for _ in range(levels):
        node = {"list": [node]}
    return node


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ("y", "expected an object"),
        ({}, "expected one of output, value"),
        ({"output": "y", "value": 1}, "expected one of"),
        ({"output": "y", "fields": []}, "expected one of"),
        ({"output": "z"}, "no output 'z'"),
        ({"output": ["y"]}, r"no output \['y'\]"),
        ({"value": [1]}, "expected a constant"),
        ({"value": float("nan")}, "expected a constant"),
        ({"list": {"output": "y"}}, "expected an array"),
        ({"dict": [["a"]]}, "dict: expected pairs"),
        ({"dict": [[None, {"output": "y"}]]}, "dict: None is no name"),
        ({"dict": [[["k"], {"output": "y"}]]}, "is no name"),
        ({"dict": [["a", {"output": "y"}], ["a", {"output": "y"}]]}, "a key occurs twice"),
        ({"namedtuple": "P", "fields": [["x; import os", {"output": "y"}]]}, "is no name"),
        ({"namedtuple": "P", "fields": [["_x", {"output": "y"}]]}, "'_x' is no name"),
        ({"namedtuple": "class", "fields": []}, "'class' is no name"),
        ({"namedtuple": 3, "fields": []}, "3 is no name"),
        (deep(40), "nested deeper than 32"),
    ],
)
def test_a_structure_that_is_refused(node: Any, message: str) -> None:
    with pytest.raises(StructureError, match=message):
        check_structure(node, ["y"])
