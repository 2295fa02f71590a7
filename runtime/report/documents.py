"""The documents that a report is made from, as values; reading.py reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rectexport.runtime.base.runner import Array


@dataclass(frozen=True)
class Distance:
    """A tensor's distances from the reference's, from parity.json; top1 is None for outputs without classes."""

    max_abs: float
    relative_l2: float
    cosine: float
    top1: float | None


@dataclass(frozen=True)
class Layer:
    """Distances of an inner tensor and of its regions."""

    tensor: str
    name: str
    whole: Distance
    regions: Mapping[str, Distance]


@dataclass(frozen=True)
class Case:
    """The distances at one set of input shapes."""

    label: str
    shapes: Mapping[str, tuple[int, ...]]
    outputs: Mapping[str, Distance]
    layers: tuple[Layer, ...]
    failures: tuple[str, ...]


@dataclass(frozen=True)
class Check:
    """A check without a reference, such as "equal rows", the shapes it was made at, and its result."""

    name: str
    at: str
    worst: float
    bit_equal: bool
    skipped: str
    failures: tuple[str, ...]


@dataclass(frozen=True)
class Parity:
    """parity.json."""

    passed: bool
    reference: str
    backend: str
    tolerances: Mapping[str, float]
    cases: tuple[Case, ...]
    checks: tuple[Check, ...]


@dataclass(frozen=True)
class Contestant:
    """A model's times on one backend and shape, in ms; samples are single times, or medians of rounds."""

    name: str
    backend: str
    batch: int
    shape: str
    median: float
    p90: float | None
    p99: float | None
    throughput: float | None
    samples: tuple[float, ...]


@dataclass(frozen=True)
class Comparison:
    """The ratio of two contestants' times, with its 95 % interval; base_backend is empty in older documents."""

    name: str
    backend: str
    base: str
    base_backend: str
    batch: int
    ratio: float
    low: float
    high: float
    verdict: str


@dataclass(frozen=True)
class Latency:
    """latency.json."""

    contestants: tuple[Contestant, ...]
    comparisons: tuple[Comparison, ...]
    facts: Mapping[str, str]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class GraphNode:
    """A node of an excerpt."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    constants: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Side:
    """One side of a rewrite, last node first; `more` is how many nodes were left out."""

    nodes: tuple[GraphNode, ...]
    more: int


@dataclass(frozen=True)
class Rewrite:
    """A kind of rewrite: one example, and how many there are."""

    tensor: str
    count: int
    before: Side
    after: Side


@dataclass(frozen=True)
class PassChange:
    """The changes that one pass made to the graph."""

    name: str
    delta: Mapping[str, int]
    kinds: int
    examples: tuple[Rewrite, ...]


@dataclass(frozen=True)
class Rewrites:
    """rewrites.json."""

    before: Mapping[str, int]
    after: Mapping[str, int]
    parameters: int | None
    passes: tuple[PassChange, ...]


@dataclass(frozen=True)
class ProfiledLayer:
    """A layer of an engine with its share of one run's time; bound is compute, memory, overhead or empty."""

    name: str
    module: str
    passes: tuple[str, ...]
    nodes: tuple[str, ...]
    ms: float
    share: float
    bound: str
    reorder: bool


@dataclass(frozen=True)
class Tried:
    """A candidate of a search; times in ms, None where it was not timed; quality: the metric, or SNR in dB."""

    name: str
    state: str
    reason: str
    p50: float | None
    p99: float | None
    throughput: float | None
    quality: float | None
    memory: float | None
    size: float
    front: bool


@dataclass(frozen=True)
class Tuning:
    """tuning.json. quality: what the candidates' quality is called."""

    chosen: str
    reason: str
    goal: str
    quality: str
    seconds: float
    candidates: tuple[Tried, ...]


@dataclass(frozen=True)
class Profiled:
    """profile.json. outside: milliseconds of one run that are no layer's, by what they are."""

    backend: str
    description: str
    batch: int
    wall: float
    attributed: float
    layers: tuple[ProfiledLayer, ...]
    outside: Mapping[str, float]
    memory: Mapping[str, float]


@dataclass(frozen=True)
class Answer:
    """A model's answer to an item: its largest numbers with their places, or a picture (uint8 [H, W, 1 or 3])."""

    model: str
    shape: tuple[int, ...]
    largest: tuple[tuple[int, float], ...]
    picture: Array | None


@dataclass(frozen=True)
class Item:
    """An item of the data that was evaluated: its label (None without one), its picture, and each model's answer."""

    name: str
    target: int | None
    picture: Array | None
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class WorstItem:
    """An item that differs most: what is wrong with it, and its picture as a data address, "" where there is none."""

    name: str
    told: str
    picture: str


@dataclass(frozen=True)
class Measured:
    """A model's accuracy; difference: (value, low, high) from the reference's; agreement with it, 0..1."""

    model: str
    value: float | None
    difference: tuple[float, float | None, float | None] | None
    agreement: float | None
    worst: tuple[WorstItem, ...] = ()


@dataclass(frozen=True)
class Evaluated:
    """The document of `rectexport eval --json`."""

    data: str
    items: int
    metric: str
    unit: str
    reference: Measured | None
    engines: tuple[Measured, ...]
    sample: Item | None
