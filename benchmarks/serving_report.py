"""Write the tables and plots of docs/serving.md, between its markers, from the results of benchmarks.serving."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import table
from benchmarks.plotting import COLOURS, MARKERS, name_ends, new_figure, save_svg, set_title

BEGIN, END = "<!-- figures -->\n", "<!-- end of figures -->\n"
TITLES = {"tiny": "A tiny net (digits, 1×8×8)", "resnet": "RF-ResNet-50, 3×224×224", "ray": "The tiny net on Ray Serve"}
_LATENCY = ("engine", "session.run", "paused", "health", "workers", "in process")
KINDS = ("json", "binary", "grpc")
HOSTS = ("workers", "in process", "no batching", "tritonserver")


def write(document: Mapping[str, Any], docs: Path) -> None:
    """Replace the figures in docs/serving.md, and draw the plots."""
    sections = [_load_section(part, document[part], docs) for part in ("tiny", "resnet") if part in document]
    if "throughput" in document:
        sections.insert(0, _throughput_section(document["throughput"]))
    if "latency" in document:
        sections.insert(0, _latency_section(document["latency"]))
    if "first" in document:
        sections.append(_first_section(document["first"]["nets"]))
    if "shadow" in document:
        sections.append(_shadow_section(document["shadow"]))
    if "ray" in document:
        rows = [_cells(row) for row in document["ray"]["rows"]]
        sections.append(f"### {TITLES['ray']}\n\n{table(_HEADINGS, rows)}\n\n{document['ray']['machine']}")
    page = docs / "serving.md"
    text = page.read_text(encoding="utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    page.write_text(before + BEGIN + "\n" + "\n\n".join(sections) + "\n\n" + END + after, encoding="utf-8")
    print(f"wrote {page}")


def _latency_section(part: Mapping[str, Any]) -> str:
    rows = []
    for backend, rounds in part["rounds"].items():
        ms = {name: float(np.median([row[name] for row in rounds])) for name in rounds[0]}
        added = [f"{ms[host]:.2f} (+{ms[host] - ms['session']:.2f})" for host in ("workers", "in process")]
        rows.append([backend, *(f"{ms[name]:.2f}" for name in ("session", "paused", "health")), *added])
    count = len(next(iter(part["rounds"].values())))
    return f"""### One connection, against session.run

The tiny network, binary over HTTP, p50 in ms: medians of {count} rounds in turn. In brackets, the time that serving
adds to session.run in a loop. *Paused* is session.run once per millisecond: caches are cold after a pause, as they are
in a server. *Health* is a request without inference.

{table(_LATENCY, rows)}

{part["machine"]}"""


def _throughput_section(part: Mapping[str, Any]) -> str:
    rounds = part["rounds"]
    shares = [row["workers"] / row["session"] for row in rounds]
    session, workers = (float(np.median([row[name] for row in rounds])) for name in ("session", "workers"))
    return f"""### RF-ResNet-50 over 32 connections, against session.run

Medians of {len(rounds)} rounds of each in turn: {workers:.1f} images/s served, {session:.1f} by the session alone at
batch 32. Served by alone: {np.median(shares):.0%}, over the rounds {min(shares):.0%} – {max(shares):.0%}.

{part["machine"]}"""


_HEADINGS = ("host", "protocol", "connections", "requests/s", "p50, ms", "p90, ms", "p99, ms")


def _cells(row: Mapping[str, Any]) -> list[str]:
    times = [f"{row[name]:.2f}" for name in ("p50_ms", "p90_ms", "p99_ms")]
    return [row["host"], row["kind"], str(row["connections"]), f"{row['rate']:.0f}", *times]


def _raw(part: Mapping[str, Any]) -> dict[int, tuple[float, float]]:
    """Rows -> best rate and median milliseconds of the session alone, over its two measurements."""
    sizes = [int(rows) for rows in part["raw"][0]]
    return {
        rows: (
            max(found[str(rows)]["rate"] for found in part["raw"]),
            float(np.median([found[str(rows)]["p50_ms"] for found in part["raw"]])),
        )
        for rows in sizes
    }


def _load_section(name: str, part: Mapping[str, Any], docs: Path) -> str:
    raw = _raw(part)
    alone = [["session.run alone", "", f"batch {rows}", f"{rate:.0f}", f"{ms:.2f}"] for rows, (rate, ms) in raw.items()]
    rows = [[*cells, "", ""] for cells in alone] + [_cells(row) for row in part["rows"]]
    limit = max(rate for rate, _ in raw.values())
    best = max((row for row in part["rows"] if row["host"] != "tritonserver"), key=lambda row: row["rate"])
    failed = sum(row["failed"] for row in part["rows"])
    facts = (
        f"Best of serve: {best['rate']:.0f} requests/s "
        f"({best['host']}, {best['kind']}, {best['connections']} connections), {best['rate'] / limit:.0%} of the "
        f"session's best batched rate. Requests that failed: {failed}."
    )
    plot = f"serving-{name}.svg"
    _plot(part["rows"], docs / plot)
    head = f"### {TITLES[name]}\n\n{facts}\n\n![{TITLES[name]}]({plot})\n\n{_seen(part['rows'])}"
    return f"{head}\n\n{table(_HEADINGS, rows)}\n\n{part['machine']}"


def _plot(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """One panel for each protocol: requests/s above, median latency below, from zero, with a line for each host."""
    kinds = [kind for kind in KINDS if any(row["kind"] == kind for row in rows)]
    figure, panels = new_figure(2, len(kinds), (10.5, 5.4), sharey="row", sharex=True)
    for column, kind in zip(panels.T, kinds, strict=True):
        counts = [str(row["connections"]) for row in _of_first(rows, kind)]
        for axes, field, name in zip(column, ("rate", "p50_ms"), ("requests/s", "p50, ms"), strict=True):
            ends = {}
            for index, host in enumerate(HOSTS):
                found = [row for row in rows if (row["host"], row["kind"]) == (host, kind)]
                if found:
                    style = {"color": COLOURS[index], "marker": MARKERS[index], "markersize": 4}
                    axes.plot(range(len(found)), [row[field] for row in found], linewidth=1.5, **style)
                    ends[host] = found[-1][field], COLOURS[index]
            axes.set_xticks(range(len(counts)), counts)
            axes.set_xlim(-0.1, len(counts) - 1 + 0.45 * len(counts))
            axes.set_ylabel(name if kind == kinds[0] else "")
            set_title(axes, kind if field == "rate" else "")
            name_ends(axes, ends, len(counts) - 0.85, 0.075 * max(row[field] for row in rows))
    for axes in panels[-1]:
        axes.set_xlabel("connections at once")
    for axes in panels[:, 0]:
        axes.set_ylim(bottom=0)
    save_svg(figure, path)


def _seen(rows: Sequence[Mapping[str, Any]]) -> str:
    """A sentence that says what is to be seen."""
    most = max(row["connections"] for row in rows)
    at = {
        host: max((row["rate"] for row in rows if (row["host"], row["connections"]) == (host, most)), default=None)
        for host in HOSTS
    }
    told = ", ".join(f"{host} {rate:,.0f}" for host, rate in at.items() if rate is not None)
    return (
        "One column for each protocol: requests a second above, the median latency below, over the number of "
        f"connections. Requests a second at {most} connections, with the best protocol of each host: {told}."
    )


def _of_first(rows: Sequence[Mapping[str, Any]], kind: str) -> list[Mapping[str, Any]]:
    """The rows of the first host that has this protocol."""
    host = next(row["host"] for row in rows if row["kind"] == kind)
    return [row for row in rows if (row["host"], row["kind"]) == (host, kind)]


def _shadow_section(part: Mapping[str, Any]) -> str:
    rows = []
    for net, found in part["nets"].items():
        shares = [one["shadow"] / one["plain"] - 1 for one in found["rounds"]]
        plain, shadow = (float(np.median([one[name] for one in found["rounds"]])) for name in ("plain", "shadow"))
        counts = [str(found["report"][name]) for name in ("compared", "dropped")]
        change = f"{np.median(shares):+.1%} ({min(shares):+.1%} to {max(shares):+.1%})"
        rows.append([net, str(found["connections"]), f"{plain:.0f}", f"{shadow:.0f}", change, *counts])
    headings = ("net", "connections", "requests/s", "with a shadow", "change", "compared", "dropped")
    count = len(next(iter(part["nets"].values()))["rounds"])
    return f"""### With a shadow

The package as its own shadow: medians of {count} rounds in turn, and the change with its range over the rounds.

{table(headings, rows)}

{part["machine"]}"""


def _first_section(nets: Mapping[str, Mapping[str, Sequence[Sequence[float]]]]) -> str:
    rows = []
    for net, series in nets.items():
        for when, starts in series.items():
            medians = np.median(np.array(starts), axis=0)
            rows.append([net, when, *(f"{medians[turn]:.2f}" for turn in (0, 1, 2, 4, 9))])
    headings = ("net", "a new connection", "first, ms", "second", "third", "fifth", "tenth")
    count = len(next(iter(next(iter(nets.values())).values())))
    return f"### The first requests of a connection\n\nMedians of {count} starts.\n\n{table(headings, rows)}"
