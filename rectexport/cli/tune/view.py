"""Shows a search: a live table with a bar while it runs, the Pareto front and the choice at the end."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from rectexport.cli.failure import check_interrupted
from rectexport.runtime.base.texts import printable
from rectexport.runtime.layouts import PLAIN
from rectexport.runtime.tuning.candidate import GPU, PROVEN, REFUSED, SLOWER, WAITING, Candidate, Record
from rectexport.runtime.tuning.choice import figures
from rectexport.runtime.tuning.search import Search

#: Rows of the live table, and of the table at the end without --verbose.
SHOWN = 12
_ORDER = {PROVEN: 0, WAITING: 1, SLOWER: 2, REFUSED: 3}
#: What a trial takes of an idle machine, in seconds: starting Python, loading the engine, a few runs.
TRIAL_SECONDS = 2.0


class SearchView:
    """Tells how a search goes. On a terminal the table is redrawn; elsewhere each step is a line."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._search: Search | None = None
        self._live: Live | None = None
        self._step = ""
        self._bar = Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console)
        self._task = self._bar.add_task("search", total=None)

    def started(self, search: Search) -> None:
        """Say what will be tried and how long it takes."""
        self._search = search
        entries, space = search.entries(), search.space
        count = len(entries)
        parts = [
            f"{count} candidates: {', '.join(variant.name for variant in search.variants)}",
            ", ".join(space.backends),
            f"threads {_listed(space.threads)}",
            f"streams {_listed(space.streams)}",
            f"batch {_listed(space.batches)}",
            *([f"layout {_listed(space.layouts)}"] if any(entry.layout == PLAIN for entry in entries) else []),
            *([f"CUDA graphs {_listed(space.cuda_graphs)}"] if any(entry.backend in GPU for entry in entries) else []),
        ]
        _say(self._console, "; ".join(parts))
        for name, reason in space.left_out.items():
            _say(self._console, f"{name} is left out: {reason}")
        _say(
            self._console,
            f"proofs about {count * TRIAL_SECONDS:.0f} s, the search at most about {search.seconds:.0f} s and one "
            "round; Ctrl-C stops it, and the same command goes on",
        )
        if self._console.is_terminal and not self._console.quiet:
            self._live = Live(self._drawn(), console=self._console, refresh_per_second=4, transient=True)
            self._live.start()

    def tick(self, step: str, done: int, total: int) -> None:
        """A step of the search."""
        check_interrupted()
        self._bar.update(self._task, description=f"{step} {done} of {total}", completed=done, total=total)
        if self._live is not None:
            self._live.update(self._drawn())
        elif step != self._step:
            _say(self._console, f"{time.strftime('%H:%M:%S')} {step}, {total} candidates")
        self._step = step

    def stop(self) -> None:
        """Remove the live table."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _drawn(self) -> Group:
        assert self._search is not None
        rows = [(entry, self._search.state.records.get(entry.key, Record())) for entry in self._search.entries()]
        rows.sort(key=lambda row: (_ORDER[row[1].state], _time(*row)))
        table = Table(title="Candidates, the fastest first", title_justify="left")
        table.add_column("candidate", overflow="fold")
        for heading in ("p50 ms", "items/s", "state"):
            table.add_column(heading, justify="right")
        for candidate, record in rows[:SHOWN]:
            timed = figures(candidate, record)
            cells = ("", "") if timed is None else (f"{timed.p50 * 1e3:.3g}", f"{timed.throughput:.4g}")
            table.add_row(Text(printable(candidate.key)), *cells, record.state)
        return Group(table, self._bar)


def _time(candidate: Candidate, record: Record) -> float:
    timed = figures(candidate, record)
    return float("inf") if timed is None else timed.p50


def _listed(values: Sequence[object]) -> str:
    return ",".join(map(str, values))


def show_tuning(console: Console, document: Mapping[str, Any], every: bool) -> None:
    """Print the document of tuning.json: the front and the choice; with `every` all candidates with their reasons."""
    rows = [row for row in document["candidates"] if every or row["front"]]
    table = Table(title="Candidates" if every else "Pareto front", title_justify="left")
    table.add_column("candidate", overflow="fold")
    quality = document["data"]["metric"] if document["data"] else "SNR dB"
    for heading in ("p50 ms", "p99 ms", "items/s", quality, "memory", "size"):
        table.add_column(heading, justify="right")
    for row in sorted(rows, key=lambda row: row.get("p50_ms", float("inf"))):
        table.add_row(*_cells(row, row["name"] == document["chosen"]))
    console.print(table)
    if every:
        for row in document["candidates"]:
            if row["reason"]:
                _say(console, f"{row['name']}: {row['state']}: {row['reason']}")
    for name, reason in document["refused_variants"].items():
        _say(console, f"{name}: could not be made: {reason}")
    if document["chosen"] is not None:
        _say(console, f"chosen: {document['chosen']}: {document['reason']}")


def _cells(row: Mapping[str, Any], chosen: bool) -> list[Text]:
    quality = row["accuracy"] if row["accuracy"] is not None else row["snr_db"]
    memory, times = row["memory_bytes"], [row.get("p50_ms"), row.get("p99_ms")]
    cells = [
        ("→ " if chosen else "") + row["name"],
        *("" if value is None else f"{value:.3g}" for value in times),
        "" if row.get("throughput") is None else f"{row['throughput']:.4g}",
        "" if quality is None else f"{quality:.4g}",
        "" if memory is None else f"{memory / 1e6:.0f} MB",
        f"{row['size_bytes'] / 1e6:.2f} MB",
    ]
    return [Text(printable(cell), style="bold" if chosen else "") for cell in cells]


def _say(console: Console, text: str) -> None:
    console.print(Text(printable(text)), soft_wrap=True)
