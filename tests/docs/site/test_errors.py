"""The page of errors is read from the code that raises them."""

from __future__ import annotations

import ast
import re

import pytest

from docs.site import errors
from rectexport.runtime.errors import RectexportError


def raised(code: str) -> list[tuple[str, str]]:
    return list(errors._raised(ast.parse(code)))


def test_a_message_is_read_with_what_is_filled_in() -> None:
    code = 'raise BadInput(f"{path}: axis {axis} of {entry.name} is {len(found)!r}; give " + more, Option("opset", 5))'
    text = "‹path›: axis ‹axis› of ‹entry› is ‹found›; give ‹more›opset=5"
    assert raised(code) == [(text, "BadInput")]


def test_other_exceptions_and_messages_without_words_are_left_out() -> None:
    assert raised('raise ValueError("a")\nraise BadInput(text)\nraise BadInput(f"{a}: {b}")\nraise') == []


def test_every_kind_of_error_says_what_to_do() -> None:
    assert errors.families_in_code() <= set(errors.FAMILIES)
    assert RectexportError.__name__ not in errors.FAMILIES


def test_every_message_stands_under_a_heading() -> None:
    known = errors.messages()
    assert len(known) > 400
    assert all(message.area for message in known)
    assert errors.areas_without_messages() == []
    advice = {title for title, text in errors.AREAS.values() if text}
    assert advice == {title for title, _ in errors.AREAS.values()}, "a heading says nothing of a way out"


@pytest.mark.parametrize("part", ["no such file", "export the model again, or install the rectexport that wrote it"])
def test_the_page_has_messages_of_the_code(part: str) -> None:
    assert part in re.sub(r"&#(\d+);", lambda match: chr(int(match[1])), errors.page())


def test_nothing_in_a_message_is_markup() -> None:
    assert errors._escaped("<b> *a* `c` [d](e)") == "&lt;b&gt; &#42;a&#42; &#96;c&#96; &#91;d&#93;(e)"
