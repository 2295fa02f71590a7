"""What torch writes is kept off the terminal, and goes into a file where an export fails."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import pytest

from rectexport.exporter.base.quiet import kept_in, quiet
from rectexport.runtime.errors import BadInput, Option


def noisy() -> None:
    warnings.warn("a warning", stacklevel=1)
    logging.getLogger("torch.fx.something").error("an error")
    print("a graph")


def fail() -> None:
    try:
        with quiet():
            noisy()
            raise ValueError("inside torch")
    except ValueError as error:
        raise BadInput("no trace; ", Option("opset", 5)) from error


def test_nothing_reaches_the_terminal(capfd: pytest.CaptureFixture) -> None:
    before = [(logger, logger.handlers[:]) for logger in (logging.getLogger("torch"), logging.getLogger("torch.fx"))]
    with quiet() as said:
        noisy()
    assert capfd.readouterr() == ("", "")
    assert all(text in "".join(said) for text in ("a warning", "an error", "a graph"))
    assert [(logger, logger.handlers) for logger, _ in before] == before
    print("after")
    assert capfd.readouterr().out == "after\n"


def test_a_failure_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "out.failed.log"
    with pytest.raises(BadInput) as raised, kept_in(path):
        fail()
    assert str(raised.value) == f"no trace; opset=5. What torch said is in {path}"
    text = path.read_text()
    assert "a graph" in text and "an error" in text and "ValueError: inside torch" in text


def test_an_error_of_our_own_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"^no such axis$"), kept_in(tmp_path / "log"):
        raise BadInput("no such axis")
    assert not list(tmp_path.iterdir())
