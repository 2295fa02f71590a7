"""Freed memory goes back to the system."""

from __future__ import annotations

import gc
import sys
import weakref
from pathlib import Path

import pytest

from rectexport.exporter.base.memory import release


class Circle:
    def __init__(self) -> None:
        self.itself = self


def test_circles_are_freed_where_that_is_asked_for() -> None:
    gc.disable()
    try:
        made = Circle()
        kept = weakref.ref(made)
        del made
        release()
        assert kept() is not None
        release(circles=True)
        assert kept() is None
    finally:
        gc.enable()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_process_becomes_smaller() -> None:
    def pages() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1])

    blocks = [bytes(60_000) for _ in range(2000)]  # below the size that has a mapping of its own
    last = bytes(60_000)
    before = pages()
    del blocks
    release()
    assert before - pages() > 60_000 * 1000 // 4096, len(last)
