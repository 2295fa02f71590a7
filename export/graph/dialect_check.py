"""Check the dialect nodes and functions of a file: they must agree with the dialect of this release."""

from __future__ import annotations

from collections.abc import Iterator

from onnx import FunctionProto, ModelProto, NodeProto

from rectexport.exporter.graph import dialect

#: How many values a list of ints has.
_LENGTHS = {"splits": 4}
#: How many it has for each axis of a window.
_PER_AXIS = {"kernel_shape": 1, "strides": 1, "dilations": 1, "pads": 2}
_SYMMETRIC_PADS = 16
_MOST_AXES = 3
#: The largest kernel, stride, pad or split; the passes make arrays of such sizes.
_LARGEST = 1 << 16


def dialect_faults(model: ModelProto, nodes: list[NodeProto]) -> Iterator[str]:
    """What is wrong with the dialect's nodes and functions of a model."""
    opset = dialect.default_opset(model)
    for body in model.functions:
        if body.domain == dialect.DOMAIN and not _is_ours(body, opset):
            yield f"it has a function {dialect.DOMAIN}.{body.name:.100} of its own, which is not this release's"
    for node in nodes:
        if node.domain == dialect.DOMAIN and (fault := _node_fault(node)):
            yield f"{dialect.DOMAIN}.{node.op_type:.100} {node.name:.100}: {fault}"


def _is_ours(body: FunctionProto, opset: int) -> bool:
    if body.name not in dialect.BODIES:
        return False
    wanted = dialect.function(body.name, opset)
    same = (list(body.input), list(body.output)) == (list(wanted.input), list(wanted.output))
    same = same and list(body.attribute_proto) == list(wanted.attribute_proto)
    return same and [_bare(node) for node in body.node] == [_bare(node) for node in wanted.node]


def _bare(node: NodeProto) -> tuple[str, str, list[str], list[str], list[bytes]]:
    """A node without its name and documentation, which tools add."""
    attributes = sorted(entry.SerializeToString(deterministic=True) for entry in node.attribute)
    return node.domain, node.op_type, list(node.input), list(node.output), attributes


def _node_fault(node: NodeProto) -> str | None:
    if node.op_type not in dialect.SIGNATURES:
        return "no such operator"
    inputs, _, kinds = dialect.SIGNATURES[node.op_type]
    if len(node.input) != len(inputs) or len(node.output) != 1:
        return f"expected {len(inputs)} inputs and an output"
    found = {entry.name: entry.type for entry in node.attribute}
    if {name: kinds[name] for name in dialect.DEFAULTS if name in kinds} | found != kinds:
        return f"expected attributes {', '.join(kinds)}"
    if node.op_type == "MaskedCount":
        return _count_fault(dialect.attributes(node))
    if node.op_type == "BoundaryPad":
        return _boundary_fault(dialect.attributes(node))
    for name, value in dialect.attributes(node).items():
        values = value if isinstance(value, tuple) else (value,)
        length = _SYMMETRIC_PADS if (node.op_type, name) == ("SymmetricPad", "pads") else _length(node.op_type, name)
        least = -4 if name == "axis" else int(name in ("kernel_shape", "strides", "dilations", "numerator"))
        if len(values) != length or not all(least <= entry <= _LARGEST for entry in values):
            return f"{name}: expected {length} ints of {least}..{_LARGEST}"
    return None


def _length(operator: str, name: str) -> int:
    named = (*dialect.RECTIFIES.items(), *dialect.RECTIFICATION_MAPS.items())
    axes = {entry: count for count, entry in named}.get(operator, 1)
    return axes * _PER_AXIS[name] if name in _PER_AXIS else _LENGTHS.get(name, 1)


def _count_fault(values: dict[str, tuple[int, ...]]) -> str | None:
    axes = len(values["kernel_shape"])
    for name, sides in _PER_AXIS.items():
        least = int(name != "pads")
        if len(values[name]) != axes * sides or not all(least <= entry <= _LARGEST for entry in values[name]):
            return f"{name}: expected {axes * sides} ints of {least}..{_LARGEST}"
    return None if 1 <= axes <= _MOST_AXES else f"kernel_shape: expected 1..{_MOST_AXES} ints, got {axes}"


def _boundary_fault(values: dict[str, tuple[int, ...]]) -> str | None:
    modes, pads = values["modes"], values["pads"]
    if not 1 <= len(modes) <= _MOST_AXES or len(pads) != 2 * len(modes):
        return f"expected 1..{_MOST_AXES} modes and twice as many pads, got {len(modes)} and {len(pads)}"
    if not all(0 <= mode < len(dialect.BORDERS) for mode in modes):
        return f"modes: expected ints of 0..{len(dialect.BORDERS) - 1}"
    if not all(0 <= pad <= _LARGEST for pad in pads):
        return f"pads: expected ints of 0..{_LARGEST}"
    if any(mode in (dialect.POLES, dialect.POLE_POINTS) for mode in (*modes[:-2], modes[-1])):
        return "modes: a pole border belongs to the axis before the last"
    return None
