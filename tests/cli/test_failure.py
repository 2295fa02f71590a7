"""Every error is one line and an exit code."""

from __future__ import annotations

import pytest

from rectexport.cli.failure import debugging, explain
from rectexport.runtime import errors

BUG = "internal error, please report it: {} (RECTEXPORT_DEBUG=1 shows the traceback)"


@pytest.mark.parametrize(
    ("error", "line", "code"),
    [
        (errors.BadInput("a.pt: no such file"), "a.pt: no such file", 1),
        (errors.UsageError("--opset 99"), "--opset 99", 2),
        (errors.ParityError("disagrees"), "disagrees", 3),
        (errors.MissingDependency("torch"), "torch", 5),
        (KeyboardInterrupt(), "interrupted; nothing was written", 130),
        (OSError(28, "No space left on device"), "OSError: [Errno 28] No space left on device", 1),
        (PermissionError(13, "Permission denied", "a"), "PermissionError: [Errno 13] Permission denied: 'a'", 1),
        (MemoryError("Unable to allocate 5 GiB"), "MemoryError: Unable to allocate 5 GiB", 1),
        (MemoryError(), "MemoryError", 1),
        (ValueError("first\nsecond"), BUG.format("ValueError: first"), 1),
        (KeyError(), BUG.format("KeyError"), 1),
        (ImportError("x"), BUG.format("ImportError: x"), 1),
        (RuntimeError("x" * 1000), BUG.format("RuntimeError: " + "x" * 300), 1),
    ],
)
def test_a_line_and_a_code(error: BaseException, line: str, code: int) -> None:
    assert explain(error) == (line, code)


@pytest.mark.parametrize(("value", "wanted"), [("1", True), ("0", False), ("", False), (None, False)])
def test_debugging_is_asked_for(monkeypatch: pytest.MonkeyPatch, value: str | None, wanted: bool) -> None:
    monkeypatch.delenv("RECTEXPORT_DEBUG", raising=False)
    if value is not None:
        monkeypatch.setenv("RECTEXPORT_DEBUG", value)
    assert debugging() is wanted
