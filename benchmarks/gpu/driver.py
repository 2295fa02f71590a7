"""Run all steps, each in a process of its own with a deadline, and rewrite the record after each.

    python -m benchmarks.gpu.driver --sources FOLDER --work FOLDER --out FOLDER --findings FILE [--dry] [--seconds 540]

The record is DATE-GPU.md with a JSON file of all findings beside it. Exits with 1 if a step failed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from benchmarks.gpu import record
from benchmarks.gpu.steps import STEPS, Step

#: A call on such a machine may take ten minutes.
SECONDS = 540.0
#: Less is not enough for any step.
LEAST = 5.0
#: A step begins nothing in its last seconds.
MARGIN = 0.8


def main() -> None:
    """Run the steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=Path, required=True, help="folder of CMakeLists.txt")
    parser.add_argument("--work", type=Path, required=True, help="folder for built programs and the steps' output")
    parser.add_argument("--out", type=Path, required=True, help="folder of the record")
    parser.add_argument("--findings", type=Path, required=True, help="file to which the steps add each finding")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for all steps (default %(default)s)")
    parser.add_argument("--only", default=",".join(step.name for step in STEPS), help="steps, with commas")
    parser.add_argument("--dry", action="store_true", help="without a GPU: tiny sizes on the CPU")
    asked = parser.parse_args()
    names = asked.only.split(",")
    results: Path = asked.findings
    for folder in (asked.work, asked.out, results.parent):
        folder.mkdir(parents=True, exist_ok=True)
    results.unlink(missing_ok=True)
    end, gpu = time.monotonic() + asked.seconds, "dry" if asked.dry else gpu_name()
    for step in (step for step in STEPS if step.name in names):
        seconds = min(step.limit, end - time.monotonic())
        if seconds < LEAST:
            record.Record(results, step.name).end("out of time, not begun", 0)
        else:
            run(step, seconds, results, asked)
        path = write(asked.out, gpu, record.read(results))
    lines = record.read(results)
    failed = sorted({line["step"] for line in lines if line["kind"] == "fail"})
    print(path.read_text(encoding="utf-8"), flush=True)
    print(f"wrote {path}" + (f"; FAILED: {', '.join(failed)}" if failed else ""), flush=True)
    sys.exit(1 if failed else 0)


def run(step: Step, seconds: float, results: Path, asked: argparse.Namespace) -> None:
    """Run one step; at its deadline all of its processes are killed. What it found until then is in `results`."""
    command = [sys.executable, "-m", "benchmarks.gpu.step", step.name, str(results)]
    command += ["--sources", str(asked.sources), "--work", str(asked.work), *(["--dry"] if asked.dry else [])]
    command += ["--seconds", str(seconds * MARGIN)]
    begin = time.monotonic()
    with (asked.work / f"{step.name}.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            record.Record(results, step.name).end(f"stopped after {seconds:.0f} s", time.monotonic() - begin)
            return
    if status not in (0, 1):  # it could not say so itself
        found = record.Record(results, step.name)
        found.fail(f"its process ended with {status}: {_tail(asked.work / f'{step.name}.log')}")
        found.end("failed", time.monotonic() - begin)
    print(f"{step.name}: {time.monotonic() - begin:.0f} s", flush=True)


def _tail(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")[-400:]


def write(out: Path, gpu: str, lines: Sequence[record.Line]) -> Path:
    """Write both files of the record, each in one step."""
    slug = re.sub(r"[^a-z0-9]+", "-", gpu.lower()).strip("-")
    path = out / f"{date.today().isoformat()}-{slug}.md"
    title = "Dry run: times mean nothing" if gpu == "dry" else gpu
    title += f", {date.today().isoformat()}, Python {platform.python_version()}"
    _replace(path, record.markdown(title, {step.name: step.title for step in STEPS}, lines))
    _replace(path.with_suffix(".json"), json.dumps({"gpu": gpu, "findings": list(lines)}, indent=1) + "\n")
    return path


def _replace(path: Path, text: str) -> None:
    half = path.with_suffix(path.suffix + ".partial")
    half.write_text(text, encoding="utf-8")
    half.replace(path)


def gpu_name() -> str:
    """The first GPU's name from nvidia-smi."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        said = ""
    return said.strip().splitlines()[0] if said.strip() else "no-gpu"


if __name__ == "__main__":
    main()
