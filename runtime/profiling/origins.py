"""Reads origins.json: the PyTorch module, the pass and the work of each ONNX node of a package."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from rectexport.runtime.base.reading import read_bounded
from rectexport.runtime.errors import BadInput
from rectexport.runtime.package.folder import ORIGINS, Package

FORMAT, VERSION = "rectexport-origins", 1
MAX_BYTES = 256 << 20
#: Module of a node that no module is known for, as in a model that came as an ONNX file.
UNKNOWN = ""


@dataclass(frozen=True)
class Node:
    """An ONNX node.

    inputs      tensors that it reads, without constants
    module      path of the PyTorch module; "." for the model itself, "" where none is known
    made_by     the pass that made it, "" for a node as it was traced
    operations  floating-point operations for each element of its output, or of its first input where per_input
    weights     bytes of the constants that it reads
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    module: str = UNKNOWN
    made_by: str = ""
    operations: int = 0
    per_input: bool = False
    weights: int = 0


@dataclass(frozen=True)
class Graph:
    """The nodes of one model file, in order; traced: module by tensor of the traced program."""

    nodes: Sequence[Node] = ()
    traced: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def by_name(self) -> Mapping[str, int]:
        """Index of a node by its name and by each of its outputs; names of nodes come first.

        A node without a name has the one that ONNX Runtime gives it: its operator and its place in the file.
        """
        found = {name: index for index, node in enumerate(self.nodes) for name in node.outputs}
        names = (node.name or f"{node.op}_{index}" for index, node in enumerate(self.nodes))
        return {**found, **{name: index for index, name in enumerate(names)}}

    @cached_property
    def makers(self) -> Mapping[str, int]:
        """Index of the node that makes a tensor."""
        return {name: index for index, node in enumerate(self.nodes) for name in node.outputs}


def read_graph(package: Package, engine: str) -> Graph:
    """The nodes of the file that an engine takes; an empty graph for a package without origins.json.

    Raises BadInput for a document that is not as an export writes it.
    """
    if ORIGINS not in package.manifest.files:
        return Graph()
    path = package.path / ORIGINS
    try:
        document = json.loads(read_bounded(path, MAX_BYTES))
        if document["format"] != FORMAT or document["version"] != VERSION:
            raise ValueError(f"it is {document['format']!r}, version {document['version']!r}")
        rows = document["models"][package.model_name(engine)]["nodes"]
        traced = {str(tensor): str(module) for tensor, module in document.get("traced", {}).items()}
        return Graph(tuple(_node(row) for row in rows), traced)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise BadInput(
            f"{path}: expected {FORMAT} version {VERSION} as an export writes it; {str(error)[:200]}; "
            "export the package again"
        ) from None


def _node(row: Any) -> Node:
    return Node(
        name=str(row["name"]),
        op=str(row["op"]),
        inputs=tuple(str(name) for name in row["inputs"]),
        outputs=tuple(str(name) for name in row["outputs"]),
        module=str(row["module"]),
        made_by=str(row["pass"]),
        operations=int(row["operations"]),
        per_input=row.get("per") == "input",
        weights=int(row["weights"]),
    )
