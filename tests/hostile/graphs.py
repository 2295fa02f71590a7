"""ONNX files with faults that no exporter makes: each is exported, optimized and examined."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from tests.hostile.case import DOCTOR, EXPORT, OPTIMIZE, Case, Write

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
ANY = (0, 1, 2, 3)
ESCAPES = {
    "escape": "\x1b]0;owned\x07\x1b[2J\x1b[31m",
    "newlines": "a\r\nPASSED\nerror: b",
    "direction": "\u202egnp.exe",
    "markup": "[red]a[/]b[/red][link=x]",
    "zalgo": "a" + "\u0300" * 1000,
    "quotes": "'\"`$(touch canary);`touch canary`",
    "format": "%s{0}{x!r}\\x1b",
    "path": "../../canary",
    "empty": "",
    "long": "n" * 100_000,
    "emoji": "\U0001f600",
}


def cases() -> Iterator[Case]:
    """All cases, each with the three commands that read ONNX."""
    for name, (model, codes, says) in _table().items():
        for words in (EXPORT, OPTIMIZE, DOCTOR):
            if words is not EXPORT and codes == (1,) and not says:
                # doctor runs nothing, and may find nothing wrong; optimize leaves alone what no pass touches
                yield Case(f"{name}.onnx", _saved(model), words, ANY)
            else:
                yield Case(f"{name}.onnx", _saved(model), words, codes, says)
    for name, (model, says) in _places().items():
        for words in (EXPORT, OPTIMIZE, DOCTOR):
            yield Case(f"place-{name}.onnx", _saved(model), words, says=(says,) if says else ())


def _table() -> dict[str, tuple[ModelProto | bytes, Sequence[int], tuple[str, ...]]]:
    bad, fine = (1,), (0,)
    table: dict[str, tuple[ModelProto | bytes, Sequence[int], tuple[str, ...]]] = {
        "cycle": (_model([_node("Add", "x b", "a"), _node("Relu", "a", "b"), _node("Relu", "b", "y")]), bad, ()),
        "self-cycle": (_model([_node("Add", "x y", "y")]), bad, ()),
        "undefined": (_model([_node("Add", "x nowhere", "y")]), bad, ()),
        "no-weight": (_model([_node("Conv", "x w", "y")]), bad, ()),
        "twice": (_model([_node("Relu", "x", "y"), _node("Neg", "x", "y")]), bad, ()),
        "twice-weight": (_model([_node("Mul", "x w", "y")], w=np.ones(1), w_=np.ones(1)), ANY, ()),
        "no-output": (_model([_node("Relu", "x", "z")]), bad, ()),
        "no-node": (_model([]), bad, ()),
        "unknown-operator": (_model([_node("Explode", "x", "y")]), bad, ()),
        "unknown-domain": (_model([helper.make_node("Explode", ["x"], ["y"], domain="com.evil")]), bad, ()),
        "no-input-name": (_model([_node("Conv", " w", "y")]), bad, ()),
        "too-many-inputs": (_model([_node("Relu", "x x x", "y")]), bad, ()),
        "wrong-attribute": (
            _model([helper.make_node("Conv", ["x", "w"], ["y"], pads=[1 << 40] * 4)], w=WEIGHT),
            bad,
            (),
        ),
        "negative-pads": (
            _model([helper.make_node("Conv", ["x", "w"], ["y"], pads=[-(1 << 62)] * 4)], w=WEIGHT),
            bad,
            (),
        ),
        "zero-strides": (_model([helper.make_node("Conv", ["x", "w"], ["y"], strides=[0, 0])], w=WEIGHT), bad, ()),
        "zero-groups": (_model([helper.make_node("Conv", ["x", "w"], ["y"], group=0)], w=WEIGHT), bad, ()),
        "huge-groups": (_model([helper.make_node("Conv", ["x", "w"], ["y"], group=1 << 62)], w=WEIGHT), bad, ()),
        "short-pads": (_model([helper.make_node("Conv", ["x", "w"], ["y"], pads=[1])], w=WEIGHT), bad, ()),
        "text-attribute": (
            _model([helper.make_node("Conv", ["x", "w"], ["y"], auto_pad="\x1b[2J")], w=WEIGHT),
            bad,
            (),
        ),
        "float-strides": (_model([helper.make_node("Conv", ["x", "w"], ["y"], strides=[1.5, 1.5])], w=WEIGHT), bad, ()),
        "opset-0": (_model([_node("Relu", "x", "y")], opset=0), bad, ()),
        "opset-huge": (_model([_node("Relu", "x", "y")], opset=1 << 40), bad, ()),
        "opset-negative": (_model([_node("Relu", "x", "y")], opset=-5), bad, ()),
        "no-opset": (_without(_model([_node("Relu", "x", "y")]), "opset_import"), bad, ()),
        "ir-huge": (_with(_model([_node("Relu", "x", "y")]), ir_version=1 << 40), bad, ()),
        "ir-zero": (_without(_model([_node("Relu", "x", "y")]), "ir_version"), bad, ()),
        "huge-input": (_model([_node("Relu", "x", "y")], shape=[1 << 40]), bad, ()),
        "huge-product": (_model([_node("Relu", "x", "y")], shape=[1 << 16] * 4), bad, ()),
        "overflow": (_model([_node("Relu", "x", "y")], shape=[1 << 62, 1 << 62]), bad, ()),
        "wide": (_model([_node("Relu", "x", "y")], shape=[1] * 5000), bad, ()),
        "negative-input": (_model([_node("Relu", "x", "y")], shape=[1, -1, 8, 8]), ANY, ()),
        "zero-input": (_model([_node("Relu", "x", "y")], shape=[1, 0, 8, 8]), ANY, ()),
        "text-input": (_model([_node("Identity", "x", "y")], kind=TensorProto.STRING), bad, ()),
        "strange-type": (_model([_node("Relu", "x", "y")], kind=999), bad, ()),
        "no-type": (_untyped(), bad, ()),
        "sequence-input": (_sequence(), bad, ()),
        "short-weight": (_weight(dims=[4, 1, 3, 3], raw_data=b"1234"), bad, ()),
        "huge-weight": (_weight(dims=[1 << 40], raw_data=b"1234"), bad, ()),
        "overflow-weight": (_weight(dims=[1 << 32, 1 << 32], raw_data=b""), bad, ()),
        "negative-weight": (_weight(dims=[-1], raw_data=b""), bad, ()),
        "double-weight": (_weight(dims=[1], raw_data=b"1234", float_data=[1.0]), bad, ()),
        "typeless-weight": (_weight(dims=[1], raw_data=b"1234", data_type=0), bad, ()),
        "sparse-weight": (_sparse(), bad, ()),
        "nan": (_conv(np.nan), ANY, ()),
        "infinite": (_conv(np.inf), ANY, ()),
        "denormal": (_conv(1e-42), fine, ()),
        "constant-bomb": (_filled([1 << 40]), ANY, ()),
        "constant-bomb-some": (_filled([1 << 30]), ANY, ()),
        "constant-bomb-negative": (_filled([-1]), bad, ()),
        "range-bomb": (_range(), ANY, ()),
        "expand-bomb": (_expanded("Expand", [1 << 36]), ANY, ()),
        "tile-bomb": (_expanded("Tile", [1 << 36]), ANY, ()),
        "outer-bomb": (_outer(), ANY, ()),
        "pad-bomb": (_padded(), ANY, ()),
        "reshape": (_expanded("Reshape", [-1, -1]), bad, ()),
        "branches-500": (_raw_branches(500), bad, ()),
        "branches-10000": (_raw_branches(10_000), bad, ()),
        "branches-20": (_branches(20), ANY, ()),
        "chain-1000": (_chain(1000), ANY, ()),
        "loop-without-end": (_loop(0), ANY, ()),
        "function-recursion": (_functions({"F": "F"}), bad, ("calls itself",)),
        "function-ring": (_functions({"F": "G", "G": "H", "H": "F"}), bad, ("calls itself",)),
        "function-doubling": (_doubling(40), bad, ()),
        "function-twice": (_function_twice(), bad, ("two functions",)),
        "function-spoofed": (_spoofed(), ANY, ()),
        "dialect-without-body": (_dialect("Rectify", "x x x"), ANY, ()),
        "dialect-unknown": (_dialect("Owned", "x"), bad, ()),
        "dialect-map": (_dialect("SymmetricPad", "x", splits=[1 << 40] * 4, pads=[1] * 16), ANY, ()),
        "dialect-short": (_dialect("SymmetricPad", "x", splits=[1], pads=[1]), bad, ()),
        "dialect-axis": (_dialect("CRelu", "x", axis=1 << 40), bad, ()),
        "dialect-text": (_dialect("CRelu", "x", axis="a"), bad, ()),
        "dialect-window": (_dialect("Rectify", "x x w", **WINDOW, numerator=9, empty_bias=0), ANY, ()),
        "dialect-window-zero": (
            _dialect("Rectify", "x x w", **{**WINDOW, "dilations": [0, 0]}, numerator=9, empty_bias=0),
            ANY,
            (),
        ),
        "garbage": (b"\xff" * 1000, bad, ()),
        "nothing": (b"", bad, ()),
        "text": (b"not a model", bad, ()),
        "length-lie": (b"\x3a\xff\xff\xff\xff\x0f" + bytes(100), bad, ()),
    }
    for name, text in ESCAPES.items():
        table[f"name-{name}"] = (_named(text), ANY, ())
    return table


WEIGHT = np.random.default_rng(0).standard_normal((2, 1, 3, 3)).astype(np.float32)
WINDOW = {"kernel_shape": [3, 3], "strides": [1, 1], "pads": [1, 1, 1, 1], "dilations": [1, 1]}


def _node(operator: str, inputs: str, outputs: str) -> NodeProto:
    return helper.make_node(operator, inputs.split(" "), outputs.split(" "), name=f"{operator}_{outputs}")


def _model(
    nodes: list[NodeProto],
    opset: int = 18,
    shape: Sequence[Any] = (1, 1, 8, 8),
    kind: int = FLOAT,
    **weights: np.ndarray[Any, Any],
) -> ModelProto:
    values = [
        helper.make_tensor_value_info(name, kind, sizes) for name, sizes in (("x", shape), ("y", [None] * len(shape)))
    ]
    stored = [
        numpy_helper.from_array(value.astype(value.dtype if value.dtype == np.int64 else np.float32), name.rstrip("_"))
        for name, value in weights.items()
    ]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def _with(model: ModelProto, **fields: Any) -> ModelProto:
    for name, value in fields.items():
        setattr(model, name, value)
    return model


def _without(model: ModelProto, field: str) -> ModelProto:
    model.ClearField(field)
    return model


def _untyped() -> ModelProto:
    model = _model([_node("Relu", "x", "y")])
    model.graph.input[0].ClearField("type")
    return model


def _sequence() -> ModelProto:
    model = _model([_node("SequenceAt", "x i", "y")], i=np.array(0))
    model.graph.input[0].CopyFrom(helper.make_tensor_sequence_value_info("x", FLOAT, [1]))
    return model


def _weight(**fields: Any) -> ModelProto:
    model = _model([_node("Mul", "x w", "y")])
    model.graph.initializer.append(TensorProto(**{"name": "w", "data_type": FLOAT, **fields}))
    return model


def _sparse() -> ModelProto:
    model = _model([_node("Mul", "x w", "y")])
    sparse = model.graph.sparse_initializer.add()
    sparse.values.CopyFrom(helper.make_tensor("w", FLOAT, [1], [1.0]))
    sparse.indices.CopyFrom(helper.make_tensor("i", INT64, [1], [1 << 50]))
    sparse.dims.append(1 << 60)
    return model


def _conv(value: float) -> ModelProto:
    weight = WEIGHT.copy()
    weight.flat[0] = value
    return _model([_node("Conv", "x w", "y")], w=weight)


def _filled(shape: list[int]) -> ModelProto:
    nodes = [_node("ConstantOfShape", "s", "c"), _node("ReduceSum", "c", "t"), _node("Add", "x t", "y")]
    return _model(nodes, s=np.array(shape, np.int64))


def _range() -> ModelProto:
    nodes = [
        _node("Range", "a b d", "c"),
        _node("ReduceSum", "c", "t"),
        _node("Cast", "t", "f"),
        _node("Add", "x f", "y"),
    ]
    nodes[2].attribute.append(helper.make_attribute("to", FLOAT))
    a, b, d = (np.array(value, np.int64) for value in (0, 1 << 40, 1))
    return _model(nodes, a=a, b=b, d=d)


def _expanded(operator: str, sizes: list[int]) -> ModelProto:
    nodes = [_node(operator, "w s", "c"), _node("ReduceSum", "c", "t"), _node("Add", "x t", "y")]
    return _model(nodes, w=np.ones(1), s=np.array(sizes, np.int64))


def _outer() -> ModelProto:
    nodes = [_node("Mul", "a b", "c"), _node("ReduceSum", "c", "t"), _node("Add", "x t", "y")]
    return _model(nodes, a=np.ones((1 << 18, 1)), b=np.ones((1, 1 << 18)))


def _padded() -> ModelProto:
    nodes = [_node("Pad", "x p", "c"), _node("Conv", "c w", "y")]
    return _model(nodes, p=np.array([0, 0, 1 << 20, 1 << 20] * 2, np.int64), w=WEIGHT)


def _branches(depth: int) -> ModelProto:
    graph = _leaf("b0")
    for level in range(1, depth):
        node = helper.make_node("If", ["c"], [f"b{level}"], then_branch=graph, else_branch=_leaf(f"b{level - 1}"))
        graph = helper.make_graph(
            [node], f"g{level}", [], [helper.make_tensor_value_info(f"b{level}", FLOAT, [None] * 4)]
        )
    node = helper.make_node("If", ["c"], ["y"], then_branch=graph, else_branch=_leaf("z"))
    model = _model([node])
    model.graph.initializer.append(helper.make_tensor("c", TensorProto.BOOL, [], [True]))
    return model


def _leaf(name: str) -> GraphProto:
    return helper.make_graph(
        [_node("Relu", "x", name)], name, [], [helper.make_tensor_value_info(name, FLOAT, [None] * 4)]
    )


def _raw_branches(depth: int) -> bytes:
    """Node in attribute in graph in node …, written by hand: protobuf would not."""
    body = b""
    for _ in range(depth):
        attribute = b"\x0a\x01a\x32" + _varint(len(body)) + body + b"\xa0\x01\x05"  # name, g, type GRAPH
        node = b"\x22\x02If\x2a" + _varint(len(attribute)) + attribute
        body = b"\x0a" + _varint(len(node)) + node
    return b"\x08\x0a\x3a" + _varint(len(body)) + body


def _varint(value: int) -> bytes:
    found = b""
    while value > 127:
        found, value = found + bytes([value & 127 | 128]), value >> 7
    return found + bytes([value])


def _chain(length: int) -> ModelProto:
    names = ["x", *(f"t{index}" for index in range(length - 1)), "y"]
    return _model([_node("Neg", a, b) for a, b in itertools.pairwise(names)])


def _loop(trips: int) -> ModelProto:
    """A loop without iterations whose condition stays true; an endless loop would run forever."""
    kinds = {"i": (INT64, []), "c": (TensorProto.BOOL, []), "v": (FLOAT, [None] * 4)}
    values = [helper.make_tensor_value_info(name, *kind) for name, kind in kinds.items()]
    outputs = [helper.make_tensor_value_info(f"{name}2", *kinds[name]) for name in "cv"]
    body = helper.make_graph([_node("Identity", "c", "c2"), _node("Add", "v v", "v2")], "body", values, outputs)
    node = helper.make_node("Loop", ["m", "", "x"], ["y"], body=body)
    return _model([node], m=np.array(trips, np.int64))


def _functions(calls: dict[str, str]) -> ModelProto:
    model = _model([helper.make_node(next(iter(calls)), ["x"], ["y"], domain="f")])
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("f", 1)]
    for name, called in calls.items():
        body = [helper.make_node(called, ["a"], ["b"], domain="f")]
        model.functions.append(helper.make_function("f", name, ["a"], ["b"], body, imports))
    model.opset_import.append(helper.make_opsetid("f", 1))
    return model


def _doubling(depth: int) -> ModelProto:
    """Each function calls the next one twice: 2^depth nodes when inlined."""
    model = _model([helper.make_node("F0", ["x"], ["y"], domain="f")])
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("f", 1)]
    for level in range(depth):
        last = level == depth - 1
        body = [
            helper.make_node("Neg" if last else f"F{level + 1}", ["a"], ["m"], domain="" if last else "f"),
            helper.make_node("Neg" if last else f"F{level + 1}", ["m"], ["b"], domain="" if last else "f"),
        ]
        model.functions.append(helper.make_function("f", f"F{level}", ["a"], ["b"], body, imports))
    model.opset_import.append(helper.make_opsetid("f", 1))
    return model


def _function_twice() -> ModelProto:
    model = _functions({"F": "G", "G": "H"})
    model.functions.append(model.functions[0])
    return model


def _spoofed() -> ModelProto:
    """An operator with our name and another meaning."""
    model = _dialect("CRelu", "x", axis=1)
    body = [_node("Neg", "a", "n"), helper.make_node("Concat", ["n", "n"], ["b"], axis=1)]
    model.functions.append(
        helper.make_function("rectexport", "CRelu", ["a"], ["b"], body, [helper.make_opsetid("", 18)], ["axis"])
    )
    return model


def _dialect(operator: str, inputs: str, **attributes: Any) -> ModelProto:
    node = helper.make_node(operator, inputs.split(), ["y"], domain="rectexport", **attributes)
    model = _model([node], w=np.ones(1))
    model.opset_import.append(helper.make_opsetid("rectexport", 1))
    return model


def _named(text: str) -> ModelProto:
    """Input, output, weight, node and graph have the same name."""
    model = _conv(1.0)
    model.graph.name = model.graph.node[0].name = model.producer_name = text
    model.graph.input[0].name = model.graph.node[0].input[0] = f"x{text}" if text else ""
    model.graph.output[0].name = model.graph.node[0].output[0] = f"y{text}" if text else ""
    model.graph.initializer[0].name = model.graph.node[0].input[1] = f"w{text}"
    return model


def _places() -> dict[str, tuple[ModelProto, str]]:
    """External weights. `secret` is a file beside the folder, `link` inside it points there."""
    outside = "outside its folder"
    found = {
        "parent": (_external("../secret"), outside),
        "parent-inside": (_external("a/../../secret"), outside),
        "absolute": (_external("/etc/passwd"), outside),
        "device": (_external("/dev/zero"), outside),
        "link": (_external("link"), "symbolic link"),
        "linked-folder": (_external("linked/secret"), "symbolic link"),
        "missing": (_external("nothing.data"), "no file"),
        "folder": (_external("."), ""),
        "none": (_external(""), ""),
        "backslash": (_external("..\\secret"), outside),
        "nul": (_external("a\0b"), ""),
        "beyond": (_external("weights.data", offset=1 << 40), "is too short"),
        "huge": (_external("weights.data", length=1 << 40), "is too short"),
        "negative": (_external("weights.data", offset=-4), ""),
        "word": (_external("weights.data", offset="x"), ""),
        "short": (_external("weights.data", length=4), ""),
        "escape": (_external("\x1b[2J../x"), ""),
    }
    inner = _model([_node("Mul", "x w", "y")])
    constant = helper.make_node("Constant", [], ["w"], value=_tensor("../secret"))
    inner.graph.node.insert(0, constant)
    found["in-attribute"] = (inner, outside)
    return found


def _tensor(place: str, **entries: Any) -> TensorProto:
    tensor = TensorProto(name="w", data_type=FLOAT, dims=[8], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": place, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def _external(place: str, **entries: Any) -> ModelProto:
    model = _model([_node("Mul", "x w", "y")])
    model.graph.initializer.append(_tensor(place, **entries))
    return model


def _saved(model: ModelProto | bytes) -> Write:
    def write(path: Path) -> None:
        path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
        (path.parent.parent / "secret").write_bytes(struct.pack("<8f", *range(8)))
        (path.parent / "weights.data").write_bytes(struct.pack("<8f", *range(8)))
        for name, target in (("link", "../secret"), ("linked", "..")):
            if not (path.parent / name).is_symlink():
                (path.parent / name).symlink_to(target)

    return write
