"""A part of the hostile corpus (all: `make hostile`): no code runs, no file is left, every error is one message."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("forks and limits are Linux's here", allow_module_level=True)

pytest.importorskip("torch")

from tests.hostile.run import build, check
from tests.warm.client import ROOT, Warm

#: One of this many cases is run with every change.
SHARE = 8


@pytest.mark.slow
def test_a_part_of_the_corpus(tmp_path: Path) -> None:
    warm = Warm(tmp_path)
    try:
        faults, count, tried = [], 0, 0
        for group, cases in build(tmp_path, warm, flips=2):
            for case in cases:
                count += 1
                if count % SHARE:
                    continue
                tried += 1
                faults += [f"{group}: {case.label!r:.200}: {fault}" for fault in check(case, warm, tmp_path)]
    finally:
        warm.close()
    assert tried > 100
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(("plan", "ran"), [(b"a canary in a plan", True), (b"a plan", False)])
def test_a_plan_that_reaches_the_fake_tensorrt_is_detected(tmp_path: Path, plan: bytes, ran: bool) -> None:
    """Positive control: without it, a missing canary file would prove nothing."""
    script = f"""
from tests.warm.machine import install
install()
import tensorrt
runtime = tensorrt.Runtime(tensorrt.ILogger())
try:
    runtime.deserialize_cuda_engine({plan!r})
except Exception:
    pass
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "canary").exists() is ran
