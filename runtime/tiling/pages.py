"""Pages of mapped files, which count as memory of a process for as long as they stay mapped."""

from __future__ import annotations

import mmap
from typing import Any


def forget_pages(*arrays: Any) -> None:
    """Take the pages of memory maps out of this process; the next access brings them back.

    What was written is in the system's cache and goes to the file as before: the maps are shared ones. Arrays that are
    no maps are left alone, and so is everything where the system has no such call. Of an object with `pixels`, those
    count.
    """
    for array in arrays:
        mapped = getattr(getattr(array, "pixels", array), "_mmap", None)
        if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)
