"""The description of a machine, from fake system files."""

from __future__ import annotations

import os
import sys

import pytest

from rectexport.runtime.timing.machine import CpuTimes, clocks, cpu_times, disturbance, gpus, load_between, machine

TICKS = os.sysconf("SC_CLK_TCK")


def lay_out(folder, **files):
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_clocks_from_the_scaling_driver(tmp_path):
    cpus = lay_out(
        tmp_path,
        cpu0__cpufreq__scaling_cur_freq="1200000\n",
        cpu1__cpufreq__scaling_cur_freq="3400000\n",
        cpu0__cpufreq__scaling_governor="powersave\n",
        intel_pstate__no_turbo="1\n",
    )
    assert clocks(cpus, tmp_path / "no proc") == {"mhz": [1200, 3400], "governor": "powersave", "boost": False}


def test_clocks_of_a_virtual_machine(tmp_path):
    lay_out(tmp_path, cpuinfo="cpu MHz\t\t: 2000.119\ncpu MHz\t\t: 2100.9\n")
    assert clocks(tmp_path / "no cpus", tmp_path) == {"mhz": [2000, 2101]}
    assert clocks(tmp_path / "no cpus", tmp_path / "no proc") == {}


def test_load_is_what_others_did(tmp_path):
    def at(seconds, user, idle, steal):
        line = f"cpu {user * TICKS} 0 0 {idle * TICKS} 0 0 0 {steal * TICKS} 0 0\n"
        return cpu_times(lay_out(tmp_path, stat=line), lambda: seconds)

    before, after = at(100.0, 50, 1000, 1), at(110.0, 65, 1003, 3)
    assert (before.busy, before.stolen) == (50, 1)
    own = CpuTimes(after.at, after.busy, after.stolen, before.own + 9.0)
    assert load_between(before, own) == {"others_cores": 0.6, "stolen_cores": 0.2}
    assert load_between(None, after) == load_between(before, None) == load_between(after, after) == {}
    assert cpu_times(tmp_path / "no proc") is None


@pytest.mark.parametrize(
    ("load", "cores", "busy"),
    [
        ({"others_cores": 0.1, "stolen_cores": 0.05}, 2, False),
        ({"others_cores": 0.1, "stolen_cores": 0.15}, 2, True),
        ({"others_cores": 1.0, "stolen_cores": 0.0}, 2, True),
        ({"others_cores": 1.0, "stolen_cores": 0.0}, 16, False),
        ({}, 2, False),
    ],
)
def test_a_busy_machine_is_warned_of(load, cores, busy):
    warning = disturbance(load, cores)
    assert (warning is not None) == busy
    assert warning is None or f"of {cores} cores" in warning


def test_gpus_as_nvidia_smi_lists_them():
    rows = "NVIDIA H200, 570.1, 1980 MHz, 1980 MHz, 3201 MHz, 3 %\n"
    (found,) = gpus([sys.executable, "-c", f"print({rows!r}, end='')"])
    assert (found["name"], found["clocks.sm"], found["utilization.gpu"]) == ("NVIDIA H200", "1980 MHz", "3 %")
    assert gpus(["there is no such program"]) == gpus([sys.executable, "-c", "raise SystemExit(9)"]) == []


def test_this_machine_tells_something():
    found = machine()
    assert found["processor"] and found["cores"] >= 1 and "load" not in found
