"""The hostile corpus: nothing runs, nothing is left, every refusal is one clear message. `make hostile` has more."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("forks and limits are Linux's here", allow_module_level=True)

pytest.importorskip("torch")

from tests.hostile.run import build, check
from tests.warm.client import Warm

#: One of so many is tried with every change.
SHARE = 8


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
