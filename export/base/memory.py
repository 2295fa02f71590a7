"""Give freed memory back to the system, and spare Python the search for it among what was there before."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


def release(circles: bool = False) -> None:
    """Let the C library return what it keeps of freed memory: after large arrays that is as much again as is in use.

    circles also frees what is only reachable in circles, as opened graphs are. Only glibc has such a call.
    """
    if circles:
        gc.collect()
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)


@contextmanager
def past_kept() -> Iterator[None]:
    """Within the block, Python looks for circles only among objects that were made in it.

    With PyTorch loaded, a search among all objects takes a third of a second, and a trace starts several. Where the
    program has set objects apart itself (gc.freeze), nothing is changed.
    """
    if gc.get_freeze_count():
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
