"""The example workflow for other projects: its commands run as written, and its gates stop what they should."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.places import ROOT

yaml = pytest.importorskip("yaml")
pytest.importorskip("openvino")

WORKFLOW = ROOT / "examples" / "ci.yml"


def steps() -> list[dict[str, Any]]:
    """The steps with a command, but for the installation."""
    jobs = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]
    return [step for step in jobs["package"]["steps"] if "run" in step and step["name"] != "Install"]


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return subprocess.run(
        ["bash", "-ec", command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_its_commands_run_and_the_gate_of_parity_closes(tmp_path: Path) -> None:
    shutil.copy(ROOT / "models/checkpoints/digits.pt", tmp_path / "net.pt")
    subprocess.run([sys.executable, "-m", "rectexport.models.digits.data", "data"], cwd=tmp_path, check=True)
    shutil.copy(tmp_path / "data/held-out.npz", tmp_path / "held-out.npz")
    for step in steps():
        done = run(step["run"], tmp_path)
        assert done.returncode == 0, f"{step['name']}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert "<dt>speed against PyTorch</dt>" in page and "<dt>accuracy</dt>" in page
    parity = next(step["run"] for step in steps() if step["name"].startswith("Parity"))
    assert run(f"{parity} --tolerance 1e-12", tmp_path).returncode == 3


def test_the_report_is_kept_of_failed_runs_too() -> None:
    (upload,) = [
        step
        for step in yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]["package"]["steps"]
        if str(step.get("uses")).startswith("actions/upload-artifact")
    ]
    assert upload["if"] == "always()" and upload["with"]["path"] == "out/"
