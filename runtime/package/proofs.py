"""Proofs: on which engines a package was compared with its source model, and what came out.

A proof holds for the engine, version, precision and kind of processor that ran, and for nothing else: another
engine, or another version of the same one, may compute an operator differently.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rectexport.runtime.base.processor import Processor

#: The engine's answers are within the package's tolerances; are not; or the engine does not load or run the model.
AGREES, DIFFERS, REFUSES = "agrees", "differs", "refuses"
VERDICTS = (AGREES, DIFFERS, REFUSES)


@dataclass(frozen=True)
class Worst:
    """The largest distance that was found: relative L2, in which output, region ("all" for all of it) and case."""

    relative_l2: float
    output: str
    region: str
    case: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dict(vars(self))


@dataclass(frozen=True)
class Proof:
    """What one engine answered.

    engine     the backend's name: "onnxruntime", "openvino", "cuda"
    version    of the engine
    precision  of its floating-point arithmetic as it was asked for: "float32", or "float16" for a float16 graph
    cases      how many sets of inputs were compared
    worst      the largest distance; None where nothing ran
    reason     what differs, or why the engine refuses; empty where it agrees
    inner      how far inner tensors were off when they were marked as outputs; empty where that was not tried
    """

    engine: str
    version: str
    precision: str
    processor: Processor
    verdict: str
    cases: int = 0
    worst: Worst | None = None
    reason: str = ""
    inner: str = ""

    def holds_for(self, engine: str, version: str, processor: Processor) -> bool:
        """Whether it was made on this engine, in this version, on a processor of this kind."""
        return (self.engine, self.version, self.processor) == (engine, version, processor)

    def describe(self) -> str:
        """One line for people: "openvino 2026.4.1 agrees in 5 cases, farthest off 3.1e-07 (y, case odd)"."""
        name, inner = f"{self.engine} {self.version}", f"; {self.inner}" if self.inner else ""
        if self.verdict == REFUSES:
            return f"{name} cannot run it: {self.reason}"
        if self.verdict == DIFFERS:
            return f"{name} differs: {self.reason}{inner}"
        worst = self.worst
        far = "" if worst is None else f", farthest off {worst.relative_l2:.1e} ({worst.output}, case {worst.case})"
        return f"{name} agrees in {self.cases} cases{far}{inner}"

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for manifest.json and parity.json."""
        return {
            "engine": self.engine,
            "version": self.version,
            "precision": self.precision,
            "processor": self.processor.as_dict(),
            "verdict": self.verdict,
            "cases": self.cases,
            "worst": None if self.worst is None else self.worst.as_dict(),
            "reason": self.reason,
            "inner": self.inner,
        }


def read_proofs(document: Mapping[str, Any]) -> tuple[Proof, ...]:
    """The proofs of a manifest's document; none where it has none. What does not read as a proof is left out."""
    entries = document.get("proofs")
    found = [_read(entry) for entry in entries] if isinstance(entries, list) else []
    return tuple(proof for proof in found if proof is not None)


def _read(entry: Any) -> Proof | None:
    try:
        machine, worst = entry["processor"], entry["worst"]
        return Proof(
            str(entry["engine"]),
            str(entry["version"]),
            str(entry["precision"]),
            Processor(str(machine["architecture"]), tuple(map(str, machine["features"]))),
            entry["verdict"] if entry["verdict"] in VERDICTS else REFUSES,
            int(entry["cases"]),
            None if worst is None else _worst(worst),
            str(entry["reason"]),
            str(entry.get("inner", "")),
        )
    except (KeyError, TypeError, ValueError):
        return None


def _worst(entry: Mapping[str, Any]) -> Worst:
    return Worst(float(entry["relative_l2"]), str(entry["output"]), str(entry["region"]), str(entry["case"]))
