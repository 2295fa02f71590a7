"""A package to run: the one that RECTEXPORT_TEST_PACKAGE names, or the digits network, exported now.

These tests also run where only numpy, one engine and the command line's libraries are installed: nothing here
imports more than that.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.places import DIGITS


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package's folder, shared by all workers: read it, do not change it."""
    if named := os.environ.get("RECTEXPORT_TEST_PACKAGE"):
        return Path(named)
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    out = shared / "digits"
    with (shared / "digits.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not out.is_dir():
            command = [sys.executable, "-m", "rectexport", str(DIGITS), "-o", str(out)]
            ran = subprocess.run(command, cwd=shared, capture_output=True, text=True)
            assert ran.returncode == 0, ran.stdout + ran.stderr
    return out


@pytest.fixture
def package(exported: Path, tmp_path: Path) -> Path:
    """A copy of the package that a test may damage."""
    return Path(shutil.copytree(exported, tmp_path / "package"))


@pytest.fixture
def write_manifest(tmp_path: Path) -> Callable[..., Path]:
    """Writes a valid manifest, changed by the argument, into a new folder; returns the folder."""

    def write(change: Callable[[dict[str, Any]], object] = lambda document: None) -> Path:
        tensor = {"name": "x", "dtype": "float32", "shape": ["batch", 3, 8, 8]}
        bounds = {"min": [1, 3, 8, 8], "opt": [2, 3, 8, 8], "max": [4, 3, 8, 8]}
        document: dict[str, Any] = {
            "format": "rectexport-package",
            "version": 1,
            "inputs": [{**tensor, "range": bounds}],
            "outputs": [{"name": "logits", "dtype": "float64", "shape": ["batch", 10]}],
            "tolerances": {"relative_l2": 1e-5, "atol:logits": 0},
            "files": {"model.onnx": "0" * 64, "goldens.npz": "a1" * 32},
        }
        change(document)
        folder = tmp_path / "written"
        folder.mkdir(exist_ok=True)
        (folder / "manifest.json").write_text(json.dumps(document), encoding="utf-8")
        return folder

    return write
