"""Two exports of one checkpoint have the same bytes, whatever the folder, hash seed and number of threads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.places import DIGITS

pytest.importorskip("torch")

#: All that may differ, as docs/package.md says.
TIMES = ("created", "seconds")


def export(folder: Path, out: str, **environment: str) -> Path:
    """Export a copy of the checkpoint in a folder of its own, in a process of its own."""
    folder.mkdir(parents=True)
    (folder / DIGITS.name).write_bytes(DIGITS.read_bytes())
    command = [sys.executable, "-m", "rectexport", DIGITS.name, "-o", out]
    ran = subprocess.run(command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return folder / out


def timeless(package: Path) -> dict[str, Any]:
    document = json.loads((package / "manifest.json").read_text())
    return {key: value for key, value in document.items() if key not in TIMES}


@pytest.mark.slow
def test_path_hash_seed_and_threads_do_not_matter(tmp_path: Path) -> None:
    first = export(tmp_path / "a", "out", PYTHONHASHSEED="1", OMP_NUM_THREADS="1")
    second = export(tmp_path / "another place/b", "deep/net", PYTHONHASHSEED="2", OMP_NUM_THREADS="2", TZ="Asia/Tokyo")
    for path in first.iterdir():
        if path.name != "manifest.json":
            assert path.read_bytes() == (second / path.name).read_bytes(), path.name
    assert timeless(first) == timeless(second)
