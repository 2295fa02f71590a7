"""What the measuring scripts share: the nets, child processes, medians, and where tables go."""

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
    """ResNet-50 with seeded weights and BatchNorm statistics as a trained net has them, in eval mode."""
    import torch

    from rectexport.models import create_model

    torch.manual_seed(0)
    model = create_model("resnet50", conv=conv).eval()
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
            module.bias.data.normal_(0, 0.3, generator=generator)
    return model


def child(module: str, *arguments: str) -> dict[str, Any]:
    """Run benchmarks.`module` alone in a process; what it prints last is its JSON result."""
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
    """Processor, cores and library versions, for the foot of a page."""
    cpu = next(
        (line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")), platform.machine()
    )
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "onnx", "onnxruntime", "numpy"))
    return f"Measured on {cpu}, {THREADS} cores, Python {platform.python_version()}, {libraries}."


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def write_page(name: str, text: str) -> None:
    """Write docs/NAME."""
    DOCS.mkdir(exist_ok=True)
    (DOCS / name).write_text(text.rstrip() + "\n", encoding="utf-8")
    print(f"wrote docs/{name}")
