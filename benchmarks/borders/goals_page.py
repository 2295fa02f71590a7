"""The section of docs/boundaries.md that says how far borders and masks are from their goals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import table, write_section
from benchmarks.report import NAMES

PAGE, JSON, SECTION = "boundaries.md", "boundaries.json", "border-goals"
#: Goals by border, for the masked U-Net's time, and for its distance to PyTorch.
GOALS = {"circular": 1.05, "reflect": 1.15, "replicate": 1.15}
MASKED_GOAL, PARITY_GOAL = 1.10, 1e-5


def write(document: Mapping[str, Any], docs: Path) -> None:
    """Write the section into the page in the folder `docs`."""
    write_section(PAGE, SECTION, section(document), docs)


def section(document: Mapping[str, Any]) -> str:
    """The text between the page's marks."""
    machine = document["machine"]
    engines = ", ".join(f"{NAMES[name]} {machine[name]}" for name in NAMES if name in machine)
    chains, masked, parity = document["chains"], document["masked"], document["parity"]
    met = sum(verdict(row["forms"][row["chosen"]], GOALS[row["border"]]) == "met" for row in chains)
    slower = sum(verdict(row["as_written"], 1.0) == "missed" for row in chains)
    nets = sum(verdict(row["ratio"], MASKED_GOAL) == "met" for row in masked)
    worst = max(row["error"] for row in parity)
    minutes = document["seconds"] // 60
    where = f"{document['date']}: {machine['processor']}, {machine['cores']} cores, {engines}"
    return f"""Measured by `make border-goals` on {where}; float32, {minutes} minutes. The figures are in
[{JSON}]({JSON}).

- Chains within their goal: {met} of {len(chains)}; slower than as written: {slower}.
- Masked U-Net within {MASKED_GOAL:.2f} of its unmasked twin and the mask's branch: {nets} of {len(masked)}.
- Largest relative L2 of the masked U-Net to PyTorch: {worst:.1e}, with the goal of {PARITY_GOAL:.0e}.

The time of a chain of 4 convolutions with ReLU, in every form, relative to its zero-padded twin. The ± is half of a
95 % interval of the median. *Missed* and *met* mean that the whole interval lies on that side of the goal, *open* that
the goal lies in it.

{table(CHAIN_HEADINGS, [chain_cells(row) for row in chains])}

The masked U-Net at the published width, relative to the times of its unmasked twin and of the mask's branch together:

{table(MASKED_HEADINGS, [masked_cells(row) for row in masked])}

Its distance to PyTorch with half of the pixels known, 2 %, all and none:

{table(PARITY_HEADINGS, parity_cells(parity))}
"""


CHAIN_HEADINGS = (
    *("border", "engine", "channels", "plane", "chosen form", "of zero padding", "goal", "", "of as written"),
    "all forms",
)
MASKED_HEADINGS = ("image", "engine", "twin + mask's branch, ms", "masked, ms", "ratio", "goal", "")
PARITY_HEADINGS = ("image", "engine", "half", "thin", "all", "none", "goal", "")


def verdict(measured: Sequence[float], goal: float) -> str:
    """met, missed, or open where the goal lies within the interval."""
    ratio, noise = measured
    if ratio + noise <= goal:
        return "met"
    return "missed" if ratio - noise > goal else "open"


def _figure(measured: Sequence[float]) -> str:
    return f"{measured[0]:.3f} ± {measured[1]:.3f}"


def chain_cells(row: Mapping[str, Any]) -> list[str]:
    """One line of the first table."""
    chosen, goal = row["forms"][row["chosen"]], GOALS[row["border"]]
    height, width = row["plane"]
    forms = ", ".join(f"{name} {ratio:.3f}" for name, (ratio, _) in row["forms"].items())
    head = [row["border"], NAMES[row["engine"]], str(row["channels"]), f"{height}×{width}", row["chosen"]]
    return [*head, _figure(chosen), f"{goal:.2f}", verdict(chosen, goal), _figure(row["as_written"]), forms]


def masked_cells(row: Mapping[str, Any]) -> list[str]:
    """One line of the second table."""
    ms, size = row["ms"], row["size"]
    head = [f"{size}×{size}", NAMES[row["engine"]], f"{ms['plain']:.2f} + {ms['branch']:.2f}", f"{ms['masked']:.2f}"]
    return [*head, _figure(row["ratio"]), f"{MASKED_GOAL:.2f}", verdict(row["ratio"], MASKED_GOAL)]


def parity_cells(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The lines of the third table: one for each image and engine."""
    groups: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows:
        height, width = row["size"]
        groups.setdefault((f"{height}×{width}", row["engine"]), {})[row["known"]] = row["error"]
    return [
        [
            size,
            NAMES[engine],
            *(f"{errors[known]:.1e}" for known in PARITY_HEADINGS[2:6]),
            f"{PARITY_GOAL:.0e}",
            "met" if max(errors.values()) <= PARITY_GOAL else "missed",
        ]
        for (size, engine), errors in groups.items()
    ]
