"""A way to deploy a model, and what is known about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from rectexport.runtime.base.environment import usable_cores
from rectexport.runtime.layouts import AUTO_LAYOUT, LAYOUTS, PLAIN

#: Precisions and forms, the simplest first.
PRECISIONS = ("fp32", "fp16", "int8")
CHOSEN, AS_WRITTEN = "chosen", "as written"
FORMS = (CHOSEN, AS_WRITTEN)
#: Where Q/DQ nodes stand in int8, the exporter's choice first.
PLACEMENTS = ("auto", "both", "strips")
#: Backends of a GPU: the host's threads are no choice, CUDA graphs are.
GPU = CUDA, TENSORRT = ("cuda", "tensorrt")
#: Whether calls are launched as CUDA graphs, the simpler first.
GRAPHS = OFF, ON = ("off", "on")


@dataclass(frozen=True)
class Variant:
    """A package with the model in one precision, form and placement of Q/DQ nodes.

    name is unique, backends are those that it is for; plan is TensorRT's file in the package.
    """

    name: str
    package: str
    precision: str = "fp32"
    form: str = CHOSEN
    backends: tuple[str, ...] = ()
    placement: str = PLACEMENTS[0]
    plan: str = ""


@dataclass(frozen=True)
class Candidate:
    """A variant on a backend, with so many threads, calls at the same time, and rows in a batch.

    threads      0 on a GPU
    layout       of tensors in ONNX Runtime on the CPU
    cuda_graphs  whether calls are launched as CUDA graphs; None on the CPU
    """

    variant: str
    backend: str
    threads: int
    streams: int
    batch: int
    layout: str = AUTO_LAYOUT
    cuda_graphs: bool | None = None

    @property
    def key(self) -> str:
        """For people and for the state; unique."""
        parts = [self.variant, self.backend]
        parts += [f"{self.threads} thread{'s' * (self.threads > 1)}"] if self.threads else []
        parts += [f"{self.streams} streams"] if self.streams > 1 else []
        parts += [f"batch {self.batch}"]
        parts += ["plain layout"] if self.layout == PLAIN else []
        parts += ["CUDA graphs"] if self.cuda_graphs else []
        return ", ".join(parts)

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


@dataclass(frozen=True)
class Space:
    """What is combined, besides the variants.

    threads      of a CPU engine; 0 is not allowed: the answer must say how many
    layouts      for float32 on ONNX Runtime on the CPU
    cuda_graphs  of GRAPHS, for backends of a GPU
    left_out     backends that were not asked for by name and cannot be searched here, with the reason
    """

    backends: tuple[str, ...]
    threads: tuple[int, ...] = field(default_factory=lambda: (usable_cores(),))
    streams: tuple[int, ...] = (1,)
    batches: tuple[int, ...] = (1,)
    layouts: tuple[str, ...] = (AUTO_LAYOUT,)
    cuda_graphs: tuple[str, ...] = GRAPHS
    left_out: Mapping[str, str] = field(default_factory=dict)


def candidates(variants: Sequence[Variant], space: Space) -> list[Candidate]:
    """Every combination; on a CPU no more streams than threads, which divide among them."""
    return [
        Candidate(variant.name, backend, *how)
        for variant in variants
        for backend in variant.backends
        for how in (_on_gpu(space) if backend in GPU else _on_cpu(space, has_layouts(variant, backend)))
    ]


def has_layouts(variant: Variant, backend: str) -> bool:
    """Whether the layout is a choice: only for float32 on ONNX Runtime; int8 and other engines have their own."""
    return backend == "onnxruntime" and variant.precision == "fp32"


def _on_gpu(space: Space) -> Iterable[tuple[Any, ...]]:
    return product((0,), space.streams, space.batches, (AUTO_LAYOUT,), [graphs == ON for graphs in space.cuda_graphs])


def _on_cpu(space: Space, with_layouts: bool) -> Iterable[tuple[Any, ...]]:
    layouts = space.layouts if with_layouts else (AUTO_LAYOUT,)
    return (how for how in product(space.threads, space.streams, space.batches, layouts) if how[1] <= how[0])


def simplicity(candidate: Candidate, variant: Variant, backends: Sequence[str]) -> tuple[int, ...]:
    """Smaller is simpler: full precision, the exporter's form, no options, one call at a time, the first engine."""
    return (
        PRECISIONS.index(variant.precision),
        FORMS.index(variant.form),
        PLACEMENTS.index(variant.placement),
        LAYOUTS.index(candidate.layout),
        bool(candidate.cuda_graphs),
        candidate.streams,
        candidate.batch,
        backends.index(candidate.backend),
        candidate.threads,
    )
