"""Remove the factor r from a package's network, to measure what rectification costs.

Given    z = r·conv(x; W, c) + b, in any form that lowering or another exporter gives it
Result   z = conv(x; W, c + b)
Not when there is no rectification, a factor depends on more than sizes, or other nodes would change

All other nodes stay as they are in the package: nothing is lowered again. Our own exports name the multiplication by
r (`rectification.SCALE_PREFIX`), and unrectify.py removes it in each of its forms. Other multiplications by an r are
found by raising (raise_rectification), as in any ONNX graph.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnx_graphsurgeon as gs
from onnx import ModelProto, checker

from rectexport.exporter.graph.dialect import RECTIFIES
from rectexport.exporter.graph.surgeon import close_graph, dialect_nodes, open_graph
from rectexport.exporter.passes.raising import rectification
from rectexport.exporter.passes.rectification import SCALE_PREFIX
from rectexport.exporter.tools.unrectify import SIZE_OPERATORS, copies_of_r, remove_own, remove_rectify
from rectexport.exporter.writing.package_writer import write_json
from rectexport.exporter.writing.shared_data import write_models
from rectexport.runtime.base.files import sha256
from rectexport.runtime.errors import BadInput
from rectexport.runtime.package.folder import Package
from rectexport.runtime.package.manifest import FILE_NAME


@dataclass(frozen=True)
class PlainTwin:
    """A model without rectification, how many were removed, and its number of nodes before and after."""

    model: ModelProto
    rectifications: int
    nodes: tuple[int, int]

    @property
    def description(self) -> str:
        """For people."""
        before, after = self.nodes
        plural = "s" * (self.rectifications != 1)
        return f"{self.rectifications} rectification{plural} removed, {before} nodes before, {after} after"


def plain_twin(model: ModelProto) -> PlainTwin:
    """A copy without rectification. Raises BadInput when there is none, or when it cannot be removed alone."""
    graph = open_graph(model)
    own = [node for node in graph.nodes if node.name.startswith(SCALE_PREFIX)]
    tails = len({id(copies) for node in own if (copies := copies_of_r(node)) is not None})
    for node in own:
        tails += remove_own(graph, node)
    raised, _ = rectification.run(close_graph(graph, model))
    graph = open_graph(raised)
    foreign = list(dialect_nodes(graph, *RECTIFIES.values()))
    for node in foreign:
        remove_rectify(graph, node)
    if not own and not foreign:
        raise BadInput("--plain-twin: the model has no rectification to remove")
    twin = close_graph(graph, raised)
    _check_rest(model, twin, tails)
    checker.check_model(twin)
    return PlainTwin(twin, len(own) + len(foreign), (len(model.graph.node), len(twin.graph.node)))


def write_plain_twin(package: Package, folder: Path) -> tuple[Package, str]:
    """Write a package's plain twin as a package into `folder`, which exists; returns it and what was removed.

    It has the package's manifest and a twin of each engine's model, but no goldens and no engine plan, since its
    outputs differ. The text is of model.onnx. Raises as plain_twin does, and BadInput when a model cannot be read.
    """
    names = dict.fromkeys([package.model_file.name, *package.manifest.models.values()])
    twins = {name: plain_twin(_read(package.path / name)) for name in names}
    write_models(folder, {name: twin.model for name, twin in twins.items()}, {"rectexport.description": "plain twin"})
    files = {path.name: sha256(path) for path in sorted(folder.iterdir())}
    write_json(folder / FILE_NAME, {**package.manifest.data, "files": files})
    return Package.open(folder), twins[package.model_file.name].description


def _read(path: Path) -> ModelProto:
    try:
        return onnx.load(path)
    except Exception as error:
        raise BadInput(f"{path}: not an ONNX file: {error}") from None


def _check_rest(model: ModelProto, twin: ModelProto, tails: int) -> None:
    """Raises BadInput when anything but rectification has changed."""
    before, after = _forms(model), _forms(twin)
    gone = Counter[str]()
    for (op, *_), count in (before - after).items():
        gone[op] += count
    changed = {op for op, *_ in after - before} | (set(gone) - SIZE_OPERATORS - {"Conv"})
    if changed or gone["Conv"] != tails:
        names = ", ".join(sorted(changed)) or "Conv"
        raise BadInput(f"--plain-twin: removing the rectifications would also change {names}")


def _forms(model: ModelProto) -> Counter[tuple[Any, ...]]:
    """Every node as operator, attributes and shape of its weight, without names and a convolution's bias."""
    return Counter(
        (
            node.op,
            tuple(sorted((name, str(value)) for name, value in node.attrs.items() if name != "value")),
            tuple(node.inputs[1].shape) if node.op == "Conv" and isinstance(node.inputs[1], gs.Constant) else None,
        )
        for node in open_graph(model).nodes
    )
