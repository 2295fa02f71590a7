"""Shared by the measuring scripts: networks, child processes, tables, plots and pages."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
DIGITS = ROOT / "models" / "checkpoints" / "digits.pt"
THREADS = os.cpu_count() or 1


def rectified_resnet(conv: str = "rectified") -> Any:
    """ResNet-50 with seeded weights and BatchNorm statistics, in eval mode; conv "plain" is its plain twin."""
    from rectexport.models.tools.seeded import seeded_model

    return seeded_model("resnet50", conv=conv)


def child(module: str, *arguments: str) -> dict[str, Any]:
    """Run benchmarks.`module` in a process of its own; the last line that it prints is its result as JSON."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def machine() -> str:
    """Processor, cores and library versions, for the end of a page."""
    cpu = next(
        (line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")), platform.machine()
    )
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "onnx", "onnxruntime", "numpy"))
    return f"Measured on {cpu}, {THREADS} cores, Python {platform.python_version()}, {libraries}."


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def write_page(name: str, text: str, docs: Path = DOCS) -> None:
    """Write a page into the folder `docs`."""
    docs.mkdir(exist_ok=True)
    (docs / name).write_text(text.rstrip() + "\n", encoding="utf-8")
    print(f"wrote {docs.name}/{name}")


def write_section(name: str, section: str, text: str, docs: Path = DOCS) -> None:
    """Replace the text in a page of the folder `docs` between <!-- SECTION --> and <!-- /SECTION -->."""
    opening, closing = f"<!-- {section} -->", f"<!-- /{section} -->"
    before, _, rest = (docs / name).read_text(encoding="utf-8").partition(opening)
    _, found, after = rest.partition(closing)
    if not found:
        raise SystemExit(f"{docs / name} has no section {opening} … {closing}")
    write_page(name, f"{before}{opening}\n{text.strip()}\n{closing}{after}", docs)
