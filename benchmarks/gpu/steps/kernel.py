"""The rectification kernel: compiled for this GPU, compared with its reference, measured, checked for wild accesses."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gpu import dry
from benchmarks.gpu.bench import Bench

Command = list[str | Path]


@dataclass(frozen=True)
class Ran:
    """What a program printed on both streams, and whether it succeeded."""

    good: bool
    output: str


def test(bench: Bench) -> None:
    """Bit by bit against the CPU, and on more than 2^31 elements."""
    programs = build(bench)
    _report(bench, "device_test", run(bench, [programs / "device_test", bench.work / "cases"]))


def bandwidth(bench: Bench) -> None:
    """The kernel's time beside that of copies; buffers rotate through several times the L2, launched as a graph."""
    ran = run(bench, [build(bench) / "bench"])
    if not ran.good:
        _report(bench, "bench", ran)
        return
    device, headings, *rows = ran.output.strip().splitlines()
    bench.record.note(device.removeprefix("# "))
    for row in rows:
        cells = dict(zip(headings.split("\t"), row.split("\t"), strict=True))
        bench.record.row("The kernel beside copies", **cells)


def memcheck(bench: Bench) -> None:
    """compute-sanitizer's memcheck on the small tensors."""
    programs = build(bench)
    if shutil.which("compute-sanitizer") is None and not bench.dry:
        bench.record.skip("memcheck", "compute-sanitizer is not on PATH")
        return
    command: Command = ["compute-sanitizer", "--tool", "memcheck", "--error-exitcode", "1"]
    _report(bench, "memcheck", run(bench, [*command, programs / "device_test", bench.work / "cases", "--small"]))


def build(bench: Bench) -> Path:
    """Compile, then write the test cases; returns the programs' folder. Where the cases are, it is done."""
    folder, cases = bench.work / "native", bench.work / "cases"
    source = bench.sources / "tests" / "plugins" / "rectify" / "dump_cases.py"
    commands: list[Command] = [
        [
            *("cmake", "-S", bench.sources, "-B", folder, "-DCMAKE_CUDA_ARCHITECTURES=native"),
            f"-DPython3_EXECUTABLE={sys.executable}",
        ],
        ["cmake", "--build", folder, "--parallel", "--target", "device_test", "bench"],
        [sys.executable, source, cases],
    ]
    for command in () if (cases / "tensors.bin").is_file() else commands:
        ran = run(bench, command)
        if not ran.good:
            raise RuntimeError(f"{command[0]} failed: {ran.output[-800:]}")
    return folder / "tests" / "plugins" / "rectify"


def run(bench: Bench, command: Command) -> Ran:
    """Run a program; in a dry run, one that prints what it would, unless it needs no GPU and no compiler."""
    words = [str(part) for part in command]
    if bench.dry and words[0] != sys.executable:
        words = dry.program(words)
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return Ran(done.returncode == 0, done.stdout)


def _report(bench: Bench, what: str, ran: Ran) -> None:
    lines = ran.output.strip().splitlines()
    for line in lines[-6:]:
        bench.record.note(f"{what}: {line}")
    if not ran.good:
        bench.record.fail(f"{what}: {' / '.join(lines[-3:]) or 'nothing was printed'}")
