"""The proofs of the manifest: which engines answered as the reference does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rectexport.runtime.package.proofs import AGREES, DIFFERS


@dataclass(frozen=True)
class ProofRow:
    """What one engine answered; worst: (relative L2, output, region, case), None where nothing ran."""

    engine: str
    version: str
    precision: str
    verdict: str
    good: bool
    cases: int
    worst: tuple[float, str, str, str] | None
    told: str


def proof_rows(entries: Iterable[Any]) -> list[ProofRow]:
    """The rows of the manifest's `proofs`. Raises KeyError, TypeError or ValueError for malformed ones."""
    return [_row(entry) for entry in entries]


def _row(entry: Any) -> ProofRow:
    worst, verdict = entry["worst"], str(entry["verdict"])
    words = {AGREES: "agrees", DIFFERS: "differs"}.get(verdict, "cannot run it")
    return ProofRow(
        engine=str(entry["engine"]),
        version=str(entry["version"]),
        precision=str(entry["precision"]),
        verdict=words,
        good=verdict == AGREES,
        cases=int(entry["cases"]),
        worst=None
        if worst is None
        else (float(worst["relative_l2"]), str(worst["output"]), str(worst["region"]), str(worst["case"])),
        told=str(entry["reason"]) or str(entry["inner"]),
    )
