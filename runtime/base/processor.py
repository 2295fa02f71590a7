"""The kind of processor this is, as far as it decides which kernels an engine takes."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_CPUINFO = Path("/proc/cpuinfo")
#: Instruction sets that CPU engines choose kernels by: x86-64 first, then 64-bit Arm.
_X86 = "avx avx2 fma avx512f avx512_vnni avx512_bf16 avx512_fp16 avx_vnni amx_int8 amx_bf16"
_ARM = "asimd asimdhp asimddp i8mm bf16 sve sve2 sme"
FEATURES = frozenset((*_X86.split(), *_ARM.split()))


@dataclass(frozen=True)
class Processor:
    """An architecture ("x86_64", "aarch64") and the instruction sets of FEATURES that it has, sorted."""

    architecture: str
    features: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"architecture": self.architecture, "features": list(self.features)}


@cache
def processor(cpuinfo: Path = _CPUINFO) -> Processor:
    """This machine's. Without a readable /proc/cpuinfo no feature is known."""
    return Processor(platform.machine(), _features(cpuinfo))


def _features(cpuinfo: Path) -> tuple[str, ...]:
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    listed = [line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features"))]
    return tuple(sorted(FEATURES.intersection(*listed[:1]))) if listed else ()
