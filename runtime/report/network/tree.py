"""The nodes of a model as a tree of its PyTorch modules, each with its share of the time and its worst distance."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from rectexport.runtime.profiling.origins import Graph
from rectexport.runtime.report.documents import Parity, Profiled
from rectexport.runtime.report.network.names import TOP
from rectexport.runtime.report.plots.heat import severity, values
from rectexport.runtime.report.scale import STEPS, Scale

#: Deepest module that has a row of its own; an untrusted document may nest them as deep as it likes.
DEEPEST = 12
#: A map with at most this many rows is shown open.
OPEN_ROWS = 60
#: Kinds of operators that are named where nodes are only counted.
NAMED_KINDS = 4


@dataclass(frozen=True)
class Leaf:
    """An ONNX node. anchor: where the page shows the rewrite that made it; "" for a node as it was traced."""

    op: str
    tensor: str
    made_by: str
    anchor: str
    ms: float | None
    distance: float | None


@dataclass
class Module:
    """A module with its nodes and submodules in the order of the model."""

    path: str
    name: str
    content: list[Leaf | Module] = field(default_factory=list)
    spent: float = 0.0

    @property
    def leaves(self) -> list[Leaf]:
        """Its own nodes."""
        return [entry for entry in self.content if isinstance(entry, Leaf)]

    @property
    def parts(self) -> list[Module]:
        """Its submodules."""
        return [entry for entry in self.content if isinstance(entry, Module)]

    @property
    def count(self) -> int:
        """Nodes in it and in its submodules."""
        return len(self.leaves) + sum(part.count for part in self.parts)

    @property
    def ms(self) -> float:
        """Milliseconds of one run that are spent in it."""
        return self.spent + sum(leaf.ms or 0.0 for leaf in self.leaves) + sum(part.ms for part in self.parts)

    @property
    def distance(self) -> float | None:
        """The worst relative L2 of its tensors, over all shapes and regions; None where none was compared."""
        found = [leaf.distance for leaf in self.leaves] + [part.distance for part in self.parts]
        return max((value for value in found if value is not None), key=severity, default=None)

    @property
    def rewrites(self) -> list[tuple[str, str]]:
        """Passes that made its nodes, with the anchors of their rewrites."""
        leaves = [leaf for module in self.walk() for leaf in module.leaves]
        return list(dict.fromkeys((leaf.made_by, leaf.anchor) for leaf in leaves if leaf.made_by))

    @property
    def operators(self) -> str:
        """All its nodes in words, as in 2 Conv, Relu."""
        counts = Counter(leaf.op for module in self.walk() for leaf in module.leaves).most_common()
        told = [name if count == 1 else f"{count} {name}" for name, count in counts[:NAMED_KINDS]]
        return ", ".join(told) + (", …" if len(counts) > NAMED_KINDS else "")

    def walk(self) -> Iterator[Module]:
        """The module and all below it."""
        yield self
        for part in self.parts:
            yield from part.walk()


@dataclass(frozen=True)
class NetworkMap:
    """The tree with its colours.

    total   milliseconds of all of it; 0.0 without a profile
    nodes   whether single nodes are listed, and not their modules alone
    depth   how deep modules are listed; deeper ones are counted
    """

    root: Module
    total: float
    distances: Scale | None
    times: Scale | None
    open: bool
    nodes: bool
    depth: int

    def distance_colour(self, value: float | None) -> str:
        """The CSS class of a distance; "" where nothing was compared."""
        return "" if value is None or self.distances is None else self.distances.colour(value)

    def time_colour(self, ms: float | None) -> str:
        """The CSS class of a time, t0 to t8; "" where none was measured."""
        if self.times is None or not ms:
            return ""
        return self.times.colour(ms).replace("s", "t").replace("over", f"t{STEPS - 1}")

    def share(self, ms: float | None) -> float:
        """A time in percent of the whole."""
        return 100 * ms / self.total if ms and self.total else 0.0


def network_map(
    graph: Graph,
    parity: Parity,
    profile: Profiled | None,
    anchors: Mapping[str, str],
    scale: Scale | None,
    nodes: bool = True,
    depth: int = DEEPEST,
) -> NetworkMap | None:
    """The map of a model; None for a package that does not say where its nodes come from.

    anchors  where the page shows the rewrites, by tensor or pass
    scale    colours of the distances
    nodes    whether single nodes are listed; a large model has only its modules, `depth` levels of them
    """
    if not graph.nodes:
        return None
    times, loose = _times(graph, profile)
    distances = _distances(parity)
    tree = _Tree()
    for index, node in enumerate(graph.nodes):
        near = [distances[name] for name in node.outputs if name in distances]
        anchor = next((anchors[key] for key in (*_stems(node.outputs), node.made_by) if key in anchors), "")
        leaf = Leaf(
            node.op,
            next(iter(node.outputs), node.name),
            node.made_by,
            anchor if node.made_by else "",
            times.get(index),
            max(near, key=severity, default=None),
        )
        tree.place(node.module).content.append(leaf)
    for module, ms in loose.items():
        tree.place(module).spent += ms
    root = tree.root
    root.content = [_joined(entry) if isinstance(entry, Module) else entry for entry in root.content]
    spent = [module.ms for module in root.walk()] + [ms for ms in times.values() if ms > 0]
    known = [ms for ms in spent if 0 < ms < math.inf]
    rows = sum(1 for _ in root.walk()) + (len(graph.nodes) if nodes else 0)
    time_scale = Scale.over(known, math.inf) if known else None
    return NetworkMap(root, root.ms, scale, time_scale, rows <= OPEN_ROWS, nodes, depth)


def _stems(tensors: Iterable[str]) -> Iterator[str]:
    """Names of the tensors, and of those that they stand for: a pass adds suffixes."""
    for tensor in tensors:
        yield tensor
        yield tensor.partition(".")[0]


def _times(graph: Graph, profile: Profiled | None) -> tuple[dict[int, float], dict[str, float]]:
    """Milliseconds by node, and by module for layers of the engine without a node.

    What an engine computes as one layer counts for its first node in the layer's module.
    """
    times: dict[int, float] = {}
    loose: dict[str, float] = {}
    for layer in profile.layers if profile else ():
        if not (math.isfinite(layer.ms) and layer.ms > 0):
            continue
        found = [graph.by_name[name] for name in layer.nodes if name in graph.by_name]
        own = [index for index in found if graph.nodes[index].module == layer.module] or found
        if own:
            times[own[0]] = times.get(own[0], 0.0) + layer.ms
        else:
            loose[layer.module] = loose.get(layer.module, 0.0) + layer.ms
    return times, loose


def _distances(parity: Parity) -> dict[str, float]:
    """The worst relative L2 of each tensor over all shapes and regions; of outputs too."""
    found: dict[str, float] = {}
    for case in parity.cases:
        whole = [(name, distance.relative_l2) for name, distance in case.outputs.items()]
        inner = [(layer.tensor, d.relative_l2) for layer in case.layers for d in values(layer).values()]
        for name, value in (*whole, *inner):
            found[name] = max(found.get(name, 0.0), value, key=severity)
    return found


class _Tree:
    """Modules by path, made where they are missing."""

    def __init__(self) -> None:
        self.root = Module("", "")
        self._known = {"": self.root}

    def place(self, path: str) -> Module:
        """The module of a path."""
        parts = [] if path in ("", TOP) else [part for part in path.split(".") if part][:DEEPEST]
        place = self.root
        for depth, name in enumerate(parts):
            full = ".".join(parts[: depth + 1])
            if full not in self._known:
                self._known[full] = Module(full, name)
                place.content.append(self._known[full])
            place = self._known[full]
        return place


def _joined(module: Module) -> Module:
    """The module, with the name of its only part where it holds nothing else."""
    module.content = [_joined(entry) if isinstance(entry, Module) else entry for entry in module.content]
    if len(module.content) == 1 and not module.spent and isinstance(only := module.content[0], Module):
        return Module(only.path, f"{module.name}.{only.name}", only.content, only.spent)
    return module
