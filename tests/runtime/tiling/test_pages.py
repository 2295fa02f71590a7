"""Pages of mapped files are given back, and nothing that was written is lost."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from rectexport.runtime.tiling.pages import forget_pages

ELEMENTS = 1 << 22


def resident() -> int:
    """Bytes of this process's memory that belong to files."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return int(fields["RssFile"].split()[0]) << 10


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_written_pages_leave_the_process_and_keep_their_values(tmp_path: Path) -> None:
    mapped = np.lib.format.open_memmap(tmp_path / "y.npy", "w+", np.float32, (ELEMENTS,))
    mapped[:] = np.arange(ELEMENTS)
    before = resident()
    forget_pages(mapped)
    assert before - resident() > 3 * ELEMENTS
    assert np.array_equal(mapped, np.arange(ELEMENTS, dtype=np.float32))
    mapped[0] = -1
    forget_pages(SimpleNamespace(pixels=mapped))
    del mapped
    assert np.load(tmp_path / "y.npy", mmap_mode="r")[0] == -1


def test_other_arrays_are_left_alone() -> None:
    array = np.ones(3)
    forget_pages(array, [1, 2])
    assert array.tolist() == [1, 1, 1]
