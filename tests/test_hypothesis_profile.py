"""The Hypothesis profiles of tests/conftest.py: examples without a deadline, as many as Hypothesis makes by itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.places import ROOT

pytest.importorskip("hypothesis")

SLOW = """
import time
from hypothesis import HealthCheck, given, settings, strategies

@given(strategies.integers())
@settings(max_examples=3)
def test_slow(number):
    time.sleep(0.3)  # Hypothesis' own deadline is 0.2 s

def test_profile():
    chosen = settings()
    print("PROFILE", chosen.derandomize, chosen.max_examples, chosen.deadline)
"""


@pytest.mark.parametrize(
    ("environment", "derandomized"),
    [({}, False), ({"CI": "true"}, True), ({"HYPOTHESIS_PROFILE": "ci"}, True)],
    ids=["default", "CI", "ci by name"],
)
def test_a_slow_example_passes_in_every_profile(
    environment: dict[str, str], derandomized: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CI", "HYPOTHESIS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "conftest.py").write_text((ROOT / "tests/conftest.py").read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "test_slow.py").write_text(SLOW, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", str(tmp_path)]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout
    assert f"PROFILE {derandomized} 100 None" in ran.stdout
