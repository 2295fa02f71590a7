"""Steps on integer tensors: arithmetic that wraps around, bits, casts."""

from __future__ import annotations

import numpy as np
from onnx import helper

from tests.differential.drawn.draft import Draft, Unfit, Value

DTYPES = ("uint8", "int8", "int32", "int64")


def arithmetic(draft: Draft, value: Value) -> list[str]:
    dtype = value.example.dtype
    operator = draft.pick(["Add", "Sub", "Mul", "Max", "Min", "Div", "Mod"])
    number = draft.between(2, 7) if operator in ("Mul", "Div", "Mod") else draft.between(1, 100)
    return draft.add(operator, [value.name, draft.store(np.array(number, dtype))])


def with_other(draft: Draft, value: Value) -> list[str]:
    fitting = [other for other in draft.values if other.example.dtype == value.example.dtype]
    other = draft.pick([entry for entry in fitting if entry.shape == value.shape])
    return draft.add(draft.pick(["Add", "Sub", "Mul", "Max", "Min"]), [value.name, other.name])


def bits(draft: Draft, value: Value) -> list[str]:
    dtype = value.example.dtype
    if dtype == np.uint8 and draft.chance():
        amount = draft.store(np.array(draft.between(1, 3), dtype))
        return draft.add("BitShift", [value.name, amount], direction=draft.pick(["LEFT", "RIGHT"]))
    if draft.opset < 18:
        raise Unfit
    operator = draft.pick(["BitwiseAnd", "BitwiseOr", "BitwiseXor"])
    return draft.add(operator, [value.name, draft.store(np.array(draft.between(1, 100), dtype))])


def unary(draft: Draft, value: Value) -> list[str]:
    return draft.add(draft.pick(["Abs", "Sign", "Neg"]), [value.name])


def cast(draft: Draft, value: Value) -> list[str]:
    """To another dtype: narrower ones keep the low bits."""
    target = draft.pick(["float32", "float32", *DTYPES])
    return draft.add("Cast", [value.name], to=helper.np_dtype_to_tensor_dtype(np.dtype(target)))


def chain(draft: Draft, value: Value) -> list[str]:
    """Through a narrow dtype and back."""
    narrow = draft.one("Cast", value.name, to=helper.np_dtype_to_tensor_dtype(np.dtype(draft.pick(["uint8", "int8"]))))
    return [draft.one("Cast", narrow, to=1)]


def compare(draft: Draft, value: Value) -> list[str]:
    bound = draft.store(np.array(draft.between(0, 60), value.example.dtype))
    mask = draft.one(draft.pick(["Greater", "Less", "Equal"]), value.name, bound)
    return [draft.one("Where", mask, value.name, bound)]


def bounded(draft: Draft, value: Value) -> list[str]:
    dtype = value.example.dtype
    return draft.add("Clip", [value.name, draft.store(np.array(3, dtype)), draft.store(np.array(90, dtype))])


def reduction(draft: Draft, value: Value) -> list[str]:
    operator = draft.pick(["ReduceMax", "ReduceMin", "ReduceSum"])
    axis = draft.between(0, value.example.ndim - 1)
    keep = {"keepdims": draft.between(0, 1)}
    if draft.opset >= 18 or operator == "ReduceSum":
        return draft.add(operator, [value.name, draft.store([axis], "int64")], **keep)
    return draft.add(operator, [value.name], axes=[axis], **keep)


def scaled(draft: Draft, value: Value) -> list[str]:
    """As an image is prepared: to float, centred and scaled."""
    wide = draft.one("Cast", value.name, to=1)
    centred = draft.one("Sub", wide, draft.store(np.float32(draft.pick([0, 127.5]))))
    return [draft.one("Mul", centred, draft.store(np.float32(1 / 128)))]
