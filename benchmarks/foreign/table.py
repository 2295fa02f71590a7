"""docs/models.md: what came out, network by network."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.foreign.networks import Network

PAGE = Path("docs/models.md")
Results = Mapping[tuple[str, str, str, str], Mapping[str, Any]]
COLUMNS = [(sizes, form) for sizes in ("static", "dynamic") for form in ("plain", "rectified")]

HEAD = """# Networks that others wrote

Made by `make foreign`, which installs the packages below into an environment of their own, builds each network with
random weights, exports it as it is, and compares the package on every engine that it says PASSED for with PyTorch in
float64, on images and sizes that the export did not see. *Static*: one size. *Dynamic*: a batch of 1 to 3 and free
height and width, from the size in the table to half as much again, in the step in the table. *Rectified*: every
zero-padded convolution rectified first. A network counts as wrong where an engine with a passed proof is farther than
1e-3 from PyTorch. Where a refusal gives flags, they are tried as they are written.

rfconv 0.0.2b20210406 is not among the packages: its kernels do not compile with this PyTorch. Its layers are replaced
by their attributes, as tests/export/frontend/test_adapt.py shows.
"""


def write_page(networks: Sequence[Network], results: Results, versions: Mapping[str, str]) -> None:
    """Write the page."""
    machine = f"{platform.machine()}, Python {platform.python_version()}"
    libraries = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "onnxruntime", "openvino", "onnx"))
    packages = ", ".join(f"{name} {found}" for name, found in sorted(versions.items()))
    lines = [HEAD, f"{libraries}; {packages}; {machine}. Seconds were taken while other programs ran.", ""]
    wanted = len(networks) * len(COLUMNS)
    if len(results) < wanted:
        lines += [f"{len(results)} of {wanted} attempts were made so far; `make foreign` goes on with the others.", ""]
    lines += [*_counts(networks, results), "", *_table(networks, results), "", *_messages(networks, results)]
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _counts(networks: Sequence[Network], results: Results) -> list[str]:
    lines = ["| | tried | exported | refused | crashed | wrong |", "|---|---|---|---|---|---|"]
    for sizes, form in COLUMNS:
        found = [results[key] for entry in networks if (key := (entry.package, entry.name, sizes, form)) in results]
        kinds = [entry["outcome"] for entry in found]
        counts = [kinds.count(kind) for kind in ("exported", "refused", "crashed", "wrong")]
        lines.append(f"| {sizes}, {form} | {len(kinds)} | {' | '.join(map(str, counts))} |")
    for sizes in ("static", "dynamic"):
        tried = [results[key] for entry in networks if (key := (entry.package, entry.name, sizes, "plain")) in results]
        able = [entry for entry in tried if entry.get("traceable")]
        done = [entry for entry in able if entry["outcome"] == "exported"]
        if able:
            share = 100 * len(done) / len(able)
            lines += ["", f"{sizes}: torch.export alone, with asserts put off to run time, traces {len(able)} of"]
            lines += [f"{len(tried)}; of these, {len(done)} are exported ({share:.1f} %)."]
    return lines


def _table(networks: Sequence[Network], results: Results) -> list[str]:
    heads = " | ".join(f"{sizes}, {form}" for sizes, form in COLUMNS)
    lines = [f"| package | network | size | step | {heads} |", "|---|---|---|---|" + "---|" * len(COLUMNS)]
    for entry in networks:
        cells = [_cell(results.get((entry.package, entry.name, sizes, form))) for sizes, form in COLUMNS]
        lines.append(f"| {entry.package} | {entry.name} | {entry.size} | {entry.step} | {' | '.join(cells)} |")
    return [*lines, "", "A cell: seconds, and the farthest region of the export's own proofs (relative L2)."]


def _cell(result: Mapping[str, Any] | None) -> str:
    if result is None:
        return "not tried"
    if result["outcome"] != "exported":
        return str(result["outcome"])
    worst = result.get("worst") or {}
    region = f", {worst['region']} {worst['relative_l2']:.0e}" if worst else ""
    off = [name for name, verdict in result.get("verdicts", {}).items() if verdict != "agrees"]
    return f"{result['seconds']:.0f} s{region}{', not ' + ', '.join(off) if off else ''}"


def _messages(networks: Sequence[Network], results: Results) -> list[str]:
    lines = ["## What was refused, and what the message said", ""]
    for entry in networks:
        for sizes, form in COLUMNS:
            result = results.get((entry.package, entry.name, sizes, form))
            if result and result["outcome"] != "exported":
                text = str(result.get("message") or result.get("distances")).replace("\n", " ")[:600]
                tried = {True: " *Tried as written: it works.*", False: " *Tried as written: it does not work.*"}
                followed = tried.get(result.get("followed"), "")
                lines.append(f"- {entry.package} {entry.name}, {sizes}, {form}: {result['outcome']}: {text}{followed}")
    return lines
