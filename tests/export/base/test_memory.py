"""Freed memory goes back to the system, and what was there before is not searched for it."""

from __future__ import annotations

import gc
import sys
import weakref
from pathlib import Path

import pytest

from rectexport.exporter.base.memory import past_kept, release


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


def test_only_new_objects_are_searched_within_the_block() -> None:
    before, old = gc.get_freeze_count(), Circle()
    kept = weakref.ref(old)
    with past_kept():
        frozen = gc.get_freeze_count()
        assert frozen > before
        with past_kept():  # an export within another's
            assert gc.get_freeze_count() == frozen
        made = Circle()
        new = weakref.ref(made)
        del made, old
        release(circles=True)
        assert new() is None and kept() is not None
    assert gc.get_freeze_count() == before == 0
    release(circles=True)
    assert kept() is None


def test_what_the_program_has_set_apart_stays_so() -> None:
    gc.freeze()
    try:
        with past_kept():
            pass
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
