"""Compare the inner tensors of a package, computed by its own engine, with the reference's."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Protocol, final

import onnx
from onnx import GraphProto, ModelProto

from rectexport.exporter.checking.fusion import FusionWatch
from rectexport.exporter.checking.marking import comparable, oversized, slices, write_marked
from rectexport.exporter.graph.dialect import DOMAIN
from rectexport.exporter.passes.rectification import SCALE_PREFIX
from rectexport.runtime.base.runner import Array
from rectexport.runtime.base.temporary import scratch_folder
from rectexport.runtime.base.tolerance import Tolerance
from rectexport.runtime.package.folder import Package
from rectexport.runtime.parity.metamorphic import Engine, same_bits
from rectexport.runtime.parity.outcome import Exhibit
from rectexport.runtime.parity.reports import LayerReport, compare_layer


class InnerReference(Protocol):
    """Computes expected inner tensors."""

    @property
    def traced(self) -> ModelProto | None:
        """The model with dialect nodes from before lowering, or None if it is not known (yet)."""

    def tensors(self, feeds: Mapping[str, Array], names: Collection[str]) -> dict[str, Array]:
        """Inner tensors by name; unknown names are left out."""

    def inner_names(self) -> set[str]:
        """Names that `tensors` may know."""

    def layer(self, name: str) -> str:
        """The module that made an inner tensor, or the tensor's name."""


@final
class MarkedLayers:
    """Marks tensors as outputs, as many at a time as fit into `memory` bytes, and compares them.

    open_session opens any package on the backend `engine`; counts_nodes is set where that is ONNX Runtime's CPU
    provider, whose optimized graph can be saved.
    """

    def __init__(
        self,
        package: Package,
        open_session: Callable[[Package], Engine],
        reference: InnerReference,
        tolerance: Tolerance,
        memory: int,
        counts_nodes: bool,
        engine: str,
    ) -> None:
        self._package, self._open, self._reference = package, open_session, reference
        self._tolerance, self._memory = tolerance, memory
        self._file = package.model_for(engine)
        self._model = onnx.load(self._file)
        self._fusion = FusionWatch(counts_nodes)
        self._oversized: dict[str, None] = {}
        self._shapeless: list[str] = []

    @property
    def notes(self) -> Sequence[str]:
        found = [self._fusion.summary()] if self._fusion.runs else []
        if self._oversized:
            first, count = next(iter(self._oversized)), len(self._oversized)
            found.append(
                f"inner tensors that exceed --memory even alone: {count}, the first is {first}; "
                "they were compared nevertheless, one at a time"
            )
        return [*found, *dict.fromkeys(self._shapeless)]

    def compare(self, feeds: Mapping[str, Array], exhibit: Exhibit) -> list[LayerReport]:
        tensors = comparable(self._model, feeds, self._reference.inner_names())
        self._oversized.update(dict.fromkeys(oversized(tensors, self._memory)))
        plain = self._run(self._package, feeds)
        found: list[LayerReport] = []
        for names in slices(tensors, self._memory):
            found.extend(self._slice(names, feeds, plain, exhibit))
        operators = self._labels({layer.tensor for layer in found})
        return [replace(layer, operator=operators.get(layer.tensor, "")) for layer in found]

    def _slice(
        self, names: Sequence[str], feeds: Mapping[str, Array], plain: Mapping[str, Array], exhibit: Exhibit
    ) -> list[LayerReport]:
        expected = self._reference.tensors(feeds, set(names))
        shared = [name for name in names if name in expected]
        if not shared:
            return []
        actual = self._run_marked(shared, feeds, plain)
        found = []
        for name in shared:
            wanted, got = expected.pop(name), actual.pop(name)
            if wanted.shape != got.shape:
                shapes = f"its shape is {list(got.shape)}, in the reference {list(wanted.shape)}"
                self._shapeless.append(f"{name} was not compared: {shapes}")
            elif got.dtype.kind == "f":
                layer = compare_layer(name, self._reference.layer(name), wanted, got)
                allowed = self._tolerance.of_layer(name) or 1e-30
                exhibit.offer(f"{layer.layer}, tensor {name}", layer.worst[1] / allowed, wanted, got)
                found.append(layer)
        return found

    def _run_marked(
        self, names: Sequence[str], feeds: Mapping[str, Array], plain: Mapping[str, Array]
    ) -> dict[str, Array]:
        with scratch_folder() as folder:
            marked = write_marked(self._package, self._model, names, folder)
            actual = self._run(marked, feeds)
            same = all(same_bits(plain[name], actual[name]) for name in plain)
            self._fusion.note(self._file, marked.model_file, same)
        return actual

    def _run(self, package: Package, feeds: Mapping[str, Array]) -> dict[str, Array]:
        engine = self._open(package)
        try:
            return engine.run(feeds)
        finally:
            engine.close()

    def _labels(self, compared: set[str]) -> dict[str, str]:
        """Our operators by compared tensor: the operator's output, or the nearest compared tensor after it."""
        dialect = self._dialect()
        found: dict[str, list[str]] = {}
        for operator, output in _operators(self._model, dialect):
            shown = _shown(output, dialect, compared)
            if shown is not None and operator not in found.setdefault(shown, []):
                found[shown].append(operator)
        return {tensor: " + ".join(operators) for tensor, operators in found.items()}

    def _dialect(self) -> GraphProto:
        """The graph with our operators as nodes: as it was traced, or raised if torch is installed."""
        if self._reference.traced is not None:
            return self._reference.traced.graph
        if find_spec("torch") is None:
            return self._model.graph
        from rectexport.exporter.passes.raising import raise_model  # imports torch, which takes seconds

        return raise_model(self._model)[0].graph


def _operators(model: ModelProto, dialect: GraphProto) -> list[tuple[str, str]]:
    """Operator and output of every dialect node, and of the rectifications that lowering has named."""
    nodes = [(node.op_type, node.output[0]) for node in dialect.node if node.domain == DOMAIN]
    known = {output for _, output in nodes}
    prefix = f"{SCALE_PREFIX}."
    scales = (node.name.removeprefix(prefix) for node in model.graph.node if node.name.startswith(prefix))
    return [*nodes, *(("Rectify", output) for output in scales if output not in known)]


def _shown(output: str, graph: GraphProto, compared: set[str]) -> str | None:
    """The tensor itself, or the nearest compared one after it, following the first reader of each tensor."""
    while output not in compared:
        reader = next((node for node in graph.node if output in node.input), None)
        if reader is None:
            return None
        output = reader.output[0]
    return output
