"""Name a model's outputs after the keys and fields that forward returns them under, and record that structure.

    {"logits": y, "aux": {"mask": m, "count": 3}}   gives the outputs logits and aux.mask
    (y, [a, b])                                      gives output_0, output_1.0 and output_1.1

Constants are no outputs of the graph: the structure holds them (rectexport.runtime.package.structure). A number that
depends on the input's size is an output, int64 without axes.
"""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.export.exported_program import ExportedProgram, ModuleCallEntry, ModuleCallSignature
from torch.export.graph_signature import (
    ConstantArgument,
    ExportGraphSignature,
    InputSpec,
    OutputKind,
    OutputSpec,
    SymIntArgument,
    TensorArgument,
)
from torch.utils import _pytree as pytree

from rectexport.exporter.graph.names import unused
from rectexport.runtime.errors import BadInput, Option, UsageError
from rectexport.runtime.package.structure import is_constant, is_plain, renamed

#: Characters that a key keeps in an output's name; the others become underscores.
_FOREIGN = re.compile(r"[^\w./:-]")
_ADVICE = "return tensors in dicts, tuples, lists, named tuples or dataclasses"


@dataclasses.dataclass(frozen=True)
class Outputs:
    """Names of the outputs in the graph's order, and the structure around them, None for a tensor or plain tuple."""

    names: tuple[str, ...]
    structure: dict[str, Any] | None


@dataclasses.dataclass(frozen=True)
class _Leaf:
    """A tensor in the result, by its position among the outputs."""

    index: int


def program_outputs(model: str, program: ExportedProgram, inputs: Collection[str]) -> Outputs:
    """The outputs of a program, whose inputs have the names `inputs`. Raises BadInput where it returns no tensor.

    Their order is that of `tensor_outputs(program)`.
    """
    leaves: list[Any] = []
    count = 0
    for spec in _user_outputs(program.graph_signature):
        if isinstance(spec.arg, ConstantArgument):
            leaves.append(spec.arg.value)
        elif isinstance(spec.arg, TensorArgument | SymIntArgument):
            leaves.append(_Leaf(count))
            count += 1
        else:
            raise BadInput(
                f"{model}: output {spec.arg.name} is no tensor, but computed from sizes; return it as a tensor"
            )
    result = pytree.tree_unflatten(leaves, program.call_spec.out_spec)
    return _outputs(model, result, count, inputs)


def result_outputs(model: str, result: Any, inputs: Collection[str]) -> Outputs:
    """The outputs of a model that returned `result`; their order is that of the result. Raises BadInput as above."""
    leaves: list[_Leaf] = []

    def leaf(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        leaves.append(_Leaf(len(leaves)))
        return leaves[-1]

    return _outputs(model, pytree.tree_map(leaf, result), len(leaves), inputs)


def tensor_outputs(program: ExportedProgram) -> ExportedProgram:
    """The program with a flat tuple of tensors as its result, and every size among them as a tensor; else itself."""
    specs = _user_outputs(program.graph_signature)
    if all(isinstance(spec.arg, TensorArgument) for spec in specs):
        return program
    graph = copy.deepcopy(program.graph)
    output = next(node for node in reversed(graph.nodes) if node.op == "output")
    kept, results = [], []
    for spec, value in zip(program.graph_signature.output_specs, output.args[0], strict=True):
        if spec.kind == OutputKind.USER_OUTPUT and isinstance(spec.arg, ConstantArgument):
            continue
        if isinstance(spec.arg, SymIntArgument):
            value = _size_tensor(graph, output, value)
            spec = OutputSpec(spec.kind, TensorArgument(name=value.name), spec.target)
        kept.append(spec)
        results.append(value)
    output.args = (tuple(results),)
    signature = ExportGraphSignature(_copied(program.graph_signature.input_specs), kept)
    return ExportedProgram(
        root=program.graph_module,
        graph=graph,
        graph_signature=signature,
        state_dict=program.state_dict,
        range_constraints=program.range_constraints,
        module_call_graph=[_flat_call(program, kept)],
        example_inputs=program.example_inputs,
        constants=program.constants,
        verifiers=program.verifiers,
    )


def register_dataclasses(model: str, result: Any) -> None:
    """Tell torch about the dataclasses in a result, which it does not take apart by itself.

    Raises BadInput for an object of another kind, which holds tensors in a way that nobody can know.
    """
    for value in _objects(result):
        if not dataclasses.is_dataclass(value):
            raise BadInput(f"{model}: forward returns a {type(value).__qualname__}; {_ADVICE}")
        pytree.register_dataclass(type(value))


def asked_names(found: Sequence[str], asked: Sequence[str], inputs: Collection[str]) -> dict[str, str]:
    """New name by old name for names that were asked for. Raises UsageError where they do not fit."""
    if len(asked) != len(found):
        known = f": {len(asked)} names, the model has {len(found)} outputs: {', '.join(found)}"
        raise UsageError(Option("output_names", ",".join(asked)), known)
    for index, name in enumerate(asked):
        if not name.strip() or "|" in name:
            raise UsageError(Option("output_names"), f": {name!r:.100} cannot be a name; '|' is used in goldens.npz")
        if name in asked[:index] or name in inputs:
            owner = "an input" if name in inputs else "another output"
            raise UsageError(Option("output_names"), f": {name!r:.100} is the name of {owner}")
    return dict(zip(found, asked, strict=True))


def _user_outputs(signature: ExportGraphSignature) -> list[OutputSpec]:
    return [spec for spec in signature.output_specs if spec.kind == OutputKind.USER_OUTPUT]


def _copied(specs: Sequence[InputSpec]) -> list[InputSpec]:
    return [InputSpec(spec.kind, spec.arg, spec.target, spec.persistent) for spec in specs]


def _size_tensor(graph: Any, output: Any, size: Any) -> Any:
    """A node that turns a size into an int64 tensor without axes."""
    mode = next(value.fake_mode for node in graph.nodes if hasattr(value := node.meta.get("val"), "fake_mode"))
    with graph.inserting_before(output):
        node = graph.call_function(torch.ops.aten.scalar_tensor.default, (size,), {"dtype": torch.int64})
    with mode:
        node.meta["val"] = torch.empty((), dtype=torch.int64)
    return node


def _flat_call(program: ExportedProgram, kept: Sequence[OutputSpec]) -> ModuleCallEntry:
    entry = program.module_call_graph[0]
    old = entry.signature
    assert old is not None, "the first entry is the whole program's"
    outputs = [spec.arg for spec in kept if spec.kind == OutputKind.USER_OUTPUT]
    flat = pytree.tree_structure(tuple(range(len(outputs))))
    return ModuleCallEntry("", ModuleCallSignature(old.inputs, outputs, old.in_spec, flat, old.forward_arg_names))


def _objects(value: Any) -> Iterator[Any]:
    """Leaves that torch cannot take apart and that are neither tensors nor constants."""
    for leaf in pytree.tree_leaves(value):
        if dataclasses.is_dataclass(leaf):
            yield leaf
            yield from _objects([getattr(leaf, entry.name) for entry in dataclasses.fields(leaf)])
        elif not isinstance(leaf, torch.Tensor | bool | int | float | str | None):
            yield leaf


def _outputs(model: str, result: Any, count: int, inputs: Collection[str]) -> Outputs:
    if not count:
        raise BadInput(f"{model}: forward returns no tensor")
    paths: dict[int, str] = {}
    structure = _structure(model, result, "", paths)
    stem = "result" if any(name.startswith("output") for name in inputs) else "output"
    named = _names([paths[index] for index in range(count)], _holds_one(result), stem, inputs)
    structure = renamed(structure, {str(index): name for index, name in enumerate(named)})
    return Outputs(named, None if is_plain(structure) else structure)


def _structure(model: str, value: Any, path: str, paths: dict[int, str]) -> dict[str, Any]:
    """The structure with positions for names; `paths` gets the path of every tensor by its position."""
    if isinstance(value, _Leaf):
        paths[value.index] = path
        return {"output": str(value.index)}

    def inner(key: Any, entry: Any) -> dict[str, Any]:
        return _structure(model, entry, f"{path}.{key}" if path else _first(key), paths)

    if isinstance(value, Mapping):
        return {"dict": [[_key(model, key), inner(key, entry)] for key, entry in value.items()]}
    if hasattr(value, "_fields") or dataclasses.is_dataclass(value):
        names = getattr(value, "_fields", None) or [entry.name for entry in dataclasses.fields(value)]
        if hidden := next((name for name in names if name.startswith("_")), None):
            raise BadInput(f"{model}: forward returns a field {hidden}; name it without an underscore in front")
        fields = [[name, inner(name, getattr(value, name))] for name in names]
        return {"namedtuple": type(value).__name__, "fields": fields}
    if isinstance(value, list | tuple):
        counts = _numbered(value)
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [inner(counts[i] if not path else i, entry) for i, entry in enumerate(value)]}
    if is_constant(value):
        return {"value": value}
    if isinstance(value, float):
        raise BadInput(f"{model}: forward returns {value} beside its tensors; the manifest records finite numbers only")
    raise BadInput(f"{model}: forward returns a {type(value).__qualname__}; {_ADVICE}")


def _first(key: Any) -> str:
    """The path of an entry of the result itself; a number there is marked, and gets the stem in front of it."""
    return key if isinstance(key, str) else f"#{key}"


def _numbered(values: Sequence[Any]) -> list[int]:
    """The number of each entry; entries without a tensor, such as None, are not counted."""
    holds = [_holds_tensors(value) for value in values]
    return [sum(holds[:index]) for index in range(len(values))]


def _key(model: str, key: Any) -> str | int:
    if isinstance(key, str) or type(key) is int:
        return key
    raise BadInput(f"{model}: forward returns a dict with the key {key!r:.100}; expected texts or whole numbers")


def _holds_one(result: Any) -> bool:
    """Whether the result is a sequence with tensors in one entry only, whose number says nothing then."""
    if not isinstance(result, list | tuple) or hasattr(result, "_fields"):
        return False
    return sum(_holds_tensors(value) for value in result) == 1


def _holds_tensors(value: Any) -> bool:
    return any(isinstance(leaf, _Leaf) for leaf in pytree.tree_leaves(value))


def _names(paths: Sequence[str], single: bool, stem: str, inputs: Collection[str]) -> tuple[str, ...]:
    names: list[str] = []
    for path in paths:
        rest = path.partition(".")[2] if single else path
        name = f"{stem}_{rest[1:]}" if rest.startswith("#") else rest or stem
        name = _FOREIGN.sub("_", name)
        names.append(unused(f"{name}_output" if name in inputs else name, {*names, *inputs}))
    return tuple(names)
