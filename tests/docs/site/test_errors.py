"""The page of errors has every message of the code, also those that helpers make."""

from __future__ import annotations

import ast
import html
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

import rectexport
from docs.site import errors
from docs.site.code import Code, code_of, read_code
from docs.site.messages import Message, kinds, messages, reasons, wordless
from docs.site.wording import Text
from rectexport.exporter.base.processing import parse_image_input
from rectexport.runtime.errors import RectexportError

#: Files that make an error from the text of another one, and whose text that is.
QUOTES = {
    "export/frontend/load.py": "another of our messages",
    "export/optimize.py": "another of our messages",
    "rectexport/cli/commands/models.py": "a reason",
    "runtime/evaluation/evaluate.py": "another of our messages",
    "runtime/evaluation/examples.py": "another of our messages",
    "runtime/package/numpy_files.py": "another of our messages",
    "runtime/parity/run.py": "another of our messages",
    "runtime/serving/service.py": "another of our messages",
    "runtime/serving/triton/merge.py": "protobuf's",
    "runtime/serving/workers/process.py": "a worker's message",
    "runtime/serving/workers/thread.py": "a worker's message",
}


@cache
def project() -> Code:
    return read_code()


@cache
def known() -> list[Message]:
    return messages(project())


@cache
def shown() -> str:
    """The page as a reader sees it, in one line."""
    text = re.sub(r"&#(\d+);", lambda match: chr(int(match[1])), errors.page(project()))
    return " ".join(html.unescape(text).split())


def made(source: str) -> list[tuple[str, str]]:
    return [(message.text.shown, message.error) for message in messages(code_of(source))]


def choices(source: str) -> dict[str, list[str]]:
    (message,) = messages(code_of(source))
    return {name: [text.shown for text in texts] for name, texts in message.text.choices}


def test_a_message_is_read_with_what_is_filled_in() -> None:
    code = 'raise BadInput(f"{path}: axis {axis} of {entry.name} is {len(found)!r}; give " + more, Option("opset", 5))'
    text = "‹path›: axis ‹axis› of ‹entry› is ‹found›; give ‹more›opset=5"
    assert made(code) == [(text, "BadInput")]


def test_other_exceptions_are_reasons_and_texts_without_words_are_none() -> None:
    code = 'raise ValueError("some thing")\nraise BadInput(text)\nraise BadInput(f"{a}: {b}")\nraise Exit("no")'
    assert made(code) == []
    assert [(reason.text.shown, reason.error) for reason in reasons(code_of(code))] == [("some thing", "ValueError")]
    assert wordless(code_of(code)) == [("example.py", 2), ("example.py", 3)]


HELPER = """
ADVICE = "give another one"

def refuse(path, why):
    return BadInput(f"{path}: {why}; {ADVICE}")

def one(path):
    raise refuse(path, "it is empty")

def two(path):
    raise refuse(path, why="it is too long")
"""
FROM_HELPER = """
def fault(size):
    if size > 3:
        return "it is too large"
    return f"it has {size} bytes" if size else ""

def read(path):
    found = fault(len(path)) or "nothing is there"
    if found:
        raise BadInput(f"{path}: {found}")
"""
BY_PARTS = """
def read(path, names):
    faults = [f"{name} is unknown" for name in names]
    faults.append("the file is empty")
    for fault in faults:
        raise UsageError(*parts(fault))

def parts(fault):
    return ["not usable: ", fault]
"""


def test_words_are_followed_into_helpers() -> None:
    assert made(HELPER) == [("‹path›: ‹why›; give another one", "BadInput")]
    assert choices(HELPER) == {"why": ["it is empty", "it is too long"]}


def test_words_are_followed_out_of_helpers() -> None:
    assert made(FROM_HELPER) == [("‹path›: ‹found›", "BadInput")]
    assert choices(FROM_HELPER) == {"found": ["it is too large", "it has ‹size› bytes", "nothing is there"]}


def test_words_are_followed_through_lists() -> None:
    assert made(BY_PARTS) == [("not usable: ‹fault›", "UsageError")]
    assert choices(BY_PARTS) == {"fault": ["‹name› is unknown", "the file is empty"]}


def test_errors_in_futures_and_errors_with_more_words_are_messages() -> None:
    code = 'answer.set_exception(RequestError(503, "the server ends"))\nraise type(error)(*error.args, ". See the log")'
    assert made(code) == [("the server ends", "RequestError"), ("‹args›. See the log", "the same error")]


def test_functions_that_call_each_other_end() -> None:
    code = 'def a(x):\n    return b(x)\ndef b(x):\n    return a(x)\ndef c(x):\n    raise BadInput("not so: ", a(x))\n'
    assert made(code) == [("not so: ‹x›", "BadInput")]


def test_every_kind_of_error_says_what_to_do() -> None:
    assert kinds() == set(errors.FAMILIES)


def test_every_message_stands_under_a_heading() -> None:
    areas = {errors.area_of(message.path) for message in known()}
    assert areas == {title for title, _ in errors.AREAS.values()}
    advice = {title for title, text in errors.AREAS.values() if text}
    assert advice == areas, "a heading says nothing of a way out"


def test_every_error_of_the_code_has_words_on_the_page() -> None:
    """An error whose words are not found here would be missing on the page."""
    assert {path for path, _ in wordless(project())} == set(QUOTES)


def test_every_literal_in_a_raise_is_on_the_page() -> None:
    """Read without what reads the page: every text of two words or more within a raise of an error of ours."""
    missing = []
    for module in project().modules.values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and _ours(node.exc):
                texts = [one.value for one in ast.walk(node.exc) if isinstance(one, ast.Constant)]
                missing += [
                    f"{module.path}:{node.lineno}: {text}"
                    for text in texts
                    if isinstance(text, str) and len(text.split()) > 1 and " ".join(text.split()) not in shown()
                ]
    assert missing == []


def _ours(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Name) and call.func.id in kinds()


def documented(text: str) -> bool:
    """Whether a message of the page says the same, but for what is filled in."""
    return any(fits(message.text, text) for message in known())


def fits(pattern: Text, text: str) -> bool:
    """Whether a text is the pattern with something filled in; of a pattern without words, one of its choices."""
    if not re.search("[A-Za-z]{3}", pattern.own):
        return any(fits(choice, text) for _, choices in pattern.choices for choice in choices)
    parts = [re.escape(part) for part in re.split(r"‹[^›]*›", pattern.shown)]
    return re.fullmatch(".*".join(parts), text, re.DOTALL) is not None


@pytest.mark.parametrize(
    "fail",
    [
        lambda: parse_image_input("x:uint8,nhwc,rgb,resize=0"),
        lambda: rectexport.load("nowhere"),
        lambda: rectexport.load_model("nowhere.pt"),
        lambda: rectexport.load_model("x.py", model="nowhere.module"),
    ],
    ids=["in a helper", "of a package", "of a model", "of a class"],
)
def test_messages_that_are_raised_are_on_the_page(fail: Callable[[], object], tmp_path: Path) -> None:
    with pytest.raises(RectexportError) as caught:
        fail()
    assert documented(str(caught.value))
    assert not documented("the moon is made of cheese")


def test_nothing_in_a_message_is_markup() -> None:
    assert errors._escaped("<b> *a* `c` [d](e)") == "&lt;b&gt; &#42;a&#42; &#96;c&#96; &#91;d&#93;(e)"
