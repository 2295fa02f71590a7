"""Compute the outputs that a package is compared with: those of the source model, in float64 if it runs in it."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import torch
from onnx import ModelProto
from torch import Tensor
from torch.utils import _pytree as pytree

from rectexport.exporter.base.quiet import quiet
from rectexport.exporter.checking.disturbed import Disturbed
from rectexport.exporter.checking.tolerance import PRECISION_OF, RELATIVE_L2
from rectexport.exporter.checking.values import nudged
from rectexport.exporter.frontend.arguments import program_layout, program_module
from rectexport.exporter.frontend.source import Source, in_eval_mode, independent_copy
from rectexport.exporter.graph.guard import coarsest_float
from rectexport.exporter.graph.inner import run_inner, with_outputs
from rectexport.exporter.graph.widened import run_in_float64
from rectexport.exporter.tracing.places import ROOT, module_paths
from rectexport.exporter.tracing.trace import Traced
from rectexport.runtime.base.metrics import compare
from rectexport.runtime.base.runner import Array
from rectexport.runtime.base.shapes import format_shape
from rectexport.runtime.engines.onnxruntime_runner import OnnxRuntimeRunner
from rectexport.runtime.errors import BadInput
from rectexport.runtime.package.structure import collect

#: Rounding is taken to be at most this many times the usual bound of its type.
ROUNDING_LIMIT = 10


class Reference(Protocol):
    """Computes expected tensors."""

    @property
    def description(self) -> str:
        """Library and precision, for people; final after the first computation."""

    def outputs(self, feeds: Mapping[str, Array]) -> list[Array]:
        """The model's outputs, in order."""

    def trial(self, feeds: Mapping[str, Array]) -> list[Array] | None:
        """The outputs, or None where the model does not take such values or answers with NaN or infinity."""

    def rounded(self, feeds: Mapping[str, Array]) -> list[Array] | None:
        """Outputs that differ from `outputs` by rounding alone, to tell what it does; None where that is not known."""

    def disturbed(self, feeds: Mapping[str, Array], seed: int) -> list[Array] | None:
        """Outputs where every step rounds at random as float32 does; None where that cannot be done."""

    def tensors(self, feeds: Mapping[str, Array], names: Collection[str]) -> dict[str, Array]:
        """Inner tensors by their name in the traced ONNX model; unknown names are left out."""

    def inner_names(self) -> set[str]:
        """Names that `tensors` may know; not all of them are tensors of numbers."""

    def layer(self, name: str) -> str:
        """The module that made an inner tensor, or the tensor's name."""


class Remembered:
    """A reference that computes outputs once for each set of inputs; inner tensors are computed at each call."""

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        self._known: dict[tuple[str, bytes], list[Array] | None] = {}

    @property
    def description(self) -> str:
        return self._reference.description

    def outputs(self, feeds: Mapping[str, Array]) -> list[Array]:
        found = self._recall("outputs", feeds, self._reference.outputs)
        assert found is not None
        return found

    def trial(self, feeds: Mapping[str, Array]) -> list[Array] | None:
        return self._recall("trial", feeds, self._reference.trial)

    def rounded(self, feeds: Mapping[str, Array]) -> list[Array] | None:
        return self._recall("rounded", feeds, self._reference.rounded)

    def disturbed(self, feeds: Mapping[str, Array], seed: int) -> list[Array] | None:
        return self._reference.disturbed(feeds, seed)

    def tensors(self, feeds: Mapping[str, Array], names: Collection[str]) -> dict[str, Array]:
        return self._reference.tensors(feeds, names)

    def inner_names(self) -> set[str]:
        return self._reference.inner_names()

    def layer(self, name: str) -> str:
        return self._reference.layer(name)

    def _recall(
        self, kind: str, feeds: Mapping[str, Array], compute: Callable[[Mapping[str, Array]], list[Array] | None]
    ) -> list[Array] | None:
        key = (kind, _digest(feeds))
        if key not in self._known:
            self._known[key] = compute(feeds)
        return self._known[key]


def _digest(feeds: Mapping[str, Array]) -> bytes:
    content = hashlib.sha256()
    for name, array in feeds.items():
        content.update(f"{name} {array.dtype} {array.shape} ".encode())
        content.update(np.ascontiguousarray(array).tobytes())
    return content.digest()


def make_reference(source: Source, traced: Traced) -> Reference:
    """The reference for a source: PyTorch in float64, or ONNX Runtime for an ONNX file."""
    outputs = [value.name for value in traced.model.graph.output]
    if source.kind == "onnx" and source.reference is not None:
        return ExactOnnxReference(source.reference, outputs)
    if source.kind == "onnx":
        return OnnxReference(source.model, outputs, source.stored)
    # Tracing sets a copy of its own to eval mode.
    model = program_module(source.model) if source.kind == "program" else source.reference or source.model
    model = model if source.kind == "program" else in_eval_mode(model)
    return TorchReference(model, traced.program, traced.structure, outputs)


class TorchReference:
    """PyTorch in float64, or in float32 for a model that does not run in float64 because it casts inside.

    The same holds for the exported program by itself, which has the inner tensors.

    Inner tensors come from the exported program, whose nodes have the names of the ONNX tensors; a node that is called
    as one of the outputs is another tensor. structure says where the outputs stand in the result, None that all
    tensors in it are outputs.
    """

    def __init__(
        self, model: Any, program: Any, structure: Mapping[str, Any] | None = None, outputs: Collection[str] = ()
    ) -> None:
        with quiet():
            self._model = independent_copy(model).double()
        self._program = program
        self._graph = None if program is None else _inner_graph(program, torch.float64, model, self._model)
        self._layout = program_layout(program) if program is not None else None
        self._layers = _layer_names(program) if program is not None else {}
        self._structure, self._names = structure, list(outputs)
        self._dtype = self._inner_dtype = torch.float64

    @property
    def description(self) -> str:
        return "PyTorch, float64" if self._dtype == torch.float64 else "PyTorch, float32"

    def outputs(self, feeds: Mapping[str, Array]) -> list[Array]:
        return self._flat(self._run(self._model, feeds))

    def trial(self, feeds: Mapping[str, Array]) -> list[Array] | None:
        return self._run_or_none(self._model, feeds, self._dtype)

    def rounded(self, feeds: Mapping[str, Array]) -> list[Array] | None:
        if self._dtype == torch.float32:  # what inputs do that differ by their rounding
            moved = nudged(feeds)
            return None if moved is None else self._run_or_none(self._model, moved, torch.float32)
        return self._run_or_none(copy.deepcopy(self._model).float(), feeds, torch.float32)

    def disturbed(self, feeds: Mapping[str, Array], seed: int) -> list[Array] | None:
        if self._dtype == torch.float32:
            return None
        with Disturbed(seed):
            return self._run_or_none(self._model, feeds, torch.float64)

    def tensors(self, feeds: Mapping[str, Array], names: Collection[str]) -> dict[str, Array]:
        if self._graph is None:
            return {}
        recorder = _Recorder(self._graph, set(names) - set(self._names))
        try:
            with torch.no_grad():
                recorder.run(*self._leaves(_tensors(feeds, self._inner_dtype)), enable_io_processing=False)
        except Exception as error:
            if self._inner_dtype == torch.float32:
                raise _does_not_run(feeds, error) from error
            self._inner_dtype = torch.float32
            self._graph = _inner_graph(self._program, torch.float32)
            return self.tensors(feeds, names)
        return recorder.found

    def inner_names(self) -> set[str]:
        return set() if self._graph is None else {node.name for node in self._graph.graph.nodes} - set(self._names)

    def layer(self, name: str) -> str:
        return self._layers.get(name, name)

    def _leaves(self, tensors: Sequence[Tensor]) -> list[Any]:
        """What the exported graph takes: the tensors, and the constants among its inputs."""
        return list(tensors) if self._layout is None else pytree.tree_leaves(self._layout.filled(tensors))

    def _run(self, call: Callable[..., Any], feeds: Mapping[str, Array]) -> Any:
        """Raises BadInput when the model does not take these feeds."""
        try:
            with torch.no_grad():
                return call(*_tensors(feeds, self._dtype))
        except Exception as error:
            if self._dtype == torch.float64:
                self._to_float32()
                return self._run(call, feeds)
            raise _does_not_run(feeds, error) from error

    def _run_or_none(self, model: Any, feeds: Mapping[str, Array], dtype: torch.dtype) -> list[Array] | None:
        try:
            with torch.no_grad():
                outputs = self._flat(model(*_tensors(feeds, dtype)))
        except Exception:  # an index beyond its table, a value that the model asserts against: it does not take them
            return None
        return outputs if _finite(outputs) else None

    def _flat(self, results: Any) -> list[Array]:
        if self._structure is None:
            return [value.detach().numpy() for value in pytree.tree_leaves(results) if isinstance(value, Tensor)]
        found = collect(self._structure, results)
        return [torch.as_tensor(found[name]).detach().numpy() for name in self._names]

    def _to_float32(self) -> None:
        self._dtype = torch.float32
        self._graph = copy.deepcopy(self._graph)  # it keeps the weights in float64, which both share
        self._model.float()


def spread(reference: Reference, feeds: Mapping[str, Array]) -> float:
    """How far inputs that differ by rounding move the outputs, as relative L2; 0 where that is not known."""
    moved = nudged(feeds)
    answers = None if moved is None else reference.trial(moved)
    if answers is None:
        return 0.0
    pairs = zip(reference.outputs(feeds), answers, strict=True)
    return max((compare(wanted, found).relative_l2 for wanted, found in pairs), default=0.0)


def _finite(outputs: Collection[Array]) -> bool:
    return all(bool(np.isfinite(array).all()) for array in outputs if array.dtype.kind == "f")


class OnnxReference:
    """ONNX Runtime on the unchanged file, without graph optimizations; float32 stays float32."""

    description = "ONNX Runtime on the source file, as stored"

    def __init__(
        self, model: ModelProto, outputs: Collection[str] = (), stored: Mapping[str, Array] = MappingProxyType({})
    ) -> None:
        """outputs are the traced model's, which may have been given the names of inner tensors of the file.

        stored are arrays of inputs that stand for weights.
        """
        self._model, self._stored = model, stored
        self._renamed = set(outputs) - {value.name for value in model.graph.output}
        self._runner = OnnxRuntimeRunner(model.SerializeToString(), optimize=False)

    def outputs(self, feeds: Mapping[str, Array]) -> list[Array]:
        return list(self._runner.run({**feeds, **self._stored}).values())

    def trial(self, feeds: Mapping[str, Array]) -> list[Array] | None:
        try:
            outputs = self.outputs(feeds)
        except BadInput:
            return None
        return outputs if _finite(outputs) else None

    def rounded(self, feeds: Mapping[str, Array]) -> list[Array] | None:
        """The outputs in float64: their distance from `outputs` is what rounding does to the file as stored.

        None where it is more than rounding could do; then onnx.reference computes something else.
        """
        exact = None if self._stored else run_in_float64(self._model, feeds)
        given = self.trial(feeds)
        if exact is None or given is None:
            return None
        found = list(exact.values())
        limit = ROUNDING_LIMIT * RELATIVE_L2[PRECISION_OF.get(coarsest_float(self._model), "fp32")]
        if any(one.shape != other.shape for one, other in zip(given, found, strict=True)):
            return None
        distances = [compare(one, other).relative_l2 for one, other in zip(given, found, strict=True)]
        return found if max(distances, default=0.0) <= limit else None

    def disturbed(self, feeds: Mapping[str, Array], seed: int) -> list[Array] | None:
        return None

    def tensors(self, feeds: Mapping[str, Array], names: Collection[str]) -> dict[str, Array]:
        known = self.inner_names()
        wanted = [name for name in names if name in known]
        return run_inner(self._model, {**feeds, **self._stored}, wanted, optimize=False)

    def inner_names(self) -> set[str]:
        return {name for node in self._model.graph.node for name in node.output} - self._renamed

    def layer(self, name: str) -> str:
        return name


class ExactOnnxReference:
    """onnx.reference in float64 on the unchanged file, for a graph that ONNX Runtime does not run in its own types."""

    description = "onnx.reference on the source file, float64"

    def __init__(self, model: ModelProto, outputs: Collection[str] = ()) -> None:
        self._model = model
        self._renamed = set(outputs) - {value.name for value in model.graph.output}

    def outputs(self, feeds: Mapping[str, Array]) -> list[Array]:
        """Raises BadInput where onnx.reference does not run the file."""
        found = run_in_float64(self._model, feeds)
        if found is None:
            raise BadInput("onnx.reference does not run this graph either: export it from PyTorch in float32")
        return list(found.values())

    def trial(self, feeds: Mapping[str, Array]) -> list[Array] | None:
        found = run_in_float64(self._model, feeds)
        return list(found.values()) if found is not None and _finite(list(found.values())) else None

    def rounded(self, feeds: Mapping[str, Array]) -> list[Array] | None:
        return None

    def disturbed(self, feeds: Mapping[str, Array], seed: int) -> list[Array] | None:
        return None

    def tensors(self, feeds: Mapping[str, Array], names: Collection[str]) -> dict[str, Array]:
        wanted = sorted(self.inner_names() & set(names) - {value.name for value in self._model.graph.output})
        found = run_in_float64(with_outputs(self._model, wanted), feeds) or {}
        return {name: found[name] for name in wanted if name in found}

    def inner_names(self) -> set[str]:
        return {name for node in self._model.graph.node for name in node.output} - self._renamed

    def layer(self, name: str) -> str:
        return name


def _inner_graph(program: Any, dtype: torch.dtype, model: Any = None, twin: Any = None) -> Any:
    """The program's graph in a type; it shares the weights of `twin`, `model` in that type, that equal the model's."""
    with quiet():
        original = program.module(check_guards=False)  # it shares the program's weights
        module = copy.deepcopy(original, _shared_weights(original, model, twin))
    if dtype == torch.float32:
        return module
    for node in module.graph.nodes:
        node.args, node.kwargs = (torch.fx.node.map_aggregate(part, _widened) for part in (node.args, node.kwargs))
    module.recompile()
    return module.double()


def _shared_weights(module: Any, model: Any, twin: Any) -> dict[int, Tensor]:
    """The twin's tensors by the identity of the module's that equal the model's, as a memo for deepcopy."""
    if twin is None or not hasattr(twin, "named_parameters"):
        return {}
    given, wide, found = _tensors_of(model), _tensors_of(twin), {}
    for name, tensor in _tensors_of(module).items():
        other = given.get(name)
        if other is None or name not in wide or (other.shape, other.dtype) != (tensor.shape, tensor.dtype):
            continue
        if bool(torch.equal(other, tensor)):
            found[id(tensor)] = wide[name]
    return found


def _tensors_of(module: Any) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _widened(argument: Any) -> Any:
    """The tracer wrote down float32 where forward asks for a tensor's own dtype."""
    return torch.float64 if argument == torch.float32 else argument


def _does_not_run(feeds: Mapping[str, Array], error: Exception) -> BadInput:
    shapes = ", ".join(f"{name} {format_shape(array.shape)}" for name, array in feeds.items())
    return BadInput(f"PyTorch could not run the model with {shapes}: {_last_line(error)}")


def _layer_names(program: Any) -> dict[str, str]:
    """The module of each node, or the node's own name where that is the model itself."""
    return {name: name if path == ROOT else path for name, path in module_paths(program).items()}


def _tensors(feeds: Mapping[str, Array], dtype: torch.dtype) -> list[Tensor]:
    tensors = (torch.from_numpy(np.asarray(array)) for array in feeds.values())
    return [tensor.to(dtype) if tensor.is_floating_point() else tensor for tensor in tensors]


def _last_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()  # TorchScript puts its traceback before the message
    return f"{type(error).__name__}: {lines[-1][:300] if lines else 'no message'}"


class _Recorder(torch.fx.Interpreter):
    """Runs a graph and keeps the tensors of the named nodes that have a rank of at least 2."""

    def __init__(self, graph: Any, names: Collection[str]) -> None:
        super().__init__(graph, garbage_collect_values=True)
        self._names = names
        self.found: dict[str, Array] = {}

    def run_node(self, node: torch.fx.Node) -> Any:
        value = super().run_node(node)
        if node.name in self._names and isinstance(value, Tensor) and value.dim() >= 2:
            self.found[node.name] = value.numpy()
        return value
