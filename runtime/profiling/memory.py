"""Resident memory of a process by phase: before the model, while it loads, in its first runs, in later runs."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

_SELF = Path("/proc/self")
#: Written to clear_refs it sets the peak back to what is resident now (Linux, proc_pid_clear_refs(5)).
_RESET = "5"


def peak_bytes(proc: Path = _SELF) -> int | None:
    """The most bytes that were resident since reset_peak(), or since the process began; None where unknown."""
    value = _status(proc).get("VmHWM")
    if value is not None:
        return value
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def reset_peak(proc: Path = _SELF) -> None:
    """Begin a phase. Where the system does not allow it, later phases include the peaks of earlier ones."""
    with suppress(OSError):
        (proc / "clear_refs").write_text(_RESET, encoding="ascii")


def _status(proc: Path) -> dict[str, int]:
    """Sizes in /proc/self/status, in bytes."""
    try:
        lines = (proc / "status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in lines)
    return {key: int(value.split()[0]) * 1024 for key, _, value in pairs if value.strip().endswith("kB")}


class Phases:
    """Peaks by phase of this process."""

    def __init__(self) -> None:
        self._peaks: dict[str, int] = {}

    def end(self, phase: str) -> None:
        """Note the peak of the phase that ends, and begin the next."""
        peak = peak_bytes()
        if peak is not None:
            self._peaks[phase] = peak
        reset_peak()

    def as_dict(self) -> dict[str, Any]:
        """Bytes by phase, in order."""
        return dict(self._peaks)
