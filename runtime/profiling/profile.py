"""`rectexport.profile`: where a package's time goes, by layer, PyTorch module and pass, and its memory by phase."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rectexport.runtime.base.environment import usable_cores
from rectexport.runtime.base.notebook import as_html, bar
from rectexport.runtime.base.runner import TensorSpec
from rectexport.runtime.base.shapes import ShapeFlag
from rectexport.runtime.engines.backends import BACKENDS
from rectexport.runtime.errors import MissingDependency, UsageError
from rectexport.runtime.package.folder import Package
from rectexport.runtime.profiling.covering import cover, neighbour
from rectexport.runtime.profiling.origins import Graph, Node, read_graph
from rectexport.runtime.profiling.planned import planned_activations
from rectexport.runtime.profiling.process import ask
from rectexport.runtime.profiling.roofline import UNKNOWN, Peaks, host_peaks
from rectexport.runtime.profiling.sampled import EngineLayer, Sampled
from rectexport.runtime.timing.inputs import batch_of, timed_inputs

WORKER = "rectexport.runtime.profiling.worker"
#: Backends that report the time of their layers.
NAMES = ("tensorrt", "openvino", "onnxruntime")
WARM_UP = 3
FRAMEWORK = "framework"

Ask = Callable[[str, Mapping[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class ProfileOptions:
    """How to profile.

    backend   one of NAMES
    threads   of a CPU engine; 0 takes every usable core
    seconds   of runs in all, divided among `launches` processes, which run one after another
    batch     size of the batch axis; None keeps the package's usual one
    memory    also note the resident memory by phase, in a process of its own
    """

    backend: str = "onnxruntime"
    threads: int = 0
    seconds: float = 3.0
    launches: int = 3
    batch: int | None = None
    memory: bool = True


@dataclass(frozen=True)
class LayerTime:
    """A layer of the engine with what it does.

    seconds, share  of one run
    dispatch the part of the seconds that the engine needs to get to the layer; 0 where it does not say
    module   PyTorch module of the node with the most operations; "." for the model itself, "" where unknown
    modules  those of all its nodes
    passes   passes that made its nodes
    nodes    names of the ONNX nodes
    bound    what bounds it: compute, memory, overhead, or "" where sizes are unknown
    """

    name: str
    kind: str
    seconds: float
    share: float
    module: str
    modules: tuple[str, ...]
    passes: tuple[str, ...]
    nodes: tuple[str, ...]
    reorder: bool
    tied: bool
    operations: int | None
    traffic: int | None
    dispatch: float = 0.0
    bound: str = UNKNOWN

    @property
    def kernel(self) -> float:
        """Seconds in which the layer computes."""
        return self.seconds - self.dispatch


@dataclass(frozen=True, repr=False)
class Profile:
    """The profile of one package on one backend, at one set of shapes.

    wall      seconds of one run as the caller sees it, with the engine's own profiling on
    outside   seconds of one run that are no layer's, by what they are: transfers, framework
    memory    peak of resident bytes by phase, in a process that does not profile; empty where unknown
    arena     bytes held by the engine's allocator; None where it does not say
    weights   bytes of the constants that the nodes read
    activations  bytes that the layers' outputs need at the same time, by the engine's order; None where it does not say
    """

    package: str
    backend: str
    description: str
    batch: int
    shapes: Mapping[str, tuple[int, ...]]
    threads: int
    runs: int
    wall: float
    layers: tuple[LayerTime, ...]
    outside: Mapping[str, float]
    peaks: Peaks | None
    memory: Mapping[str, int]
    arena: int | None
    weights: int
    activations: int | None = None

    def __repr__(self) -> str:
        wall = f"{self.wall * 1e3:.3g} ms a run"
        return f"<Profile of {self.package} on {self.description}: {wall}, {len(self.layers)} layers>"

    def _repr_html_(self) -> str | None:
        return as_html("profile", self)

    @property
    def attributed(self) -> float:
        """Share of the wall time in layers and reorders that are tied to a node."""
        return sum(layer.share for layer in self.layers if layer.tied)

    @property
    def reorders(self) -> float:
        """Share of the wall time in conversions between layouts."""
        return sum(layer.share for layer in self.layers if layer.reorder)

    @property
    def dispatch(self) -> float:
        """Share of the wall time in which the engine gets from one layer to the next."""
        return sum(layer.dispatch for layer in self.layers) / self.wall

    def by(self, key: Callable[[LayerTime], str]) -> dict[str, float]:
        """Seconds of the layers by something of theirs, most first."""
        found: dict[str, float] = defaultdict(float)
        for layer in self.layers:
            found[key(layer)] += layer.seconds
        return dict(sorted(found.items(), key=lambda entry: -entry[1]))

    def as_dict(self) -> dict[str, Any]:
        """The document that docs/tuning.md describes."""
        return {
            "package": self.package,
            "backend": self.backend,
            "description": self.description,
            "batch": self.batch,
            "shape": {name: list(shape) for name, shape in self.shapes.items()},
            "threads": self.threads,
            "runs": self.runs,
            "wall_ms": self.wall * 1e3,
            "attributed": self.attributed,
            "reorders": self.reorders,
            "dispatch": self.dispatch,
            "outside_ms": {name: seconds * 1e3 for name, seconds in self.outside.items()},
            "peaks": None if self.peaks is None else asdict(self.peaks),
            "layers": [_row(layer) for layer in self.layers],
            "modules_ms": {name: seconds * 1e3 for name, seconds in self.by(lambda layer: layer.module).items()},
            "memory": {
                "peak_bytes": dict(self.memory),
                "arena_bytes": self.arena,
                "weight_bytes": self.weights,
                "activation_bytes": self.activations,
            },
        }


def _nothing(done: int, total: int, text: str) -> None:
    """Ignore progress."""


def _row(layer: LayerTime) -> dict[str, Any]:
    row = {name: list(value) if isinstance(value, tuple) else value for name, value in vars(layer).items()}
    del row["seconds"], row["dispatch"]
    return {**row, "ms": layer.seconds * 1e3, "dispatch_ms": layer.dispatch * 1e3}


def profile(
    packages: str | Path | Package | Sequence[Package],
    options: ProfileOptions | None = None,
    shapes: Mapping[str | None, ShapeFlag] | None = None,
    tick: Callable[[int, int, str], None] | None = None,
    asked: Ask = ask,
) -> list[Profile]:
    """Profile one package or several, in turns: launch 1 of each, then launch 2 of each.

    packages  a folder, a Package, or several packages
    options   backend, launches, duration and what else to measure; None: ProfileOptions()
    shapes    of inputs, as `rectexport bench` takes them
    tick      called with the number of finished launches, their number in all, and what runs; a notebook shows a bar
              by itself
    asked     starts a process (rectexport.runtime.profiling.process.ask), or a fake

    Returns a Profile for each package; times are in milliseconds.
    Raises UsageError for a backend that reports no layers, BadInput for a package or shape that cannot be used,
    MissingDependency for an engine that is not here.
    """
    how = options or ProfileOptions()
    opened = [packages] if isinstance(packages, (str, Path, Package)) else list(packages)
    folders = [entry if isinstance(entry, Package) else Package.open(entry) for entry in opened]
    _check(how.backend)
    inputs = [timed_inputs(package.manifest, how.batch, shapes) for package in folders]
    specs = [_spec(package, specs, how) for package, specs in zip(folders, inputs, strict=True)]
    graphs = [read_graph(package, how.backend) for package in folders]
    own = bar() if tick is None else None
    told = tick or own or _nothing
    total, done = len(folders) * (how.launches + how.memory), 0
    samples: list[list[Sampled]] = [[] for _ in folders]
    memory: list[Mapping[str, int]] = [{} for _ in folders]
    for launch in range(how.launches + how.memory):
        for index, spec in enumerate(specs):
            told(done, total, folders[index].path.name)
            if launch < how.launches:
                samples[index].append(Sampled.from_dict(asked(WORKER, spec)))
            else:
                memory[index] = asked(WORKER, {**spec, "phases": True})["phases"]
            done += 1
    told(total, total, "")
    if own is not None:
        own.close()
    peaks = None if how.backend == "tensorrt" else host_peaks(how.threads)
    return [
        _profile(package, how, specs, mean_of(sampled), graph, peaks, used)
        for package, specs, sampled, graph, used in zip(folders, inputs, samples, graphs, memory, strict=True)
    ]


def _check(name: str) -> None:
    if name not in NAMES:
        raise UsageError(f"--backend {name}: it reports no times of layers; take one of {', '.join(NAMES)}")
    reason = next(backend.absent() for backend in BACKENDS if backend.name == name)
    if reason:
        raise MissingDependency(f"backend {name}: {reason}")


def _spec(package: Package, inputs: Sequence[TensorSpec], how: ProfileOptions) -> dict[str, Any]:
    package.verify_files()
    return {
        "package": str(package.path.absolute()),
        "backend": how.backend,
        "threads": how.threads or usable_cores(),
        "inputs": [[spec.name, spec.dtype, list(spec.shape)] for spec in inputs],
        "warm_up": WARM_UP,
        "seconds": how.seconds / how.launches,
    }


def mean_of(samples: Sequence[Sampled]) -> Sampled:
    """One launch in place of several: times weighted by the number of runs. The layers are those of the first."""
    runs = sum(sample.runs for sample in samples)

    def mean(values: Sequence[float]) -> float:
        return sum(value * sample.runs for value, sample in zip(values, samples, strict=True)) / runs

    times = [{layer.name: layer.seconds for layer in sample.layers} for sample in samples]
    layers = [
        replace(layer, seconds=mean([found.get(layer.name, 0.0) for found in times])) for layer in samples[0].layers
    ]
    outside = {name: mean([sample.outside[name] for sample in samples]) for name in samples[0].outside}
    arena = max((sample.arena for sample in samples if sample.arena is not None), default=None)
    return Sampled(samples[0].description, runs, mean([sample.wall for sample in samples]), layers, outside, arena)


def _profile(
    package: Package,
    how: ProfileOptions,
    inputs: Sequence[TensorSpec],
    sampled: Sampled,
    graph: Graph,
    peaks: Peaks | None,
    memory: Mapping[str, int],
) -> Profile:
    covered = cover(graph, sampled.layers)
    layers = _tied(sampled, graph, covered)
    peaks = raised(peaks, layers)
    if peaks is not None:
        bounds = [peaks.classify(layer.operations, layer.traffic, layer.kernel) for layer in layers]
        layers = tuple(replace(layer, bound=bound) for layer, bound in zip(layers, bounds, strict=True))
    known = sum(layer.seconds for layer in layers) + sum(sampled.outside.values())
    return Profile(
        package=str(package.path),
        backend=how.backend,
        description=sampled.description,
        batch=batch_of(inputs),
        shapes={spec.name: tuple(int(size or 0) for size in spec.shape) for spec in inputs},
        threads=how.threads or usable_cores(),
        runs=sampled.runs,
        wall=sampled.wall,
        layers=layers,
        outside={**sampled.outside, FRAMEWORK: max(sampled.wall - known, 0.0)},
        peaks=peaks,
        memory=memory,
        arena=sampled.arena,
        weights=sum(node.weights for node in graph.nodes),
        activations=planned_activations(graph, covered, sampled.layers),
    )


def raised(peaks: Peaks | None, layers: Sequence[LayerTime]) -> Peaks | None:
    """The peaks, or what the fastest layer reached where that is more: other kernels may be better than NumPy's."""
    if peaks is None:
        return None
    rates = [(layer.operations or 0, layer.traffic or 0, layer.kernel) for layer in layers if layer.kernel > 0]
    operations = max((count / seconds for count, _, seconds in rates), default=0.0)
    traffic = max((count / seconds for _, count, seconds in rates), default=0.0)
    return Peaks(max(peaks.operations, operations), max(peaks.traffic, traffic))


def _tied(sampled: Sampled, graph: Graph, covered: Sequence[Sequence[int]]) -> tuple[LayerTime, ...]:
    """The layers with their nodes; a reorder has the module of the layer that it belongs to, and no nodes."""
    found = []
    for place, layer in enumerate(sampled.layers):
        beside = neighbour(sampled.layers, place) if layer.reorder else place
        nodes = [graph.nodes[index] for index in (covered[beside] if beside is not None else ())]
        done = [] if layer.reorder else nodes
        operations = _operations(layer, done)
        row = LayerTime(
            name=layer.name,
            kind=layer.kind,
            seconds=layer.seconds,
            share=layer.seconds / sampled.wall,
            module=_module(nodes),
            modules=tuple(dict.fromkeys(node.module for node in nodes if node.module)),
            passes=tuple(dict.fromkeys(node.made_by for node in done if node.made_by)),
            nodes=tuple(node.name for node in done),
            reorder=bool(layer.reorder),
            tied=bool(nodes),
            operations=operations,
            traffic=layer.traffic,
            dispatch=layer.dispatch,
        )
        found.append(row)
    return tuple(found)


def _module(nodes: Sequence[Node]) -> str:
    """The module of the node with the most operations, among those whose module is known."""
    known = [node for node in nodes if node.module]
    return max(known, key=lambda node: node.operations).module if known else ""


def _operations(layer: EngineLayer, nodes: Sequence[Node]) -> int | None:
    """Operations of all nodes of a layer; None where the engine does not say how large its tensors are."""
    if not layer.outputs or layer.inputs is None:
        return None
    read, made = max(layer.inputs[:1], default=0), max(layer.outputs)
    return sum(node.operations * (read if node.per_input else made) for node in nodes)
