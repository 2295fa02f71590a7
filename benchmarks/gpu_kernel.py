"""Build the rectification kernel, test it on the GPU and measure it; prints Markdown.

    python -m benchmarks.gpu_kernel                tests, compute-sanitizer, bandwidth
    python -m benchmarks.gpu_kernel --only test    one of: test, sanitize, bench

Needs cmake, nvcc and a GPU; if one is missing, everything is skipped and it exits with 0. Exits with 1 if a test fails.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common import ROOT, table

BUILD = ROOT / "build" / "gpu"
PROGRAMS = BUILD / "tests" / "plugins" / "rectify"
CASES = BUILD / "cases"
STEPS = ("test", "sanitize", "bench")
#: Time limit of a step in seconds.
LIMIT = 300


@dataclass(frozen=True)
class Ran:
    """What a program printed, and whether it succeeded."""

    good: bool
    output: str


def main() -> None:
    """Build, then run every requested step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=STEPS, help="one step instead of all")
    options = parser.parse_args()
    reason = absence()
    if reason:
        print(f"Kernel: skipped, {reason}.")
        return
    failures = (
        [step for step in ([options.only] if options.only else STEPS) if not STEP[step]()] if build() else ["build"]
    )
    if failures:
        raise SystemExit(f"Kernel: failed: {', '.join(failures)}")


def absence() -> str | None:
    """What this machine lacks, or None."""
    for tool in ("cmake", "nvcc", "nvidia-smi"):
        if shutil.which(tool) is None:
            return f"{tool} is not on PATH"
    return None if run(["nvidia-smi", "-L"]).output.startswith("GPU") else "nvidia-smi lists no GPU"


def run(command: list[str | Path], limit: int = LIMIT) -> Ran:
    """Run a program from the repository's root; the output is both its streams."""
    try:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Ran(False, f"stopped after {limit} s")
    return Ran(done.returncode == 0, done.stdout)


def build() -> bool:
    """Compile for this machine's GPU and write the test cases; prints the output of a failing command."""
    commands: list[list[str | Path]] = [
        [
            "cmake",
            "-S",
            ROOT,
            "-B",
            BUILD,
            "-DCMAKE_CUDA_ARCHITECTURES=native",
            f"-DPython3_EXECUTABLE={sys.executable}",
        ],
        ["cmake", "--build", BUILD, "--parallel", "--target", "device_test", "bench"],
        [sys.executable, ROOT / "tests" / "plugins" / "rectify" / "dump_cases.py", CASES],
    ]
    for command in commands:
        ran = run(command)
        if not ran.good:
            print(ran.output)
            return False
    return True


def test() -> bool:
    """Compare the kernel with the reference, and run it on more than 2^31 elements."""
    return _report("Kernel on the GPU", run([PROGRAMS / "device_test", CASES]))


def sanitize() -> bool:
    """Run the small tensors under compute-sanitizer: memory, races, uninitialized reads, barriers."""
    if shutil.which("compute-sanitizer") is None:
        print("compute-sanitizer: skipped, it is not on PATH.\n")
        return True
    good = True
    for tool in ("memcheck", "racecheck", "initcheck", "synccheck"):
        command: list[str | Path] = ["compute-sanitizer", "--tool", tool, "--error-exitcode", "1"]
        good &= _report(f"compute-sanitizer {tool}", run([*command, PROGRAMS / "device_test", CASES, "--small"]))
    return good


def bench() -> bool:
    """Compare the kernel's time with that of copying the border."""
    ran = run([PROGRAMS / "bench"])
    if not ran.good:
        return _report("Bandwidth", ran)
    device, headings, *rows = ran.output.strip().splitlines()
    print(f"## Kernel, {device.removeprefix('# ')}\n")
    print(table(headings.split("\t"), [row.split("\t") for row in rows]) + "\n")
    return True


def _report(title: str, ran: Ran) -> bool:
    print(f"## {title}: {'passed' if ran.good else 'FAILED'}\n\n```\n{ran.output.strip()}\n```\n")
    return ran.good


STEP = {"test": test, "sanitize": sanitize, "bench": bench}


if __name__ == "__main__":
    main()
