"""Shows a benchmark on a terminal: a table of latencies, then each comparison in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rectexport.runtime.base.shapes import format_shape
from rectexport.runtime.base.texts import printable


def show_bench(console: Console, document: Mapping[str, Any]) -> None:
    """Print the document of rectexport.runtime.timing.bench."""
    how, machine = document["settings"], document["machine"]
    percentiles = [entry for entry in how["percentiles"] if entry != 50]
    table = Table(title="Latency, ms", title_justify="left")
    for heading in ("model", "backend"):
        table.add_column(heading, overflow="fold")
    for heading in ("batch", "median", *(f"p{entry:g}" for entry in percentiles), "items/s"):
        table.add_column(heading, justify="right")
    for row in document["contestants"]:
        times = [row["median_ms"], *(row[f"p{entry:g}_ms"] for entry in percentiles)]
        cells = [
            str(row["batch"]),
            *(f"{value:.3g}" for value in times),
            f"{row['throughput']:,.0f}" if row["throughput"] >= 100 else f"{row['throughput']:.3g}",
        ]
        table.add_row(row["name"], row["backend"], *cells)
    console.print(table)
    for entry in document["comparisons"]:
        _say(console, comparison(entry))
    for row in _once_each(document["contestants"]):
        shapes = ", ".join(f"{name} {format_shape(shape)}" for name, shape in row["shape"].items())
        _say(
            console,
            f"{row['name']}, {row['backend']}: {row['description']}; {row['timer']}; transfers: {row['transfers']}; "
            f"{shapes}",
        )
    clock = machine["clocks"].get("mhz")
    _say(
        console,
        f"{machine['processor']}, {machine['cores']} cores{f', {clock[0]}–{clock[1]} MHz' if clock else ''}; "
        f"{how['threads']} threads; {how['launches']} launches, {how['duration_s']:g} s of runs each, "
        f"after {how['warm_up_ms']:g} ms of warm-up per launch",
    )
    for note in document["notes"]:
        _say(console, note)
    for warning in document["warnings"]:
        console.print("warning: ", style="bold yellow", end="")
        _say(console, warning)


def _say(console: Console, text: str) -> None:
    console.print(Text(printable(text)), soft_wrap=True)


def comparison(entry: Mapping[str, Any]) -> str:
    """One comparison as a sentence."""
    mine, base = entry["name"], entry["base"]
    if entry["backend"] != entry["base_backend"]:
        mine, base = f"{mine} ({entry['backend']})", f"{base} ({entry['base_backend']})"
    elif entry["backend"]:
        mine = f"{mine} on {entry['backend']}"
    interval = f"95 % interval {entry['low']:.3f} – {entry['high']:.3f}"
    return f"batch {entry['batch']}: {mine} takes {entry['ratio']:.3f} × {base} ({interval}): {entry['verdict']}"


def failure(entry: Mapping[str, Any], bound: float) -> str:
    """Why a comparison fails the command."""
    return (
        f"{comparison(entry)}; the whole interval is above {1 + bound:g}, and --fail-if-slower allows {100 * bound:g}%"
    )


def _once_each(rows: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows of the first batch size."""
    return [row for row in rows if row["batch"] == rows[0]["batch"]]
