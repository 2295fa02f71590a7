"""The machine's properties and its other load, both of which timings depend on."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rectexport.runtime.base.environment import usable_cores, version

#: Share of the usable cores that other processes may use before a measurement counts as disturbed.
BUSY = 0.1
_PROC, _CPUS = Path("/proc"), Path("/sys/devices/system/cpu")
_GPU_FIELDS = ("name", "driver_version", "clocks.sm", "clocks.max.sm", "clocks.mem", "utilization.gpu")
_GPU_QUERY = ("nvidia-smi", f"--query-gpu={','.join(_GPU_FIELDS)}", "--format=csv,noheader")


def machine() -> dict[str, Any]:
    """Processor, usable cores, system and engine versions."""
    engines = {name: version(name) for name in ("onnxruntime", "openvino")}
    return {
        "processor": _processor(),
        "cores": usable_cores(),
        "system": platform.system(),
        **{name: found for name, found in engines.items() if found},
    }


def clocks(cpus: Path = _CPUS, proc: Path = _PROC) -> dict[str, Any]:
    """Processor clocks in MHz (lowest and highest core), governor and boost, those that the system reports."""
    lines = _read(proc / "cpuinfo").splitlines()
    now = [float(line.partition(":")[2]) for line in lines if line.startswith("cpu MHz")]
    scaled = [_read(path) for path in cpus.glob("cpu[0-9]*/cpufreq/scaling_cur_freq")]
    now = [int(value) / 1e3 for value in scaled if value.isdecimal()] or now
    no_turbo = _read(cpus / "intel_pstate/no_turbo")
    boost = _read(cpus / "cpufreq/boost") or {"0": "1", "1": "0"}.get(no_turbo, "")
    found = {
        "mhz": [round(min(now)), round(max(now))] if now else None,
        "governor": _read(cpus / "cpu0/cpufreq/scaling_governor") or None,
        "boost": {"0": False, "1": True}.get(boost),
    }
    return {name: value for name, value in found.items() if value is not None}


def gpus(query: Sequence[str] = _GPU_QUERY) -> list[dict[str, str]]:
    """Name, driver, clocks (MHz) and load (%) of every NVIDIA GPU; empty if nvidia-smi is missing or fails."""
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [[cell.strip() for cell in line.split(",")] for line in done.stdout.splitlines() if line.strip()]
    return [dict(zip(_GPU_FIELDS, row, strict=False)) for row in rows]


def load_average() -> list[float]:
    """Load average over the last 1, 5 and 15 minutes; empty if the system does not report it."""
    return [round(value, 2) for value in os.getloadavg()] if hasattr(os, "getloadavg") else []


@dataclass(frozen=True)
class CpuTimes:
    """CPU seconds since boot over all cores: busy, stolen by the hypervisor, and used by this process (own)."""

    at: float
    busy: float
    stolen: float
    own: float


def cpu_times(proc: Path = _PROC, clock: Callable[[], float] = time.perf_counter) -> CpuTimes | None:
    """The CPU times now, None if the system does not report them. Children count as own once they were waited for."""
    fields = _read(proc / "stat").partition("\n")[0].split()[1:]
    if len(fields) < 8:
        return None
    # user nice system idle iowait irq softirq steal, in ticks
    ticks = [int(value) / os.sysconf("SC_CLK_TCK") for value in fields[:8]]
    own = sum(os.times()[:4])  # user and system, children's too
    return CpuTimes(clock(), sum(ticks) - ticks[3] - ticks[4] - ticks[7], ticks[7], own)


def load_between(before: CpuTimes | None, after: CpuTimes | None) -> dict[str, float]:
    """Average cores that other processes used, and that the hypervisor stole; empty if unknown."""
    if before is None or after is None or after.at <= before.at:
        return {}
    seconds = after.at - before.at
    others = (after.busy - before.busy) - (after.own - before.own)
    return {
        "others_cores": round(max(others, 0.0) / seconds, 3),
        "stolen_cores": round((after.stolen - before.stolen) / seconds, 3),
    }


def disturbance(load: dict[str, float], cores: int) -> str | None:
    """A warning if others used more than BUSY of the cores, else None."""
    taken = load.get("others_cores", 0.0) + load.get("stolen_cores", 0.0)
    if taken <= BUSY * cores:
        return None
    return (
        f"the machine was busy: others took {taken:.1f} of {cores} cores during the measurement; "
        "ratios are fair but less certain, and p99 includes the disturbance"
    )


def _processor() -> str:
    lines = _read(_PROC / "cpuinfo").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "model\t"))]
    if not lines:
        return platform.processor() or platform.machine()
    return ", model ".join(dict.fromkeys(names[::-1])) if names else platform.machine()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
