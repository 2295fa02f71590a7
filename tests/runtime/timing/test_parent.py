"""A process that ends with its parent: both are real, the parent is killed while its child is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

if sys.platform != "linux":
    pytest.skip("only Linux ends a process with its parent", allow_module_level=True)

CHILD = """
import os, signal
from rectexport.runtime.timing.parent import end_with_parent
end_with_parent()
os.kill(os.getpid(), signal.SIGSTOP)
"""
PARENT = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {CHILD!r}])
print(child.pid, flush=True)
time.sleep(60)
"""


def state(number: int) -> str:
    """T for a stopped process, "" for one that is gone."""
    try:
        with open(f"/proc/{number}/stat") as stream:
            found = stream.read().rpartition(")")[2].split()[0]
    except OSError:
        return ""
    return "" if found in "ZX" else found


def wait_for(number: int, wanted: str) -> bool:
    last = time.monotonic() + 20
    while state(number) != wanted and time.monotonic() < last:
        time.sleep(0.02)
    return state(number) == wanted


def test_a_stopped_process_ends_when_its_parent_is_killed():
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    try:
        assert wait_for(child, "T")
        parent.kill()
        parent.wait()
        assert wait_for(child, "")
    finally:
        parent.kill()
        parent.communicate()
        if state(child):
            os.kill(child, signal.SIGKILL)
