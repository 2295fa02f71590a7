"""Untrusted texts are shown safely."""

from __future__ import annotations

import pytest

from rectexport.runtime.base.texts import brief, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain × ü 字 😀", "plain × ü 字 😀"),
        ("\x1b[2J", r"\x1b[2J"),
        ("a\r\nb\tc", r"a\r\nb\tc"),
        ("\u202egnp", r"\u202egnp"),
        ("\udc80", r"\udc80"),
        ("\0", r"\x00"),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(text).isprintable()


def test_brief_ends() -> None:
    bomb: list[object] = [1]
    for _ in range(60):
        bomb = [bomb, bomb]
    assert len(brief(bomb)) < 10_000
    assert len(brief("x" * 10_000)) < 200
    assert brief(2) == "2"
