"""A process that ends with the process that started it, also when that is killed."""

from __future__ import annotations

import ctypes
import signal
import sys

PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Let the system kill this process when the thread that started it ends; only Linux can do that.

    A stopped process (SIGSTOP) does not notice that its pipes are closed, so without this it would stay for ever.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
