"""Shared by the GPU commands: the prepared files, missing dependencies, the time limit, and the records."""

from __future__ import annotations

import json
import platform
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rectexport.runtime.base.environment import version
from rectexport.runtime.engines.tensorrt import cuda, versions

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build" / "gpu"
RECORDS = ROOT / "docs" / "gpu"
LIST = "prepared.json"
PRECISIONS = ("fp32", "fp16", "bf16")
#: Each command ends within nine minutes; it starts nothing after this many seconds.
SECONDS = 480.0


@dataclass
class Deadline:
    """The seconds in which a command may start further parts."""

    seconds: float = SECONDS
    begin: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        """Seconds left."""
        return self.begin + self.seconds - time.monotonic()

    def passed(self) -> str | None:
        """The reason to skip the next part; None while there is time."""
        return None if self.left > 0 else f"out of time: more than {self.seconds:.0f} s have passed"


@dataclass
class Section:
    """One table of a record: its rows, and the reason of each part that was not run."""

    title: str
    headings: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def skip(self, what: str, reason: str) -> None:
        """Record that a part was not run, and why."""
        self.skipped.append(f"{what}: skipped: {reason}")

    def text(self) -> str:
        """Markdown."""
        lines = [f"## {self.title}", ""]
        if self.rows:
            table = [self.headings, ["---"] * len(self.headings), *self.rows]
            lines += ["| " + " | ".join(row) + " |" for row in table] + [""]
        lines += [f"- {text}" for text in self.skipped] + [""] * bool(self.skipped)
        lines += [f"{text}\n" for text in self.notes]
        return "\n".join(lines)


def prepared(folder: Path = FOLDER) -> dict[str, list[dict[str, Any]]] | str:
    """The list that `make gpu-packages` wrote, or why there is none."""
    path = folder / LIST
    if not path.is_file():
        return f"{path} does not exist: run make gpu-packages on a machine with PyTorch, and copy build/gpu here"
    found: dict[str, list[dict[str, Any]]] = json.loads(path.read_text(encoding="utf-8"))
    return found


def backend(name: str) -> Any:
    """One entry of the runtime's table of backends; None in a build without that table."""
    if find_spec("rectexport.runtime.engines.backends") is None:
        return None
    table = import_module("rectexport.runtime.engines.backends").BACKENDS
    return next((entry for entry in table if entry.name == name), None)


def finish(sections: Sequence[Section], record: Callable[[], str] | None = None) -> None:
    """Write the record if anything was run, then print the tables."""
    wrote = (
        record() if record is not None and any(section.rows for section in sections) else "no record: nothing was run"
    )
    print()
    for section in sections:
        print(section.text())
    print(wrote)


def write_record(sections: Sequence[Section], folder: Path = RECORDS) -> str:
    """Write docs/gpu/<date>-<gpu>.md; sections of the same title are replaced, others are kept."""
    gpu = cuda.driver().gpu
    slug = re.sub(r"[^a-z0-9]+", "-", gpu.lower()).strip("-")
    path = folder / f"{date.today().isoformat()}-{slug}.md"
    old = re.split(r"^(?=## )", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:] if path.exists() else []
    parts = {part.splitlines()[0]: part for part in old}
    parts.update({f"## {section.title}": section.text() for section in sections})
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([_head(gpu), *(part.strip() + "\n" for part in parts.values())]), encoding="utf-8")
    return f"wrote {path}"


def _head(gpu: str) -> str:
    driver = cuda.driver()
    libraries = {name: version(name) for name in ("onnxruntime-gpu", "numpy", "polygraphy")}
    listed = ", ".join(f"{name} {found}" for name, found in libraries.items() if found)
    major, minor = driver.compute_capability
    return (
        f"# {gpu}, {date.today().isoformat()}\n\n"
        f"Compute capability {major}.{minor}, CUDA {'.'.join(map(str, driver.version))} (driver), TensorRT "
        f"{_tensorrt()}, {listed}, Python {platform.python_version()}. GPU clocks were not fixed.\n"
    )


def _tensorrt() -> str:
    try:
        return versions.installed().text
    except ImportError:
        return "absent"
