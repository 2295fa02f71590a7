"""A way to deploy a model, and what is known about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

#: Precisions and forms, the simplest first.
PRECISIONS = ("fp32", "fp16", "int8")
CHOSEN, AS_WRITTEN = "chosen", "as written"
FORMS = (CHOSEN, AS_WRITTEN)
#: Where Q/DQ nodes stand in int8, the exporter's choice first.
PLACEMENTS = ("auto", "both", "strips")


@dataclass(frozen=True)
class Variant:
    """A package with the model in one precision, form and placement of Q/DQ nodes.

    name is unique, backends are those that it is for.
    """

    name: str
    package: str
    precision: str = "fp32"
    form: str = CHOSEN
    backends: tuple[str, ...] = ()
    placement: str = PLACEMENTS[0]


@dataclass(frozen=True)
class Candidate:
    """A variant on a backend, with so many threads, calls at the same time, and rows in a batch."""

    variant: str
    backend: str
    threads: int
    streams: int
    batch: int

    @property
    def key(self) -> str:
        """For people and for the state; unique."""
        several = f", {self.streams} streams" if self.streams > 1 else ""
        plural = "s" if self.threads > 1 else ""
        return f"{self.variant}, {self.backend}, {self.threads} thread{plural}{several}, batch {self.batch}"

    @property
    def items(self) -> int:
        """Items that are answered in one wave of calls."""
        return self.streams * self.batch


@dataclass
class Record:
    """What is known about a candidate.

    state      WAITING, PROVEN, or why it is out: REFUSED (no proof, or a bound), SLOWER (raced and lost)
    reason     why it is out, for people
    rounds     seconds of a wave of calls, by launch
    samples    seconds of single waves, thinned
    memory     most resident bytes; None where unknown
    snr        of the outputs against the goldens, in dB; None without goldens
    accuracy   the metric; None without data
    drop       (value, low, high) of the metric's difference from the reference; low and high may be None
    low, high  95 % interval of its time over that of the chosen one
    """

    state: str = "waiting"
    reason: str = ""
    rounds: list[list[float]] = field(default_factory=list)
    samples: list[float] = field(default_factory=list)
    memory: int | None = None
    snr: float | None = None
    accuracy: float | None = None
    drop: tuple[float, float | None, float | None] | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dict(vars(self))

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Record:
        """The inverse of as_dict."""
        values = dict(entry)
        values["drop"] = None if values.get("drop") is None else tuple(values["drop"])
        return cls(**values)


WAITING, PROVEN, REFUSED, SLOWER = "waiting", "proven", "refused", "slower"


def candidates(
    variants: Sequence[Variant], threads: Sequence[int], streams: Sequence[int], batches: Sequence[int]
) -> list[Candidate]:
    """Every combination; no more streams than threads, which divide among them."""
    return [
        Candidate(variant.name, backend, *how)
        for variant in variants
        for backend in variant.backends
        for how in product(threads, streams, batches)
        if how[1] <= how[0]
    ]


def simplicity(candidate: Candidate, variant: Variant, backends: Sequence[str]) -> tuple[int, ...]:
    """Smaller is simpler: full precision, the exporter's form, one call at a time, the engine named first."""
    return (
        PRECISIONS.index(variant.precision),
        FORMS.index(variant.form),
        PLACEMENTS.index(variant.placement),
        candidate.streams,
        candidate.batch,
        backends.index(candidate.backend),
        candidate.threads,
    )
