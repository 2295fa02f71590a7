"""Reads from ONNX Runtime's profile of a run which provider ran each node."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Operators that compute shapes, and rectification maps from shapes. ONNX Runtime runs them on the CPU on purpose:
#: launching a kernel costs more than computing a few numbers.
SHAPE_OPERATORS = frozenset(
    {
        "Abs",
        "Add",
        "And",
        "Cast",
        "Clip",
        "Concat",
        "ConstantOfShape",
        "Div",
        "Equal",
        "Expand",
        "Flatten",
        "Floor",
        "Gather",
        "Greater",
        "GreaterOrEqual",
        "Identity",
        "Less",
        "LessOrEqual",
        "Max",
        "Min",
        "Mod",
        "Mul",
        "Neg",
        "Not",
        "Or",
        "Pow",
        "Range",
        "Reciprocal",
        "ReduceProd",
        "Reshape",
        "Shape",
        "Size",
        "Slice",
        "Split",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Transpose",
        "Unsqueeze",
        "Where",
    }
)


@dataclass(frozen=True)
class Placed:
    """A node that ran: its name, operator, provider, and the shapes of its outputs."""

    name: str
    operator: str
    provider: str
    outputs: tuple[tuple[int, ...], ...]

    @property
    def computes_shapes(self) -> bool:
        """Whether it may be part of computing shapes: an operator of SHAPE_OPERATORS without batch or channels."""
        small = all(len(shape) < 3 or shape[0] * shape[1] <= 1 for shape in self.outputs)
        return self.operator in SHAPE_OPERATORS and small


def read_profile(path: Path) -> list[Placed]:
    """The nodes in a profile file of ONNX Runtime, in the order they ran."""
    events = json.loads(path.read_text(encoding="utf-8"))
    return [_placed(event) for event in events if event.get("cat") == "Node" and "provider" in event.get("args", {})]


def astray(nodes: Iterable[Placed], provider: str) -> list[Placed]:
    """The nodes that ran on another provider and do more than compute shapes."""
    return [node for node in nodes if node.provider != provider and not node.computes_shapes]


def _placed(event: dict[str, Any]) -> Placed:
    arguments = event["args"]
    outputs = [tuple(shape) for entry in arguments.get("output_type_shape", ()) for shape in entry.values()]
    name = event["name"].removesuffix("_kernel_time")
    return Placed(name, arguments.get("op_name", "?"), arguments["provider"], tuple(outputs))
