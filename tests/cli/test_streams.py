"""Output in terminals whose encoding lacks signs, and into a pipe that its reader closes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rectexport.cli.streams import HANDLER
from tests.runtime.tiny import dynamic_package

ENCODINGS = {
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "cp1252": {"PYTHONIOENCODING": "cp1252"},
    "strict ascii": {"PYTHONIOENCODING": "ascii:strict"},
    "utf-8": {"PYTHONIOENCODING": "utf-8"},
}
PROGRAM = [sys.executable, "-m", "rectexport"]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dynamic_package(tmp_path_factory.mktemp("packages") / "tiny").path


def run(words: list[str], folder: Path, encoding: str) -> subprocess.CompletedProcess[bytes]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONIOENCODING"}
    environment |= {"COLUMNS": "80", **ENCODINGS[encoding]}
    return subprocess.run([*PROGRAM, *words], cwd=folder, env=environment, capture_output=True)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_gets_the_same_exit_codes_and_lines(package: Path, encoding: str) -> None:
    helped = run(["--help"], package.parent, encoding)
    assert (helped.returncode, helped.stderr) == (0, b"") and b"Exit codes: 0 success" in helped.stdout
    passed = run(["verify", package.name, "--backend", "onnxruntime"], package.parent, encoding)
    assert passed.returncode == 0, passed.stderr
    assert passed.stdout.splitlines()[-1].startswith(b"PASSED in ") and b"2x1x8x8" in passed.stdout
    failed = run(["verify", "nothing→×…", "--backend", "onnxruntime"], package.parent, encoding)
    assert failed.returncode == 1 and failed.stderr.count(b"error: nothing") == 1
    assert failed.stderr.splitlines()[-1].startswith(b"FAILED after ")
    for ran in (helped, passed, failed):
        assert b"internal error" not in ran.stderr and b"Traceback" not in ran.stderr


@pytest.mark.parametrize(
    ("text", "replaced"),
    [("3×3 → 2", "3x3 -> 2"), ("1 … 4", "1 ... 4"), ("in 1 s · again", "in 1 s | again"), ("─│╭", "-|+"), ("日", "?")],
)
def test_signs_become_ascii_that_means_the_same(text: str, replaced: str) -> None:
    assert text.encode("ascii", errors=HANDLER).decode() == replaced


def test_signs_that_the_encoding_has_stay() -> None:
    assert "3×3 → ü".encode("latin-1", errors=HANDLER) == "3×3 -> ü".encode("latin-1")


def into_closed_pipe(words: list[str], folder: Path) -> tuple[int, bytes]:
    """The exit code and stderr of a command whose standard output nobody reads."""
    read, write = os.pipe()
    os.close(read)
    ran = subprocess.run([*PROGRAM, *words], cwd=folder, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    return ran.returncode, ran.stderr


@pytest.mark.parametrize("words", [["--help"], ["verify", "--help"], ["verify", "tiny", "--backend", "onnxruntime"]])
def test_a_closed_pipe_ends_the_command_without_a_message(package: Path, words: list[str]) -> None:
    assert into_closed_pipe(words, package.parent) == (1, b"")
