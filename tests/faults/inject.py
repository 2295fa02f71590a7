"""Injects faults into a process while it works.

A fault is a plain dict, so that it can be sent to the warm server:

    {"at": 7, "do": "kill", "signal": 9}     a signal just before the 7th operation on files
    {"at": 7, "do": "fail", "errno": 28}     that operation fails, and every later one: the disk is full, or read-only
    {"at": 7, "do": "remove", "path": "x"}   another process removes a file or a folder
    {"do": "clock"}                          the clock goes backwards
    {"do": "limit", "bytes": 1000}           no file may be longer
    {"do": "count"}                          nothing; the number of operations is written to the file `operations`
    {"after": 0.3, "signal": 15}             a signal after some time, sent by the server

Operations are the audit events of Python for files: every open, rename, mkdir, remove, lock.
"""

from __future__ import annotations

import itertools
import os
import resource
import shutil
import sys
import time
from typing import Any

OPERATIONS = {
    *("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.truncate", "os.listdir", "os.scandir"),
    *("shutil.rmtree", "tempfile.mkdtemp", "tempfile.mkstemp", "fcntl.flock", "ctypes.dlsym"),
}
#: Operations that write.
WRITING = {"os.mkdir", "os.rename", "os.chmod", "tempfile.mkdtemp", "tempfile.mkstemp"}


def inject(fault: dict[str, Any]) -> None:
    """Arm the fault in this process."""
    kind = fault.get("do")
    if kind == "clock":
        ticks = itertools.count(1_700_000_000, -3600)
        time.time = lambda: float(next(ticks))  # type: ignore[assignment]
        time.time_ns = lambda: next(ticks) * 10**9  # type: ignore[assignment]
    elif kind == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault["bytes"], resource.RLIM_INFINITY))
    elif kind is not None:
        _watch(fault)


def _watch(fault: dict[str, Any]) -> None:
    own = os.getpid()
    done = 0
    inside = False

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal done, inside
        if event not in OPERATIONS or inside or os.getpid() != own or not _concerns_files(event, arguments):
            return
        done += 1
        inside = True
        try:
            if fault["do"] == "count":
                _note(done)
            elif done == fault["at"] and fault["do"] == "kill":
                os.kill(own, fault["signal"])
            elif done == fault["at"] and fault["do"] == "remove":
                _remove(fault["path"])
            elif done >= fault["at"] and fault["do"] == "fail" and _writes(event, arguments):
                raise OSError(fault["errno"], os.strerror(fault["errno"]))
        finally:
            inside = False

    sys.addaudithook(hook)


def _concerns_files(event: str, arguments: tuple[Any, ...]) -> bool:
    """Whether a path is none that Python opens for imports or its own libraries."""
    if event != "open":
        return True
    path = os.fspath(arguments[0]) if isinstance(arguments[0], str | bytes | os.PathLike) else ""
    return not str(path).startswith((sys.prefix, sys.base_prefix, "/proc", "/sys", "/dev", "/usr", "/etc"))


def _writes(event: str, arguments: tuple[Any, ...]) -> bool:
    if event == "open":
        flags = arguments[2] if isinstance(arguments[2], int) else 0
        return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    return event in WRITING


def _note(count: int) -> None:
    handle = os.open("operations", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.write(handle, str(count).encode())
    os.close(handle)


def _remove(path: str) -> None:
    if os.path.isdir(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)
