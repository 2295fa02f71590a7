"""Standard logging under the name rectexport: silent by default, and every step of a load for who asks."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from rectexport.runtime.api import load
from rectexport.runtime.base.logs import LOGGER, logged
from tests.runtime.tiny import dynamic_package

pytest.importorskip("onnxruntime")


def test_lines_are_logged_and_passed_on(caplog: pytest.LogCaptureFixture) -> None:
    told: list[str] = []
    with caplog.at_level(logging.INFO, "rectexport"):
        logged(told.append)("100 %s")
    assert told == caplog.messages == ["100 %s"]


def test_a_load_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = dynamic_package(tmp_path / "package").path
    with caplog.at_level(logging.INFO, "rectexport"), load(path, "onnxruntime"):
        pass
    assert any(line.startswith("opened on ONNX Runtime") for line in caplog.messages)


def test_nothing_is_printed_unless_a_handler_is_added() -> None:
    program = "from rectexport.runtime.base.logs import LOGGER; LOGGER.error('a line')"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout == ran.stderr == ""
    assert LOGGER.name == "rectexport" and not LOGGER.disabled
