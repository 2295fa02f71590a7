"""Give freed memory back to the system."""

from __future__ import annotations

import ctypes
import gc
import sys
from contextlib import suppress


def release(circles: bool = False) -> None:
    """Let the C library return what it keeps of freed memory: after large arrays that is as much again as is in use.

    circles also frees what is only reachable in circles, as opened graphs are; with PyTorch loaded that takes a third
    of a second. Only glibc has such a call.
    """
    if circles:
        gc.collect()
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)
