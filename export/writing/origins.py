"""origins.json: the PyTorch module and the pass that each node of a package's models comes from.

An engine reports the time of its own layers, named after ONNX nodes. With this document `rectexport profile` adds the
times up by module and by pass, where neither ONNX nor PyTorch is installed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from onnx import ModelProto, NodeProto

from rectexport.exporter.graph.results import Pass, PassResult
from rectexport.exporter.writing.neighbourhood import operator
from rectexport.exporter.writing.work import INPUT, work_of

FORMAT = "rectexport-origins"
VERSION = 1
#: What stands as the pass of a node that quantization added, which is a stage and not a pass.
INT8 = "int8"

#: What identifies a node across passes: its operator and its outputs.
_Key = tuple[str, tuple[str, ...]]


@dataclass(frozen=True)
class Origin:
    """module: path of the PyTorch module, "" outside of any; made_by: the pass, "" for a node as it was traced."""

    module: str = ""
    made_by: str = ""


@dataclass
class Origins:
    """Follows the nodes of one model through its passes.

    modules: PyTorch module by the name of a traced tensor; empty for an ONNX file, which has none.
    """

    modules: Mapping[str, str] = field(default_factory=dict)
    _known: dict[_Key, Origin] = field(default_factory=dict)

    def start(self, model: ModelProto) -> None:
        """Note the nodes of the traced model."""
        self._known = _settled(model, {}, self.modules, "")

    def watched(self, entry: Pass) -> Pass:
        """The same pass, which also records the nodes that it makes."""

        def run(model: ModelProto) -> tuple[ModelProto, PassResult]:
            rewritten, result = entry.run(model)
            if rewritten is not model:
                self._known.update(_settled(rewritten, self._known, self._modules_of(model), entry.name))
            return rewritten, result

        return replace(entry, run=run, parts=tuple(map(self.watched, entry.parts)))

    def keep(self, results: Sequence[PassResult]) -> None:
        """Forget nodes made by passes that the guard has skipped, or has run in parts."""
        kept = {"", *(entry.name for entry in results if not entry.skipped)}
        self._known = {key: origin for key, origin in self._known.items() if origin.made_by in kept}

    def rows(self, model: ModelProto, stage: str = "") -> list[dict[str, Any]]:
        """The document's nodes of a model. stage: what made the nodes that no pass has seen."""
        known = _settled(model, self._known, {**self.modules, **self._tensor_modules()}, stage)
        constants = {entry.name: entry for entry in model.graph.initializer}
        found = []
        for node in model.graph.node:
            origin, work = known[_key(node)], work_of(node, constants)
            row = {
                "name": node.name,
                "op": operator(node),
                "inputs": [name for name in node.input if name and name not in constants],
                "outputs": [name for name in node.output if name],
                "module": origin.module,
                "pass": origin.made_by,
                "operations": work.operations,
                "weights": work.weights,
            }
            found.append({**row, "per": INPUT} if work.per == INPUT else row)
        return found

    def _modules_of(self, model: ModelProto) -> dict[str, str]:
        """Module by tensor of a model on its way, with the traced names, after which new tensors are named."""
        made = {name: self._known[key].module for node in model.graph.node if (key := _key(node)) in self._known
                for name in node.output}  # fmt: skip
        return {**self.modules, **made}

    def _tensor_modules(self) -> dict[str, str]:
        return {name: origin.module for (_, outputs), origin in self._known.items() for name in outputs}


def document(models: Mapping[str, list[dict[str, Any]]], modules: Mapping[str, str]) -> dict[str, Any]:
    """The document of origins.json, from the rows of each model file and the modules of traced tensors."""
    files = {file: {"nodes": rows} for file, rows in models.items()}
    return {"format": FORMAT, "version": VERSION, "models": files, "traced": dict(modules)}


def _key(node: NodeProto) -> _Key:
    return operator(node), tuple(node.output)


def _settled(
    model: ModelProto, known: Mapping[_Key, Origin], modules: Mapping[str, str], made_by: str
) -> dict[_Key, Origin]:
    """The origin of every node: as known, else made by `made_by` in the module of its tensors or neighbours.

    A tensor made by a pass keeps the name of the one that it replaces, or has that name with a suffix. What has neither
    belongs to the node that reads it, else to the one that it reads.
    """
    nodes = list(model.graph.node)
    found = {_key(node): known[_key(node)] for node in nodes if _key(node) in known}
    module: dict[str, str] = {name: entry.module for (_, outputs), entry in found.items() for name in outputs}
    new = [node for node in nodes if _key(node) not in found]
    for node in new:
        # An output of the model has a name of its own; its node is called after the traced one.
        names = (*node.output, node.name.removeprefix("node_"))
        named = next((place for name in names if (place := _named(name, modules))), "")
        if named:
            module.update(dict.fromkeys(node.output, named))
    readers = _readers(nodes)
    for sequence, beside in ((reversed(new), readers), (new, _read)):
        for node in sequence:
            if not any(module.get(name) for name in node.output):
                near = next((module[other] for other in beside(node) if module.get(other)), "")
                if near:
                    module.update(dict.fromkeys(node.output, near))
    for node in new:
        path = next((module[name] for name in node.output if module.get(name)), "")
        found[_key(node)] = Origin(path, made_by)
    return found


def _named(tensor: str, modules: Mapping[str, str]) -> str:
    """The module of the longest known name that the tensor's begins with; "" if there is none."""
    name = tensor
    while name:
        if modules.get(name):
            return modules[name]
        name = name.rpartition(".")[0]
    return ""


def _readers(nodes: Sequence[NodeProto]) -> Callable[[NodeProto], list[str]]:
    """From a node to the outputs of the nodes that read it."""
    by_input: dict[str, list[NodeProto]] = {}
    for node in nodes:
        for name in node.input:
            by_input.setdefault(name, []).append(node)
    return lambda node: [made for name in node.output for reader in by_input.get(name, ()) for made in reader.output]


def _read(node: NodeProto) -> list[str]:
    return list(node.input)
