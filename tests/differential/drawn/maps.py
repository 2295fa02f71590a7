"""Steps on float tensors without windows: normalization, activations, arithmetic, reductions, selection."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.differential.drawn.draft import Draft, Unfit, Value

ACTIVATIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("Relu", {}),
    ("LeakyRelu", {"alpha": 0.2}),
    ("LeakyRelu", {"alpha": -0.5}),
    ("Elu", {"alpha": 0.7}),
    ("Selu", {}),
    ("Celu", {"alpha": 2.0}),
    ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
    ("HardSwish", {}),
    ("Mish", {}),
    ("Softplus", {}),
    ("Softsign", {}),
    ("ThresholdedRelu", {"alpha": 0.5}),
    ("Shrink", {"lambd": 0.5, "bias": 0.2}),
    ("Sigmoid", {}),
    ("Tanh", {}),
    ("Erf", {}),
    ("Abs", {}),
    ("Neg", {}),
    ("Sin", {}),
    ("Atan", {}),
    ("Sign", {}),
    ("Round", {}),
    ("Floor", {}),
    ("Ceil", {}),
)


def activation(draft: Draft, value: Value) -> list[str]:
    operator, attributes = draft.pick(ACTIVATIONS)
    return draft.add(operator, [value.name], **attributes)


def gelu(draft: Draft, value: Value) -> list[str]:
    return draft.add("Gelu", [value.name], approximate=draft.pick(["none", "tanh"]))


def prelu(draft: Draft, value: Value) -> list[str]:
    shape = draft.pick([(value.shape[1], 1, 1), (1,), (1, value.shape[1], 1, 1)])
    return draft.add("PRelu", [value.name, draft.store(draft.normal(*shape))])


def clip(draft: Draft, value: Value) -> list[str]:
    ends = [draft.store(np.float32(-0.7)), draft.store(np.float32(1.3))]
    return draft.add("Clip", [value.name, *draft.pick([ends, ends[:1], ["", ends[1]]])])


def normalization(draft: Draft, value: Value) -> list[str]:
    channels = value.shape[1]
    scale, shift = draft.store(1 + draft.normal(channels, scale=0.3)), draft.store(draft.normal(channels))
    kinds = ["batch", "batch", "instance", "mean variance", "lrn", "layer", *(["group"] if draft.opset >= 21 else [])]
    match draft.pick(kinds):
        case "batch":
            mean, variance = draft.normal(channels), np.abs(draft.normal(channels)) + np.float32(0.1)
            inputs = [value.name, scale, shift, draft.store(mean), draft.store(variance)]
            return draft.add("BatchNormalization", inputs, epsilon=draft.pick([1e-5, 1e-3]))
        case "instance":
            return draft.add("InstanceNormalization", [value.name, scale, shift], epsilon=1e-2)
        case "group":
            groups = draft.pick([group for group in (1, 2, channels) if channels % group == 0])
            return draft.add("GroupNormalization", [value.name, scale, shift], num_groups=groups, epsilon=1e-2)
        case "layer":
            shape = (value.shape[-1],)
            inputs = [value.name, draft.store(draft.normal(*shape)), draft.store(draft.normal(*shape))]
            return draft.add("LayerNormalization", inputs, epsilon=1e-2)
        case "lrn":
            return draft.add("LRN", [value.name], size=3, alpha=0.1, beta=0.75, bias=1.5)
    return draft.add("MeanVarianceNormalization", [value.name], axes=draft.pick([[0, 2, 3], [2, 3]]))


def softmax(draft: Draft, value: Value) -> list[str]:
    axis = draft.between(-value.example.ndim, value.example.ndim - 1)
    return draft.add(draft.pick(["Softmax", "Softmax", "LogSoftmax", "Hardmax"]), [value.name], axis=axis)


def with_constant(draft: Draft, value: Value) -> list[str]:
    shape = draft.pick([(), (1,), (value.shape[1], 1, 1), (1, value.shape[1], 1, 1)])
    operator = draft.pick(["Add", "Sub", "Mul", "Div", "Max", "Min", "Mod"])
    other = draft.normal(*shape)
    if operator in ("Div", "Mod"):
        other = np.abs(other) + np.float32(0.5)
    names = [value.name, draft.store(other)]
    if operator in ("Add", "Sub", "Mul") and draft.chance(0.3):
        names.reverse()
    return draft.add(operator, names, **({"fmod": 1} if operator == "Mod" else {}))


def with_other(draft: Draft, value: Value) -> list[str]:
    """Arithmetic of two tensors that broadcast."""
    other = _partner(draft, value)
    operator = draft.pick(["Add", "Add", "Mul", "Sub", "Max", "Min", "Sum", "Mean", "Div"])
    if operator == "Div":
        bounded = draft.one("Add", draft.one("Abs", other.name), draft.store(np.float32(1)))
        return draft.add("Div", [value.name, bounded])
    return draft.add(operator, [value.name, other.name])


def _partner(draft: Draft, value: Value) -> Value:
    fitting = [
        other
        for other in draft.values
        if other.example.dtype == value.example.dtype and _broadcast(other.shape, value.shape)
    ]
    return draft.pick(fitting)


def _broadcast(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    pairs = zip(reversed(one), reversed(other), strict=False)
    return all(first == second or 1 in (first, second) for first, second in pairs)


def power(draft: Draft, value: Value) -> list[str]:
    match draft.pick(["square", "root", "pow", "log", "exp", "reciprocal"]):
        case "square":
            return draft.add("Pow", [value.name, draft.store(np.float32(draft.pick([2, 3])))])
        case "root":
            return [draft.one("Sqrt", draft.one("Add", draft.one("Abs", value.name), draft.store(np.float32(0.1))))]
        case "pow":
            return [draft.one("Pow", draft.one("Softplus", value.name), draft.store(np.float32(0.7)))]
        case "log":
            return [draft.one("Log", draft.one("Add", draft.one("Abs", value.name), draft.store(np.float32(1))))]
        case "exp":
            return [draft.one("Exp", draft.one("Min", value.name, draft.store(np.float32(2))))]
    return [draft.one("Reciprocal", draft.one("Add", draft.one("Abs", value.name), draft.store(np.float32(1))))]


def where(draft: Draft, value: Value) -> list[str]:
    operator = draft.pick(["Greater", "Less", "GreaterOrEqual", "LessOrEqual"])
    mask = draft.one(operator, value.name, draft.store(np.float32(draft.pick([0.0, 0.3]))))
    if draft.chance(0.3):
        mask = draft.one("Not", mask)
    other = draft.pick([_partner(draft, value).name, draft.store(np.float32(-1.5))])
    return draft.add("Where", draft.pick([[mask, value.name, other], [mask, other, value.name]]))


REDUCTIONS = ["Mean", "Sum", "Max", "Min", "L1", "L2", "LogSumExp", "SumSquare", "Prod", "LogSum"]


def reduction(draft: Draft, value: Value) -> list[str]:
    kind, rank = draft.pick(REDUCTIONS), value.example.ndim
    name = value.name
    if kind == "LogSum":
        name = draft.one("Add", draft.one("Abs", name), draft.store(np.float32(0.5)))
    axes = sorted(draft.rng.choice(rank, draft.between(1, min(2, rank)), replace=False).tolist())
    axes = [axis - rank for axis in axes] if draft.chance(0.3) else axes
    keep = {"keepdims": draft.between(0, 1)}
    if draft.opset >= 18 or kind == "Sum":
        return draft.add(f"Reduce{kind}", [name, draft.store(axes, "int64")], **keep)
    return draft.add(f"Reduce{kind}", [name], axes=axes, **keep)


def extreme(draft: Draft, value: Value) -> list[str]:
    axis = draft.between(-value.example.ndim, value.example.ndim - 1)
    options = {"axis": axis, "keepdims": draft.between(0, 1), "select_last_index": draft.between(0, 1)}
    return draft.add(draft.pick(["ArgMax", "ArgMin"]), [value.name], **options)


def top(draft: Draft, value: Value) -> list[str]:
    axis = 1 if draft.open_sizes else draft.between(1, value.example.ndim - 1)
    count = draft.store([draft.between(1, value.shape[axis])], "int64")
    return draft.add("TopK", [value.name, count], 2, axis=axis, largest=draft.between(0, 1))


def product(draft: Draft, value: Value) -> list[str]:
    """A matrix product along the channels or the last axis."""
    if draft.open_sizes or draft.chance():
        out = draft.between(1, 4)
        weight = draft.store(draft.normal(out, value.shape[1]))
        return draft.add("Einsum", [value.name, weight], equation=draft.pick(["nchw,oc->nohw", "nchw,oc->nhwo"]))
    return draft.add("MatMul", [value.name, draft.store(draft.normal(value.shape[-1], draft.between(1, 4)))])


def gram(draft: Draft, value: Value) -> list[str]:
    """Channels times channels: what attention computes."""
    flat = draft.one("Flatten" if value.shape[0] == 1 else "Reshape", *_rows(draft, value))
    swapped = draft.one("Transpose", flat, perm=[1, 0] if value.shape[0] == 1 else [0, 2, 1])
    scaled = draft.one("Mul", draft.one("MatMul", flat, swapped), draft.store(np.float32(0.1)))
    return [draft.one("Softmax", scaled, axis=-1)]


def _rows(draft: Draft, value: Value) -> list[str]:
    if value.shape[0] == 1:
        return [draft.one("Squeeze", value.name, draft.store([0], "int64"))]
    return [value.name, draft.store([0, 0, -1], "int64")]


def cumulative(draft: Draft, value: Value) -> list[str]:
    axis = draft.store(np.int64(draft.between(0, value.example.ndim - 1)))
    options = {"exclusive": draft.between(0, 1), "reverse": draft.between(0, 1)}
    return draft.add("CumSum", [value.name, axis], **options)


def quantized(draft: Draft, value: Value) -> list[str]:
    """To 8 bits and back."""
    dtype, zero = draft.pick([("uint8", 128), ("int8", 0), ("uint8", 3)])
    scale, point = draft.store(np.float32(0.037)), draft.store(np.array(zero, dtype))
    return [draft.one("DequantizeLinear", draft.one("QuantizeLinear", value.name, scale, point), scale, point)]


def to_integers(draft: Draft, value: Value) -> list[str]:
    """Cut off, scaled and cast: values that every target dtype holds."""
    target = draft.pick(["uint8", "int8", "int32", "int64"])
    low = np.float32(0 if target == "uint8" else -3)
    bounded = draft.one("Clip", value.name, draft.store(low), draft.store(np.float32(3)))
    scaled = draft.one("Mul", bounded, draft.store(np.float32(40)))
    return [draft.one("Cast", scaled, to=int(_number(target)))]


def narrow_float(draft: Draft, value: Value) -> list[str]:
    """To float16 and back: rounds."""
    return [draft.one("Cast", draft.one("Cast", value.name, to=10), to=1)]


def _number(dtype: str) -> int:
    from onnx import helper

    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def look_up(draft: Draft, value: Value) -> list[str]:
    """An index of the largest channel, looked up in a table."""
    if value.shape[1] < 2:
        raise Unfit
    index = draft.one("ArgMax", value.name, axis=1, keepdims=0)
    return [draft.one("Gather", draft.store(draft.normal(value.shape[1], 3)), index)]
