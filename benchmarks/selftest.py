"""Count how often `rectexport bench` finds a difference between equal models (at most 5 %); writes docs/latency.md.

    python -m benchmarks.selftest --runs 14            the digits network against itself
    python -m benchmarks.selftest --runs 14 --loaded   the same beside a process that keeps a core busy
    python -m benchmarks.selftest --runs 10 --control  20 layers against 21, a difference that must be found

Runs accumulate in docs/latency.json over several calls; --anew deletes earlier runs of the same kind. Every call
writes the page from benchmarks/latency.md and the figures.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import chains
from benchmarks.chains import Chain
from benchmarks.common import DIGITS, DOCS, ROOT, machine, table, write_page
from rectexport.runtime.base.environment import usable_cores
from rectexport.runtime.timing.intervals import FASTER, NO_DIFFERENCE, SLOWER
from rectexport.runtime.timing.machine import cpu_times, load_between
from rectexport.runtime.timing.process import Contestant
from rectexport.runtime.timing.stopwatch import Race, race

KEPT, METHOD = DOCS / "latency.json", Path(__file__).with_name("latency.md")
PACKAGE = ROOT / "out" / "digits"
CONTROL_TEXT = """The last row is a positive control: a chain of convolutions against one with an additional layer.
That is 5 % more work, a difference that should be found. """
SECONDS, WARM_UP = 2.0, 0.1
IDLE, LOADED, CONTROL = (
    "a model against itself",
    "the same, one core kept busy by another process",
    "21 layers against 20",
)
HEADINGS = (
    "contest",
    "runs",
    SLOWER,
    FASTER,
    NO_DIFFERENCE,
    "ratios, least – most",
    "median width of the interval",
    "others' load, cores",
)


def main() -> None:
    """Time, store the runs, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--loaded", action="store_true", help="keep one core busy meanwhile")
    parser.add_argument("--control", action="store_true", help="20 layers against 21")
    parser.add_argument("--anew", action="store_true", help="delete earlier runs of this kind")
    options = parser.parse_args()
    kind = CONTROL if options.control else LOADED if options.loaded else IDLE
    rows: list[dict[str, Any]] = json.loads(KEPT.read_text()) if KEPT.exists() else []
    rows = [row for row in rows if not (options.anew and row["contest"] == kind)]
    with TemporaryDirectory() as folder, busy() if options.loaded else nullcontext():
        models = control(Path(folder)) if options.control else itself()
        for _ in range(options.runs):
            seed = sum(row["contest"] == kind for row in rows)
            rows.append({"contest": kind, **contest(models, seed)})
            print(rows[-1], flush=True)
            KEPT.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n", encoding="utf-8")
    write_page("latency.md", page(rows))


def itself() -> tuple[Path, Path]:
    """The digits network, twice."""
    if not PACKAGE.is_dir():
        subprocess.run([sys.executable, "-m", "rectexport", str(DIGITS), "-o", str(PACKAGE)], check=True)
    return PACKAGE / "model.onnx", PACKAGE / "model.onnx"


def control(folder: Path) -> tuple[Path, Path]:
    """A chain of 21 convolutions and one of 20: 5 % more work."""
    paths = folder / "more.onnx", folder / "less.onnx"
    for path, layers in zip(paths, (21, 20), strict=True):
        path.write_bytes(chains.plain(Chain(32, 28, 1, layers)).SerializeToString())
    return paths


def contest(models: tuple[Path, Path], seed: int) -> dict[str, Any]:
    """One comparison, made as `rectexport bench` does."""
    spec = {"engine": "onnxruntime", "threads": usable_cores()}
    contestants = [
        Contestant(name, {**spec, "model": str(model)}) for name, model in zip(("a", "b"), models, strict=True)
    ]
    before = cpu_times()
    times = race(contestants, Race(SECONDS, WARM_UP, seed=seed))
    found = times["a"].interval(times["b"])
    figures = {"ratio": found.ratio, "low": found.low, "high": found.high, "ms": times["b"].median * 1e3}
    load = load_between(before, cpu_times())
    return {**{name: round(value, 4) for name, value in figures.items()}, "verdict": found.verdict, **load}


@contextmanager
def busy() -> Iterator[None]:
    """A process that keeps one core busy."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        try:
            yield
        finally:
            other.kill()


def page(rows: Sequence[dict[str, Any]]) -> str:
    """The Markdown page."""
    kinds = [kind for kind in (IDLE, LOADED, CONTROL) if any(row["contest"] == kind for row in rows)]
    lines = [line(kind, [row for row in rows if row["contest"] == kind]) for kind in kinds]
    missing = ", ".join(kind for kind in (LOADED, CONTROL) if kind not in kinds)
    control = CONTROL_TEXT if CONTROL in kinds else ""
    control += f"Not measured yet: {missing}." if missing else ""
    how = Race(SECONDS, WARM_UP)
    return METHOD.read_text(encoding="utf-8").format(
        table=table(HEADINGS, lines), machine=machine(), seconds=f"{SECONDS:g}", launches=how.launches, control=control
    )


def line(kind: str, rows: Sequence[dict[str, Any]]) -> list[str]:
    """One row of the table."""
    verdicts = [sum(row["verdict"] == verdict for row in rows) for verdict in (SLOWER, FASTER, NO_DIFFERENCE)]
    ratios = sorted(row["ratio"] for row in rows)
    widths = sorted(row["high"] - row["low"] for row in rows)
    load = sorted(row.get("others_cores", 0.0) for row in rows)
    middle = len(rows) // 2
    counts = [str(count) for count in (len(rows), *verdicts)]
    return [kind, *counts, f"{ratios[0]:.3f} – {ratios[-1]:.3f}", f"{widths[middle]:.3f}", f"{load[middle]:.2f}"]


if __name__ == "__main__":
    main()
