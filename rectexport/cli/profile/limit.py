"""--fail-if-more: how much memory a package may take, absolute or against another package."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import isfinite

from rectexport.runtime.errors import UsageError
from rectexport.runtime.profiling.profile import Profile

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kMG]?)(i?)B?", re.ASCII)
_UNITS = {"": 0, "k": 1, "M": 2, "G": 3}


@dataclass(frozen=True)
class MemoryLimit:
    """size: most bytes resident in any phase; share: how much more than the other package's, 0.05 being 5 %."""

    text: str
    size: int | None = None
    share: float | None = None

    def faults(self, found: Profile, base: Profile | None) -> list[str]:
        """What exceeds the limit, a line each."""
        if self.size is not None:
            return [
                f"{phase}: {megabytes(value)} resident, more than {self.text}"
                for phase, value in found.memory.items()
                if value > self.size
            ]
        assert self.share is not None and base is not None
        return [
            f"{phase}: {megabytes(value)} resident, {value / other - 1:+.1%} of {base.package}'s {megabytes(other)}, "
            f"and --fail-if-more allows {self.text}"
            for phase, value in found.memory.items()
            if (other := base.memory.get(phase, 0)) and value > other * (1 + self.share)
        ]


def memory_limit(text: str, compared: bool) -> MemoryLimit:
    """5%, 300M, 1.5GiB. compared: whether there is another package. Raises UsageError."""
    if text.strip().endswith("%"):
        from rectexport.cli.bench.plan import percent

        if not compared:
            raise UsageError(f"--fail-if-more {text}: a share needs a package to compare with; add --against PACKAGE")
        return MemoryLimit(text, share=percent(text, "--fail-if-more"))
    return MemoryLimit(text, size=size_of(text, "--fail-if-more"))


def size_of(text: str, flag: str) -> int:
    """500M -> 500,000,000 bytes; 500MiB -> 524,288,000. Raises UsageError."""
    match = _SIZE.fullmatch(text.strip())
    size = 0.0 if match is None else float(match[1]) * (1024 if match[3] else 1000) ** _UNITS[match[2]]
    if match is None or not isfinite(size):
        raise UsageError(f"{flag} {text!r}: expected a size, as in 500M, 1.5G or 300MiB")
    return int(size)


def megabytes(value: int) -> str:
    """Bytes as text, as in 68.3 MB."""
    return f"{value / 1e6:.1f} MB"
