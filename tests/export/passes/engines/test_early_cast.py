"""uint8 meets nothing but casts from and to float32; `make test-tensorrt` parses and builds such graphs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto

from rectexport.exporter.passes import cleanup
from rectexport.exporter.passes.engines import early_cast, narrow_arithmetic
from tests.differential.engines import onnxruntime_plain
from tests.export.helper import build, check_pass, normal
from tests.export.passes.engines.helper import exact

X = np.random.default_rng(0).integers(0, 256, (1, 4, 6, 8), np.uint8)
SIGNATURE = "(uint8[1,4,6,8] x) => (float[A,B,C,D] y)"
LIST = np.array
BACK = {"s": LIST([-1]), "e": LIST([-9]), "axes": LIST([1]), "steps": LIST([-1])}
MOVES: dict[str, tuple[str, dict[str, Any]]] = {
    "Transpose": ("a = Transpose<perm=[0,2,3,1]>(x)", {}),
    "Reshape": ("a = Reshape(x, s)", {"s": LIST([1, 4, 8, 6])}),
    "Slice": ("a = Slice(x, s, e, axes, steps)", BACK),
    "Gather": ("a = Gather<axis=1>(x, s)", {"s": LIST([3, 1])}),
    "Squeeze": ("b = Squeeze(x, s)\n a = Unsqueeze(b, s)", {"s": LIST([0])}),
    "Expand": ("a = Expand(x, s)", {"s": LIST([2, 4, 6, 8])}),
    "Tile": ("a = Tile(x, s)", {"s": LIST([1, 2, 1, 1])}),
    "Concat": ("b = Transpose<perm=[0,1,2,3]>(x)\n a = Concat<axis=1>(x, b, x)", {}),
    "Split": ("b, a = Split<axis=1>(x, s)", {"s": LIST([1, 3])}),
    "Identity": ("a = Identity(x)", {}),
    "DepthToSpace": ("b = DepthToSpace<blocksize=2>(x)\n a = SpaceToDepth<blocksize=2>(b)", {}),
}  # fmt: skip


def readers(model: ModelProto) -> set[str]:
    """Operators that read or make uint8, after what nothing reads is gone."""
    kinds = {entry.name: entry.type.tensor_type.elem_type for entry in (*model.graph.input, *model.graph.output)}
    for node in model.graph.node:
        to = next((entry.i for entry in node.attribute if entry.name == "to"), None)
        same = kinds.get(node.input[0]) if node.input and to is None else to
        kinds |= {name: same for name in node.output if same is not None}
    narrow = {name for name, kind in kinds.items() if kind == TensorProto.UINT8}
    return {node.op_type for node in model.graph.node if narrow & {*node.input, *node.output}}


def casts(model: ModelProto) -> list[int]:
    """Targets of the casts, in order."""
    return [node.attribute[0].i for node in model.graph.node if node.op_type == "Cast"]


@pytest.mark.parametrize("name", MOVES)
def test_the_cast_comes_before_the_move(name: str) -> None:
    body, stored = MOVES[name]
    model = build(SIGNATURE, f"{body}\n y = Cast<to=1>(a)", **stored)
    rewritten, _ = cleanup.run(exact(early_cast.run, model, {"x": X}))
    assert readers(rewritten) == {"Cast"}
    assert set(casts(rewritten)) == {TensorProto.FLOAT}


def test_chains_and_two_readers() -> None:
    """The image is cast once, whatever reads it."""
    body = "a = Transpose<perm=[0,2,3,1]>(x)\n b = Reshape(a, s)\n c = Cast<to=1>(b)\n d = Cast<to=1>(a)\n"
    body += " e = ReduceSum<keepdims=0>(d)\n y = Add(c, e)"
    model = build("(uint8[1,4,6,8] x) => (float[A,B] y)", body, s=LIST([12, 16]))
    rewritten, _ = cleanup.run(exact(early_cast.run, model, {"x": X}))
    assert [node.op_type for node in rewritten.graph.node].count("Cast") == 1


@pytest.mark.parametrize("dtype", ["int32", "int64", "bool"])
def test_a_cast_to_another_type_goes_through_float32(dtype: str) -> None:
    number = getattr(TensorProto, dtype.upper())
    model = build(f"(uint8[1,4,6,8] x) => ({dtype}[1,4,6,8] y)", f"y = Cast<to={number}>(x)")
    assert casts(exact(early_cast.run, model, {"x": X})) == [TensorProto.FLOAT, number]


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_integers_still_wrap_around(dtype: str) -> None:
    model = build(f"({dtype}[7] x) => (uint8[7] y)", "y = Cast<to=2>(x)")
    x = np.array([-300, -1, 0, 255, 256, 1000, 2**31 - 1], dtype)
    assert casts(exact(early_cast.run, model, {"x": x})) == [TensorProto.FLOAT, TensorProto.UINT8]


def test_arithmetic_before_and_behind() -> None:
    """Behind narrow_arithmetic, which has taken the remainder already."""
    model = build("(uint8[1,4,6,8] x) => (uint8[A,B,C,D] y)", "a = Transpose<perm=[0,2,3,1]>(x)\n y = Add(a, a)")
    wide, _ = narrow_arithmetic.run(model)  # it notes no dtypes
    narrow, result = early_cast.run(wide)
    assert result.fired
    for one, other in zip(onnxruntime_plain(model, {"x": X}), onnxruntime_plain(narrow, {"x": X}), strict=True):
        np.testing.assert_array_equal(one, other)
    rewritten, _ = cleanup.run(narrow)
    assert readers(rewritten) == {"Cast"}
    assert [node.op_type for node in rewritten.graph.node].count("Mod") == 1


@pytest.mark.parametrize("to", ["float", "float16"])
def test_what_tensorrt_takes_stays(to: str) -> None:
    number = {"float": TensorProto.FLOAT, "float16": TensorProto.FLOAT16}[to]
    body = f"y = Cast<to={number}>(x)\n a = Transpose<perm=[1,0]>(z)\n w = Cast<to=2>(a)"
    model = build(f"(uint8[4] x, float[2,3] z) => ({to}[4] y, uint8[3,2] w)", body)
    _, result = check_pass(early_cast.run, model, {"x": X[0, :, 0, 0], "z": np.abs(normal(2, 3))})
    assert not result.fired and not result.refused
