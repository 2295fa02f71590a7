"""Operators that a convolutional network may use, one a graph: dtypes, attributes, and values at the edges.

Inputs are small and seeded. Integers cover the whole range of their dtype; floats have both signs, zeros, halves,
and where an operator is defined there, infinities and NaN.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from tests.differential.case import OPSET, Array, Case, build, single

FLOATS = ("float32", "float16")
INTEGERS = ("uint8", "int8", "int32", "int64")
EDGES = [0.0, -0.0, 1, -1, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 20, -20, 100, -100, 1e4, -1e4]
WILD = [*EDGES, np.nan, np.inf, -np.inf]


def normal(*shape: int, seed: int = 0, dtype: str = "float32") -> Array:
    """Seeded standard normal numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def whole(*shape: int, dtype: str, seed: int = 0) -> Array:
    """Seeded integers over the whole range of the dtype, its ends included."""
    ends = np.iinfo(dtype)
    values = np.random.default_rng(seed).integers(ends.min, ends.max, shape, dtype, endpoint=True)
    values.flat[:2] = ends.min, ends.max
    return values


def values(*shape: int, dtype: str, seed: int = 0) -> Array:
    """Numbers of any dtype: normal floats, integers over the range, both truth values."""
    if dtype == "bool":
        return np.random.default_rng(seed).integers(0, 2, shape).astype(bool)
    return whole(*shape, dtype=dtype, seed=seed) if dtype in INTEGERS else normal(*shape, seed=seed, dtype=dtype)


def ints(*numbers: int) -> Array:
    return np.array(numbers, np.int64)


def corpus() -> Iterator[Case]:
    """Every case, group by group."""
    for group in (
        unary,
        activations,
        arithmetic,
        comparisons,
        casts,
        pools,
        global_pools,
        resizes,
        convolutions,
        transposed_convolutions,
        pads,
        reductions,
        selections,
        normalizations,
        indexing,
        reshaping,
        quantization,
        products,
        spectra,
        sampling,
        combinations,
    ):
        for case in group():
            yield replace(case, group=group.__name__)


UNARY = "Abs Ceil Cos Erf Exp Floor IsInf IsNaN Neg Reciprocal Round Sigmoid Sign Sin Sqrt Tanh Atan Sinh Log Identity"


def unary() -> Iterator[Case]:
    for dtype, operator in itertools.product(FLOATS, UNARY.split()):
        edges = np.array(EDGES if operator in ("Exp", "Sinh", "Sin", "Cos") else WILD, dtype)
        yield single(dtype, operator, [edges[None]])
    for dtype in INTEGERS:
        for operator in ("Abs", "Neg", "Sign", "Identity"):
            if not (dtype == "uint8" and operator == "Neg"):
                yield single(dtype, operator, [whole(3, 8, dtype=dtype)])
    yield single("bool", "Not", [values(3, 8, dtype="bool")])
    for dtype in INTEGERS:
        yield single(dtype, "BitwiseNot", [whole(3, 8, dtype=dtype)])


ACTIVATIONS: dict[str, list[dict[str, Any]]] = {
    "Relu": [{}],
    "LeakyRelu": [{}, {"alpha": 0.3}, {"alpha": -0.5}],
    "Elu": [{}, {"alpha": 2.0}],
    "Selu": [{}],
    "Celu": [{}, {"alpha": 2.0}],
    "HardSigmoid": [{}, {"alpha": 1 / 6, "beta": 0.5}],
    "HardSwish": [{}],
    "Mish": [{}],
    "Softplus": [{}],
    "Softsign": [{}],
    "ThresholdedRelu": [{}, {"alpha": 0.5}],
    "Shrink": [{}, {"lambd": 0.5, "bias": 0.5}],
    "Gelu": [{}, {"approximate": "tanh"}],
    "Softmax": [{}, {"axis": 0}],
    "LogSoftmax": [{}, {"axis": 0}],
    "Hardmax": [{}, {"axis": 0}],
}


def activations() -> Iterator[Case]:
    for dtype, (operator, variants) in itertools.product(FLOATS, ACTIVATIONS.items()):
        for attributes in variants:
            x = np.array(EDGES, dtype).reshape(4, 4)
            yield single(f"{dtype} {attributes or ''}", operator, [x], **attributes)
    for operator in ("Relu", "Softplus", "HardSigmoid", "Clip"):
        stored = {1: np.float32(-1), 2: np.float32(1)} if operator == "Clip" else {}
        yield single("NaN and infinities", operator, [np.array([WILD], np.float32)], stored)
    x = normal(2, 3, 4, 4)
    for axis in range(-4, 4):
        yield single(f"axis {axis}", "Softmax", [x], axis=axis)
    for slope in ((3, 1, 1), (1,), (1, 3, 1, 1), (4,)):
        yield single(f"slope {slope}", "PRelu", [x], {1: normal(*slope)})
    yield single("min > max", "Clip", [x], {1: np.float32(1), 2: np.float32(-1)})
    yield single("max alone", "Clip", [x, None], {2: np.float32(0.5)})
    for dtype in INTEGERS:
        low, high = np.array(3, dtype), np.array(100, dtype)
        yield single(f"{dtype}", "Clip", [whole(3, 8, dtype=dtype)], {1: low, 2: high})
    for dtype in ("int8", "int32"):
        yield single(f"{dtype}", "Relu", [whole(3, 8, dtype=dtype)])


def arithmetic() -> Iterator[Case]:
    for dtype in (*INTEGERS, *FLOATS):
        a, b = values(3, 8, dtype=dtype), values(3, 8, dtype=dtype, seed=1)
        safe = np.where(np.isin(b, [0, -1]), np.array(3, dtype), b)
        for operator in ("Add", "Sub", "Mul", "Max", "Min"):
            yield single(dtype, operator, [a, b])
            yield single(f"{dtype} with a constant", operator, [a], {1: b[:1, :1]})
        yield single(dtype, "Div", [a, safe])
        if dtype in INTEGERS:
            small = np.where(safe > 0, safe % 7 + 1, -(np.abs(safe % 7) + 1)).astype(dtype)
            signed = small if dtype == "uint8" else small * np.where(np.arange(8) % 2, 1, -1).astype(dtype)
            yield single(f"{dtype} by small numbers", "Div", [a, signed])
            yield single(dtype, "Mod", [a, signed])
            yield single(f"{dtype} wraps", "Mul", [a], {1: np.array(2, dtype)})
            yield single(f"{dtype} wraps", "Add", [a], {1: np.array(100, dtype)})
        yield single(f"{dtype} fmod", "Mod", [a, safe], fmod=1)
    for dtype in INTEGERS:
        a, b = whole(3, 8, dtype=dtype), whole(3, 8, dtype=dtype, seed=1)
        for operator in ("BitwiseAnd", "BitwiseOr", "BitwiseXor"):
            yield single(dtype, operator, [a, b])
        yield single(f"{dtype} square", "Pow", [a % 11], {1: np.array(2, dtype)})
    for direction in ("LEFT", "RIGHT"):
        x, by = whole(3, 8, dtype="uint8"), np.arange(8, dtype=np.uint8)[None]
        yield single(f"uint8 {direction}", "BitShift", [x, by], direction=direction)
    x = np.abs(normal(3, 8))
    for power in (2.0, 0.5, -1.0, 3.3, 0.0):
        yield single(f"to {power}", "Pow", [x], {1: np.float32(power)})
    signed = np.array([[-2.0, -1.0, -0.0, 0.0, 2.0]], np.float32)
    for power in (2.0, 3.0, -3.0, 0.5):
        yield single(f"of negatives to {power}", "Pow", [signed], {1: np.float32(power)})
    yield single("by zero", "Div", [np.array([WILD], np.float32), np.zeros((1, 19), np.float32)])
    for operator in ("Max", "Min"):
        nan = np.array([[np.nan, 1, np.inf]], np.float32)
        yield single("of NaN", operator, [nan, np.array([[1, np.nan, 2]], np.float32)])
    yield single("of three", "Sum", [normal(2, 3), normal(3), normal(1, 1)])
    yield single("of three", "Mean", [normal(2, 3), normal(3), normal(1, 1)])


def comparisons() -> Iterator[Case]:
    for dtype in (*INTEGERS, *FLOATS):
        a = values(3, 8, dtype=dtype)
        b = np.where(np.arange(8) % 3 == 0, a, values(3, 8, dtype=dtype, seed=1))
        for operator in ("Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual"):
            yield single(dtype, operator, [a, b])
        yield single(dtype, "Where", [a > b, a, b])
    near = ints(2**53, 2**53 + 1, -(2**53) - 1, 2**40)
    for operator in ("Equal", "Less"):
        yield single("int64 beyond 2^53", operator, [near, near[::-1].copy()])
        close = ints(2**24, 2**24 + 1, 5)
        yield single("int64 beyond 2^24", operator, [close, close - ints(1, 1, 0)])
        wide = close.astype(np.int32)
        yield single("int32 beyond 2^24", operator, [wide, wide - np.array([1, 1, 0], np.int32)])
    nan = np.array([[np.nan, 1, np.inf]], np.float32)
    for operator in ("Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual"):
        yield single("of NaN", operator, [nan, np.array([[np.nan, np.nan, np.inf]], np.float32)])
    for operator in ("And", "Or", "Xor", "Equal"):
        one, other = values(3, 8, dtype="bool"), values(3, 8, dtype="bool", seed=1)
        yield single("bool", operator, [one, other])
    yield single("NaN in the branch not taken", "Where", [np.array([True, False]), *_nan_branches()])


def _nan_branches() -> list[Array]:
    return [np.array([1, np.nan], np.float32), np.array([np.nan, 2], np.float32)]


KINDS = (*FLOATS, *INTEGERS, "bool", "float64")


def casts() -> Iterator[Case]:
    for source, target in itertools.permutations(KINDS, 2):
        if source in ("float64",):
            continue
        to = helper.np_dtype_to_tensor_dtype(np.dtype(target))
        x = values(3, 8, dtype=source)
        if source in FLOATS:
            bound = {"uint8": (0, 255), "int8": (-128, 127)}.get(target, (-2000, 2000))
            x = np.clip(x * 100, *bound).astype(source)
        yield single(f"{source} to {target}", "Cast", [x], to=to)
    edges = np.array([[0.0, -0.0, 0.3, -0.3, np.nan, np.inf, 1e-10]], np.float32)
    yield single("edges of float32 to bool", "Cast", [edges], to=TensorProto.BOOL)
    halves = np.array([[0.5, 1.5, 2.5, -0.5, -1.5, 254.9]], np.float32)
    for to in (TensorProto.INT32, TensorProto.INT64):
        yield single(f"halves to {to}", "Cast", [halves], to=to)
    yield single("halves to uint8", "Cast", [np.abs(halves)], to=TensorProto.UINT8)
    for to in (TensorProto.UINT8, TensorProto.INT8, TensorProto.INT32):
        beyond = np.array([[300.7, -5.2, 1e10, np.nan]], np.float32)
        yield single(f"beyond the range of {to}", "Cast", [beyond], to=to, compare=False)
    large = np.array([[65504, 65520, 70000, -1e6, 1e-8]], np.float32)
    yield single("beyond float16", "Cast", [large], to=TensorProto.FLOAT16)


def pools() -> Iterator[Case]:
    shapes = ((2, 3, 8, 8), (1, 2, 7, 9))
    windows = (
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 0, 0, 0]},
        {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [0, 0, 1, 1]},
        {"kernel_shape": [3, 2], "strides": [3, 2], "pads": [1, 0, 0, 1]},
    )
    for shape, window, ceil in itertools.product(shapes, windows, (0, 1)):
        x, said = normal(*shape) + 1, f"{shape[2:]} {_window(window)} ceil {ceil}"
        for counted in (0, 1):
            yield single(
                f"{said} counted {counted}",
                "AveragePool",
                [x],
                ceil_mode=ceil,
                count_include_pad=counted,
                **window,
            )
        yield single(said, "MaxPool", [x - 3], ceil_mode=ceil, **window)
        yield single(said, "LpPool", [x], ceil_mode=ceil, **window)
    yield from _more_pools()


def _more_pools() -> Iterator[Case]:
    x, small = normal(2, 3, 9, 8) + 1, {"kernel_shape": [3, 3]}
    for operator, auto in itertools.product(("AveragePool", "MaxPool"), ("SAME_UPPER", "SAME_LOWER", "VALID")):
        yield single(auto, operator, [x], auto_pad=auto, strides=[2, 2], **small)
    yield single("SAME_UPPER counted", "AveragePool", [x], auto_pad="SAME_UPPER", count_include_pad=1, **small)
    for counted, ceil in itertools.product((0, 1), (0, 1)):
        more = {"dilations": [2, 2], "pads": [1, 1, 1, 1], "strides": [2, 2], "ceil_mode": ceil, **small}
        yield single(f"dilated ceil {ceil} counted {counted}", "AveragePool", [x], count_include_pad=counted, **more)
    for ceil in (0, 1):
        more = {"dilations": [2, 2], "pads": [1, 1, 1, 1], "strides": [2, 2], "ceil_mode": ceil, **small}
        yield single(f"dilated ceil {ceil}", "MaxPool", [x - 3], **more)
    for dtype in ("uint8", "int8"):
        yield single(dtype, "MaxPool", [whole(1, 2, 8, 8, dtype=dtype)], **small)
    yield single("float16", "MaxPool", [normal(1, 2, 8, 8, dtype="float16")], **small)
    yield single("float16", "AveragePool", [normal(1, 2, 8, 8, dtype="float16")], **small)
    for order in (0, 1):
        yield single(
            f"indices, storage order {order}",
            "MaxPool",
            [x],
            outputs=2,
            storage_order=order,
            strides=[2, 2],
            **small,
        )
    yield single("indices with padding", "MaxPool", [x - 3], outputs=2, pads=[1, 1, 1, 1], strides=[2, 2], **small)
    for value in (np.nan, np.inf, -np.inf):
        wild = normal(1, 1, 6, 6)
        wild[0, 0, 2, 3] = value
        for operator in ("MaxPool", "AveragePool"):
            yield single(f"of {value}", operator, [wild], **small)
    yield single("1-D", "MaxPool", [normal(2, 3, 9)], kernel_shape=[3], strides=[2])
    yield single("3-D ceil", "AveragePool", [normal(1, 2, 5, 5, 5)], kernel_shape=[2] * 3, strides=[2] * 3, ceil_mode=1)
    yield single("p = 1", "LpPool", [x], p=1, **small)
    yield single("p = 3 of negatives", "LpPool", [normal(1, 2, 6, 6)], p=3, **small)
    yield single("", "MaxUnpool", [x[:, :, :2, :2], _places()], kernel_shape=[2, 2], strides=[2, 2])


def _places() -> Array:
    corner = np.array([[0, 3], [9, 14]])
    return np.stack([np.stack([corner + 16 * (3 * n + c) for c in range(3)]) for n in range(2)]).astype(np.int64)


def _window(window: dict[str, Any]) -> str:
    return "/".join("x".join(map(str, window[key])) for key in ("kernel_shape", "strides", "pads"))


def global_pools() -> Iterator[Case]:
    for operator in ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"):
        yield single("", operator, [normal(2, 3, 5, 4)])
        if operator != "GlobalLpPool":
            yield single("float16", operator, [normal(2, 3, 5, 4, dtype="float16")])
    for operator in ("GlobalMaxPool", "GlobalAveragePool"):
        x = normal(1, 2, 3, 3)
        x[0, 0, 1, 1] = np.nan
        yield single("of NaN", operator, [x])


COORDINATES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric")
NEAREST = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


def resizes() -> Iterator[Case]:
    x = normal(1, 2, 8, 7)
    sizes = {"up": (13, 11), "down": (3, 4), "one": (1, 1), "mixed": (11, 3)}
    for (way, size), coordinate in itertools.product(sizes.items(), COORDINATES):
        stored = {3: ints(1, 2, *size)}
        for mode in ("linear", "cubic"):
            more = {"mode": mode, "coordinate_transformation_mode": coordinate}
            yield single(f"{way} {mode} {coordinate}", "Resize", [x], stored, **more)
        for nearest in NEAREST:
            more = {"mode": "nearest", "coordinate_transformation_mode": coordinate, "nearest_mode": nearest}
            yield single(f"{way} {nearest} {coordinate}", "Resize", [x], stored, **more)
    for way, mode, coordinate in itertools.product(sizes, ("linear", "cubic"), COORDINATES):
        more = {"mode": mode, "antialias": 1, "coordinate_transformation_mode": coordinate}
        for outside in (0, 1):
            said = f"{way} {mode} {coordinate} antialias outside {outside}"
            yield single(said, "Resize", [x], {3: ints(1, 2, *sizes[way])}, exclude_outside=outside, **more)
    yield from _more_resizes(x)


def _more_resizes(x: Array) -> Iterator[Case]:
    for mode in ("nearest", "linear", "cubic"):
        scales = {2: np.array([1, 1, 2, 1.7], np.float32)}
        yield single(f"{mode} by scales", "Resize", [x], scales, mode=mode)
        yield single(f"{mode} two axes", "Resize", [x], {3: ints(5, 9)}, mode=mode, axes=[2, 3])
        yield single(f"{mode} axes reversed", "Resize", [x], {3: ints(5, 9)}, mode=mode, axes=[3, 2])
        yield single(f"{mode} float16", "Resize", [x.astype(np.float16)], {3: ints(1, 2, 5, 9)}, mode=mode)
    for policy in ("not_larger", "not_smaller"):
        more = {"keep_aspect_ratio_policy": policy, "axes": [2, 3], "mode": "linear"}
        yield single(policy, "Resize", [x], {3: ints(5, 9)}, **more)
    for outside, factor in itertools.product((0, 1), (-0.75, -0.5)):
        more = {"mode": "cubic", "exclude_outside": outside, "cubic_coeff_a": factor}
        yield single(f"cubic outside {outside} a {factor}", "Resize", [x], {3: ints(1, 2, 5, 9)}, **more)
    for mode in ("nearest", "linear"):
        crop = {1: np.array([0, 0, 0.2, 0.3, 1, 1, 0.9, 1.2], np.float32), 3: ints(1, 2, 5, 9)}
        more = {"coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 2.0, "mode": mode}
        yield single(f"{mode} crop", "Resize", [x], crop, **more)
    for dtype in ("uint8", "int8", "int32"):
        image = whole(1, 2, 4, 5, dtype=dtype) // np.array(4, dtype)
        yield single(f"nearest {dtype}", "Resize", [image], {3: ints(1, 2, 8, 9)}, mode="nearest")
    yield single("linear uint8", "Resize", [whole(1, 2, 4, 5, dtype="uint8")], {3: ints(1, 2, 8, 9)}, mode="linear")
    yield single("linear channels last", "Resize", [normal(1, 4, 5, 2)], {3: ints(1, 8, 9, 2)}, mode="linear")
    yield single("linear 3-D", "Resize", [normal(1, 2, 3, 4, 5)], {3: ints(1, 2, 6, 5, 9)}, mode="linear")
    yield single("opset 9 linear", "Upsample", [x], {1: np.array([1, 1, 2, 2], np.float32)}, opset=9, mode="linear")
    yield single("opset 9 nearest", "Upsample", [x], {1: np.array([1, 1, 2, 2], np.float32)}, opset=9, mode="nearest")
    yield single("opset 10", "Resize", [x], {1: np.array([1, 1, 2, 2], np.float32)}, opset=10, mode="linear")


def convolutions() -> Iterator[Case]:
    x = normal(2, 4, 9, 8)
    variants: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
        "plain": ((6, 4, 3, 3), {}),
        "padded": ((6, 4, 3, 3), {"pads": [1, 1, 1, 1]}),
        "uneven padding": ((6, 4, 3, 3), {"pads": [2, 0, 1, 3], "strides": [2, 1]}),
        "dilated": ((6, 4, 3, 3), {"dilations": [2, 3], "pads": [2, 3, 2, 3]}),
        "groups": ((6, 2, 3, 3), {"group": 2}),
        "depthwise": ((4, 1, 3, 3), {"group": 4}),
        "depthwise, two a channel": ((8, 1, 3, 3), {"group": 4}),
        "even kernel": ((6, 4, 2, 4), {"pads": [1, 2, 0, 1]}),
        "SAME_UPPER": ((6, 4, 2, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
        "SAME_LOWER": ((6, 4, 2, 3), {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
        "VALID": ((6, 4, 3, 3), {"auto_pad": "VALID"}),
        "SAME_UPPER dilated": ((6, 4, 3, 3), {"auto_pad": "SAME_UPPER", "dilations": [2, 2]}),
    }
    for name, (shape, attributes) in variants.items():
        weight, bias = normal(*shape, seed=1) / 4, normal(shape[0], seed=2)
        yield single(name, "Conv", [x], {1: weight, 2: bias}, **attributes)
        yield single(f"{name}, weights fed", "Conv", [x, weight], **attributes)
    half = [array.astype(np.float16) for array in (x, normal(6, 4, 3, 3, seed=1) / 4)]
    yield single("float16", "Conv", half[:1], {1: half[1]})
    yield single("1-D", "Conv", [normal(2, 4, 9)], {1: normal(6, 4, 3)}, pads=[1, 1])
    yield single("3-D", "Conv", [normal(1, 2, 5, 5, 5)], {1: normal(3, 2, 3, 3, 3)})
    offsets = normal(1, 18, 5, 5) * 0.7
    yield single("", "DeformConv", [normal(1, 2, 7, 7), normal(3, 2, 3, 3), offsets])
    mask = np.abs(normal(1, 9, 5, 5))
    full = [normal(1, 2, 7, 7), normal(3, 2, 3, 3), offsets, normal(3), mask]
    yield single("bias and mask", "DeformConv", full)


def transposed_convolutions() -> Iterator[Case]:
    x = normal(2, 4, 5, 4)
    variants: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
        "plain": ((4, 3, 3, 3), {}),
        "stride": ((4, 3, 3, 3), {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
        "output padding": ((4, 3, 3, 3), {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}),
        "output padding, uneven": ((4, 3, 3, 3), {"strides": [3, 2], "output_padding": [2, 1]}),
        "output shape": ((4, 3, 3, 3), {"strides": [2, 2], "output_shape": [10, 8]}),
        "output shape, odd rest": ((4, 3, 3, 3), {"strides": [3, 2], "output_shape": [14, 8]}),
        "output shape, odd rest, SAME_UPPER": (
            (4, 3, 2, 2),
            {"strides": [3, 3], "output_shape": [13, 9], "auto_pad": "SAME_UPPER"},
        ),
        "output shape, odd rest, SAME_LOWER": (
            (4, 3, 2, 2),
            {"strides": [3, 3], "output_shape": [13, 9], "auto_pad": "SAME_LOWER"},
        ),
        "SAME_UPPER": ((4, 3, 3, 3), {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
        "SAME_LOWER": ((4, 3, 3, 3), {"strides": [2, 2], "auto_pad": "SAME_LOWER"}),
        "groups": ((4, 3, 3, 3), {"group": 2, "strides": [2, 2]}),
        "depthwise": ((4, 1, 3, 3), {"group": 4}),
        "dilated": ((4, 3, 3, 3), {"dilations": [2, 2]}),
        "uneven padding": ((4, 3, 3, 3), {"pads": [0, 1, 2, 1], "strides": [2, 1]}),
        "even kernel": ((4, 3, 4, 2), {"strides": [2, 2], "pads": [1, 0, 1, 0]}),
    }
    for name, (shape, attributes) in variants.items():
        weight = normal(*shape, seed=1) / 4
        bias = normal(shape[1] * attributes.get("group", 1), seed=2)
        yield single(name, "ConvTranspose", [x], {1: weight, 2: bias}, **attributes)
        yield single(f"{name}, weights fed", "ConvTranspose", [x, weight], **attributes)
    yield single("1-D", "ConvTranspose", [normal(2, 4, 5)], {1: normal(4, 3, 3)}, strides=[2])


def pads() -> Iterator[Case]:
    amounts = {"even": (1, 2, 1, 2), "uneven": (0, 3, 2, 1), "cropping": (-1, 1, 1, -2), "none": (0, 0, 0, 0)}
    for mode, (name, (top, left, bottom, right)) in itertools.product(
        ("constant", "edge", "reflect", "wrap"), amounts.items()
    ):
        stored = {1: ints(0, 0, top, left, 0, 0, bottom, right)}
        for dtype in (*FLOATS, *INTEGERS, "bool"):
            if name != "even" and dtype != "float32":
                continue
            x = values(1, 2, 4, 5, dtype=dtype)
            yield single(f"{mode} {name} {dtype}", "Pad", [x], stored, mode=mode)
    x = normal(1, 2, 4, 5)
    yield single("with a value", "Pad", [x], {1: ints(0, 0, 1, 1, 0, 0, 1, 1), 2: np.float32(-3)})
    yield single("with axes", "Pad", [x, None, None], {1: ints(1, 2, 0, 1), 3: ints(3, -2)})
    yield single("channels", "Pad", [x], {1: ints(0, 1, 0, 0, 0, 2, 0, 0)})
    yield single("reflect channels", "Pad", [normal(1, 4, 4, 5)], {1: ints(0, 1, 0, 0, 0, 2, 0, 0)}, mode="reflect")
    yield single("amounts fed", "Pad", [x, ints(0, 0, 1, 1, 0, 0, 1, 1)])
    yield single("wrap at opset 18", "Pad", [x], {1: ints(0, 0, 1, 1, 0, 0, 1, 1)}, opset=18, mode="wrap")


REDUCTIONS = (
    "ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceSumSquare"
)


def reductions() -> Iterator[Case]:
    x = np.abs(normal(2, 3, 4, 5)) + 0.1
    for operator in REDUCTIONS.split():
        for axes, keep in itertools.product(((2, 3), (1,), (-1,), (0, 2)), (0, 1)):
            yield single(f"{axes} keepdims {keep}", operator, [x], {1: ints(*axes)}, keepdims=keep)
        yield single("all", operator, [x], keepdims=0)
        yield single("no axes", operator, [x], noop_with_empty_axes=1)
        yield single("float16", operator, [x.astype(np.float16)], {1: ints(2, 3)})
        whole_numbers = (x * 7).astype(np.int32) % 2 + 1
        if operator not in ("ReduceLogSum", "ReduceLogSumExp"):
            for dtype in ("int32", "int64"):
                yield single(dtype, operator, [whole_numbers.astype(dtype)], {1: ints(2, 3)})
    for operator, dtype in itertools.product(("ReduceMax", "ReduceMin"), ("uint8", "int8", "int32", "int64")):
        yield single(f"{dtype} over the range", operator, [whole(2, 9, dtype=dtype)], {1: ints(1)})
    for operator in ("ReduceMax", "ReduceMin", "ReduceSum"):
        wild = np.array([[1, np.nan, 3], [np.inf, 2, -np.inf], [-5, -6, -7]], np.float32)
        yield single("of NaN", operator, [wild], {1: ints(1)}, keepdims=0)
    large = np.array([[100.0, 101, 99]], np.float32)
    yield single("of large numbers", "ReduceLogSumExp", [large], {1: ints(1)})
    yield single("wraps int32", "ReduceSum", [whole(2, 9, dtype="int32")], {1: ints(1)}, compare=False)
    yield single("int64 beyond 2^31", "ReduceSum", [ints(2**33, 5, 2**31)[None]], {1: ints(1)})
    yield single("int64 over the range", "ReduceSum", [whole(2, 3, dtype="int64")], {1: ints(1)})
    yield single("negative mean int32", "ReduceMean", [np.array([[-3, -2, 0]], np.int32)], {1: ints(1)})


def selections() -> Iterator[Case]:
    ties = np.array([[1, 3, 3, 0], [2, 2, 2, 2], [-1, -1, -5, -1]], np.float32)
    for operator, last, axis in itertools.product(("ArgMax", "ArgMin"), (0, 1), (0, 1, -1)):
        for dtype in ("float32", "float16", "int32", "int8", "uint8"):
            x = np.abs(ties).astype(dtype) if dtype == "uint8" else ties.astype(dtype)
            said = f"{dtype} axis {axis} last {last}"
            yield single(said, operator, [x], axis=axis, select_last_index=last, keepdims=0)
    x = normal(2, 3, 7)
    for largest, axis in itertools.product((0, 1), (-1, 1)):
        yield single(
            f"largest {largest} axis {axis}",
            "TopK",
            [x],
            {1: ints(2)},
            outputs=2,
            axis=axis,
            largest=largest,
        )
    yield single("ties", "TopK", [ties], {1: ints(3)}, outputs=2)
    yield single("int64", "TopK", [whole(2, 7, dtype="int64")], {1: ints(3)}, outputs=2)
    yield single("int32", "TopK", [whole(2, 7, dtype="int32")], {1: ints(3)}, outputs=2)
    boxes, scores = (
        np.array([[[0, 0, 1, 1], [0, 0.1, 1, 1.1], [0, 2, 1, 3]]], np.float32),
        np.array([[[0.9, 0.8, 0.7]]], np.float32),
    )
    limits = {2: ints(3), 3: np.array([0.5], np.float32), 4: np.array([0.0], np.float32)}
    yield single("", "NonMaxSuppression", [boxes, scores], limits)
    yield single("", "NonZero", [np.array([[1, 0], [3, -4]], np.float32)])
    yield single("", "Unique", [np.array([3, 1, 1, 2], np.float32)], outputs=4)
    yield single("", "Compress", [x], {1: np.array([True, False, True])}, axis=1)
    yield single("", "OneHot", [ints(0, 2, -1, 1)], {1: ints(3), 2: np.array([-1, 5], np.float32)})
    yield single("out of range", "OneHot", [ints(0, 5, -9)], {1: ints(3), 2: np.array([0, 1], np.float32)})


def normalizations() -> Iterator[Case]:
    x = normal(2, 6, 5, 4)
    weights = {1: normal(6, seed=1), 2: normal(6, seed=2)}
    moments = {3: normal(6, seed=3), 4: np.abs(normal(6, seed=4)) + 0.1}
    yield single("", "BatchNormalization", [x], {**weights, **moments})
    yield single("epsilon", "BatchNormalization", [x], {**weights, **moments}, epsilon=0.1)
    yield single("rank 2", "BatchNormalization", [x[:, :, 0, 0].copy()], {**weights, **moments})
    yield single("", "InstanceNormalization", [x], weights)
    yield single("rank 3", "InstanceNormalization", [x[..., 0].copy()], weights)
    yield single("constant planes", "InstanceNormalization", [np.ones((1, 6, 4, 4), np.float32)], weights)
    for groups in (1, 2, 6):
        yield single(f"{groups} groups", "GroupNormalization", [x], weights, num_groups=groups)
    old = {1: normal(2, seed=1), 2: normal(2, seed=2)}
    yield single("opset 18", "GroupNormalization", [x], old, opset=18, num_groups=2)
    for axis in (-1, 1, 2, 3):
        shape = x.shape[axis:]
        stored = {1: normal(*shape, seed=1), 2: normal(*shape, seed=2)}
        yield single(f"axis {axis}", "LayerNormalization", [x], stored, axis=axis)
    yield single("", "MeanVarianceNormalization", [x])
    yield single("axes", "MeanVarianceNormalization", [x], axes=[1, 2])
    for size in (1, 3, 4, 5):
        yield single(f"size {size}", "LRN", [x], size=size, alpha=0.5, beta=0.75, bias=2.0)
    yield single("bias 1.5", "LRN", [x], size=3, alpha=0.5, beta=0.75, bias=1.5)
    for p, axis in itertools.product((1, 2), (1, -1)):
        yield single(f"p {p} axis {axis}", "LpNormalization", [x], p=p, axis=axis)
    yield single("", "Dropout", [x])


def indexing() -> Iterator[Case]:
    x = normal(4, 5, 6)
    for axis in (0, 1, -1):
        yield single(f"axis {axis}", "Gather", [x, ints(0, -1, 2)], axis=axis)
    yield single("scalar", "Gather", [x], {1: np.array(-2, np.int64)}, axis=1)
    where = np.random.default_rng(0).integers(-4, 4, (4, 5, 6))
    yield single("negative", "GatherElements", [x, where], axis=0)
    pairs = np.array([[0, -1], [-4, 2], [3, 0]], np.int64)
    yield single("negative", "GatherND", [x, pairs])
    yield single("batch", "GatherND", [x, where[:, :1, 0]], batch_dims=1)
    for reduction in ("none", "add", "mul", "max", "min"):
        repeated = np.array([[0, 1], [-1, -1], [0, 1]] if reduction != "none" else [[0, 1], [-1, -1], [2, 2]], np.int64)
        yield single(reduction, "ScatterND", [x, repeated, normal(3, 6, seed=5)], reduction=reduction)
        places = np.zeros((4, 5, 6), np.int64) if reduction != "none" else np.argsort(normal(4, 5, 6), axis=0)
        more = {"axis": 0, "reduction": reduction}
        yield single(f"{reduction}", "ScatterElements", [x, places, normal(4, 5, 6, seed=6)], **more)
    yield from _slices(x)
    for exclusive, reverse in itertools.product((0, 1), (0, 1)):
        said, more = f"exclusive {exclusive} reverse {reverse}", {"exclusive": exclusive, "reverse": reverse}
        yield single(said, "CumSum", [x], {1: np.array(1, np.int64)}, **more)
        yield single(f"{said} int64", "CumSum", [ints(2**40, 1, -5)], {1: np.array(0, np.int64)}, **more)
    for upper, k in itertools.product((0, 1), (-1, 0, 2)):
        yield single(f"upper {upper} k {k}", "Trilu", [x], {1: np.array(k, np.int64)}, upper=upper)
    yield single("", "ReverseSequence", [x], {1: ints(1, 3, 5, 2)}, batch_axis=0, time_axis=1)
    yield single("k 1", "EyeLike", [x[0]], k=1)
    yield single("", "Range", [np.array(1, np.int64), np.array(9, np.int64), np.array(3, np.int64)])
    yield single(
        "float down",
        "Range",
        [np.array(1, np.float32), np.array(-1, np.float32), np.array(-0.5, np.float32)],
    )
    for dtype in ("bool", "uint8", "float16"):
        yield single(dtype, "Gather", [values(4, 5, dtype=dtype), ints(0, -1)], axis=1)


def _slices(x: Array) -> Iterator[Case]:
    big = 2**62
    for name, (start, end, axis, step) in {
        "plain": (1, 3, 0, 1),
        "negative ends": (-3, -1, 1, 1),
        "step": (0, big, 2, 2),
        "backwards": (-1, -big, 2, -1),
        "backwards by two": (5, 0, 2, -2),
        "beyond": (-100, 100, 1, 1),
        "empty": (3, 1, 1, 1),
    }.items():
        yield single(name, "Slice", [x], {1: ints(start), 2: ints(end), 3: ints(axis), 4: ints(step)})
    yield single("bounds fed", "Slice", [x, ints(1), ints(-1), ints(-1)])


def reshaping() -> Iterator[Case]:
    x = normal(2, 8, 4, 6)
    for mode in ("DCR", "CRD"):
        yield single(mode, "DepthToSpace", [x], blocksize=2, mode=mode)
    yield single("", "SpaceToDepth", [x], blocksize=2)
    yield single("zeros and rest", "Reshape", [x], {1: ints(0, -1, 0)})
    yield single("allowzero", "Reshape", [np.zeros((0, 3), np.float32)], {1: ints(3, 0)}, allowzero=1)
    for axis in (0, 1, 2, -1, 4):
        yield single(f"axis {axis}", "Flatten", [x], axis=axis)
    yield single("uneven", "Split", [x], {1: ints(3, 5)}, outputs=2, axis=1)
    yield single("num_outputs", "Split", [x[:, :7]], outputs=3, axis=1, num_outputs=3)
    yield single("", "Tile", [x], {1: ints(1, 2, 1, 3)})
    yield single("", "Expand", [normal(3, 1, 2)], {1: ints(2, 3, 4, 1)})
    yield single("", "Transpose", [x], perm=[0, 2, 3, 1])
    yield single("all", "Squeeze", [normal(1, 3, 1)])
    yield single("negative", "Unsqueeze", [x], {1: ints(-1, 0)})
    yield single("start end", "Shape", [x], start=1, end=-1)
    yield single("", "Size", [x])
    yield single("", "CenterCropPad", [x], {1: ints(3, 9)}, axes=[2, 3])
    columns = normal(1, 8, 9)
    yield single("", "Col2Im", [columns], {1: ints(4, 4), 2: ints(2, 2)})
    for dtype in (*INTEGERS, "bool", "float16"):
        parts = [values(2, 3, dtype=dtype), values(2, 2, dtype=dtype, seed=1)]
        yield single(dtype, "Concat", parts, axis=-1)
        yield single(dtype, "Transpose", parts[:1], perm=[1, 0])
        yield single(dtype, "Tile", parts[:1], {1: ints(2, 2)})
        yield single(dtype, "Expand", [parts[0][:, :1].copy()], {1: ints(2, 4)})


def quantization() -> Iterator[Case]:
    x = np.array([[0.5, 1.5, 2.5, -0.5, -1.5, 200.0, -200.0, 127.4, 127.5]], np.float32)
    for dtype in ("uint8", "int8"):
        for zero in (0, 3):
            stored = {1: np.float32(1.0), 2: np.array(zero, dtype)}
            yield single(f"{dtype} zero point {zero}", "QuantizeLinear", [x], stored)
            back = {1: np.float32(0.1), 2: np.array(zero, dtype)}
            yield single(f"{dtype} zero point {zero}", "DequantizeLinear", [whole(3, 8, dtype=dtype)], back)
        scales = {1: np.array([0.1, 0.2, 0.3], np.float32), 2: np.array([0, 1, 2], dtype)}
        for axis in (1, -1):
            shape = (2, 3, 4) if axis == 1 else (2, 4, 3)
            yield single(
                f"{dtype} axis {axis}",
                "DequantizeLinear",
                [whole(*shape, dtype=dtype)],
                scales,
                axis=axis,
            )
            yield single(f"{dtype} axis {axis}", "QuantizeLinear", [normal(*shape) * 20], scales, axis=axis)
    yield single("int32", "DequantizeLinear", [whole(3, 8, dtype="int32")], {1: np.float32(1e-3)})
    yield single("", "DynamicQuantizeLinear", [normal(2, 3, 4)], outputs=3)
    yield single("", "MatMulInteger", [whole(3, 8, dtype="uint8"), whole(8, 4, dtype="int8")], {2: np.uint8(12)})
    images, kernels = whole(1, 2, 6, 6, dtype="uint8"), whole(3, 2, 3, 3, dtype="uint8", seed=1)
    yield single("", "ConvInteger", [images], {1: kernels, 2: np.uint8(7)})
    signed = whole(3, 2, 3, 3, dtype="int8", seed=1)
    scale = {
        1: np.float32(0.02),
        2: np.uint8(128),
        3: signed,
        4: np.float32(0.01),
        5: np.int8(0),
        6: np.float32(0.1),
        7: np.uint8(100),
    }
    yield single("uint8 by int8", "QLinearConv", [images], scale)
    product = {
        1: np.float32(0.02),
        2: np.uint8(128),
        3: whole(8, 4, dtype="uint8"),
        4: np.float32(0.01),
        5: np.uint8(3),
    }
    yield single(
        "",
        "QLinearMatMul",
        [whole(3, 8, dtype="uint8")],
        {**product, 6: np.float32(0.3), 7: np.uint8(100)},
    )


def products() -> Iterator[Case]:
    for a, b in (((2, 3), (3, 4)), ((5, 2, 3), (3, 4)), ((3,), (3, 4)), ((2, 1, 2, 3), (4, 3, 2)), ((3,), (3,))):
        yield single(f"{a} {b}", "MatMul", [normal(*a), normal(*b, seed=1)])
    for alpha, beta, left, right in ((1.0, 1.0, 0, 0), (0.5, 2.0, 1, 1), (2.0, 0.0, 0, 1)):
        first, second = normal(*((3, 2) if left else (2, 3))), normal(*((4, 3) if right else (3, 4)), seed=1)
        more = {"alpha": alpha, "beta": beta, "transA": left, "transB": right}
        yield single(f"{alpha} {beta} {left}{right}", "Gemm", [first], {1: second, 2: normal(4, seed=2)}, **more)
    for equation, shapes in {
        "bchw,bkc->bkhw": ((2, 3, 4, 5), (2, 6, 3)),
        "ij,jk->ki": ((2, 3), (3, 4)),
        "...ij,...jk->...ik": ((2, 2, 3), (2, 3, 4)),
        "bii->bi": ((2, 3, 3),),
        "ij->": ((2, 3),),
        "ij,ij->i": ((2, 3), (2, 3)),
    }.items():
        inputs = [normal(*shape, seed=seed) for seed, shape in enumerate(shapes)]
        yield single(equation, "Einsum", inputs, equation=equation)
    for dtype in ("int32", "int64"):
        small = whole(2, 3, dtype=dtype) % 100
        yield single(dtype, "MatMul", [small, (whole(3, 4, dtype=dtype) % 50)])
    yield single("", "Det", [normal(2, 3, 3)])


def spectra() -> Iterator[Case]:
    for axis, length in ((1, 4), (2, 8)):
        real = normal(2, 4, 8, 1)
        stored = {2: np.array(axis, np.int64)}
        for onesided in (0, 1):
            yield single(f"axis {axis} onesided {onesided}", "DFT", [real, None], stored, opset=20, onesided=onesided)
        yield single(f"axis {axis} complex", "DFT", [normal(2, 4, 8, 2), None], stored, opset=20)
        yield single(f"axis {axis} inverse", "DFT", [normal(2, 4, 8, 2), None], stored, opset=20, inverse=1)
        yield single(
            f"axis {axis} length {length + 2}",
            "DFT",
            [real],
            {1: np.array(length + 2, np.int64), **stored},
            opset=20,
        )
        for onesided in (0, 1):
            yield single(
                f"opset 17 axis {axis} onesided {onesided}",
                "DFT",
                [real],
                opset=17,
                axis=axis,
                onesided=onesided,
            )
        yield single(f"opset 17 axis {axis} inverse", "DFT", [normal(2, 4, 8, 2)], opset=17, axis=axis, inverse=1)
    yield single("", "STFT", [normal(1, 16, 1)], {1: np.array(4, np.int64), 2: normal(8), 3: np.array(8, np.int64)})
    for name in ("HannWindow", "HammingWindow", "BlackmanWindow"):
        yield single("", name, [np.array(8, np.int64)])


def sampling() -> Iterator[Case]:
    x, grid = normal(1, 2, 5, 6), np.random.default_rng(0).uniform(-1.4, 1.4, (1, 3, 4, 2)).astype(np.float32)
    for mode, padding, aligned in itertools.product(
        ("linear", "nearest", "cubic"), ("zeros", "border", "reflection"), (0, 1)
    ):
        more = {"mode": mode, "padding_mode": padding, "align_corners": aligned}
        yield single(f"{mode} {padding} {aligned}", "GridSample", [x, grid], **more)
        if mode != "cubic":
            old = {**more, "mode": {"linear": "bilinear"}.get(mode, mode)}
            yield single(f"opset 16 {mode} {padding} {aligned}", "GridSample", [x, grid], opset=16, **old)
    rois, index = np.array([[0.3, 0.4, 4.1, 3.7], [-1.0, 1.0, 3.0, 9.0]], np.float32), ints(0, 0)
    for mode, transform, ratio in itertools.product(("avg", "max"), ("half_pixel", "output_half_pixel"), (0, 2)):
        more = {"mode": mode, "coordinate_transformation_mode": transform, "sampling_ratio": ratio}
        more |= {"output_height": 2, "output_width": 3}
        yield single(f"{mode} {transform} ratio {ratio}", "RoiAlign", [x, rois], {2: index}, **more)
    pooled = np.array([[0, 0, 0, 3, 3]], np.float32)
    yield single("", "MaxRoiPool", [x, pooled], pooled_shape=[2, 2])
    yield single("", "AffineGrid", [normal(1, 2, 3)], {1: ints(1, 1, 3, 4)})


def combinations() -> Iterator[Case]:
    """Graphs of a few nodes in which a fault shows that single operators do not have."""
    x, weight = normal(2, 3, 6, 6), normal(3, 3, 3, 3, seed=1) / 3
    pads_ = {"pads": [1, 1, 1, 1]}
    for name, first, second, more in (
        ("Conv and ConvTranspose", "Conv", "ConvTranspose", {}),
        ("two ConvTranspose", "ConvTranspose", "ConvTranspose", {}),
        ("two Conv", "Conv", "Conv", {}),
        ("two Conv, strides apart", "Conv", "Conv", {"strides": [2, 2]}),
    ):
        nodes = [
            helper.make_node(first, ["x", "w"], ["a"], **pads_),
            helper.make_node("Relu", ["a"], ["r"]),
            helper.make_node(second, ["r", "w"], ["y"], **pads_, **more),
        ]
        yield _several(f"one weight, {name}", nodes, {"x": x}, {"w": weight})
    nodes = [helper.make_node("Conv", ["x", "w"], ["a"], **pads_), helper.make_node("Mul", ["a", "w"], ["y"])]
    yield _several("one weight, Conv and Mul", nodes, {"x": normal(3, 3, 3, 3)}, {"w": weight})
    flat = normal(3, 3, 1, 1, seed=4)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Reshape", ["w", "s"], ["m"]),
        helper.make_node("MatMul", ["a", "m"], ["y"]),
    ]
    yield _several("one weight, Conv and MatMul", nodes, {"x": normal(1, 3, 5, 3)}, {"w": flat, "s": ints(3, 3)})
    nodes = [helper.make_node("Conv", ["x", "w"], ["a"]), helper.make_node("Conv", ["x", "w"], ["b"], dilations=[2, 2])]
    nodes += [
        helper.make_node("ReduceMean", ["a"], ["c"]),
        helper.make_node("ReduceMean", ["b"], ["d"]),
        helper.make_node("Add", ["c", "d"], ["y"]),
    ]
    yield _several("one weight, dilated apart", nodes, {"x": x}, {"w": weight})
    depthwise = normal(3, 1, 3, 3, seed=3)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], group=3, **pads_),
        helper.make_node("ConvTranspose", ["a", "w"], ["y"], group=3, **pads_),
    ]
    yield _several("one weight, depthwise", nodes, {"x": x}, {"w": depthwise})
    nodes = [helper.make_node("Sigmoid", ["x"], ["s"]), helper.make_node("Log", ["s"], ["y"])]
    yield _several("log of sigmoid", nodes, {"x": np.array([[0, -5, -50, -100, -200, 50]], np.float32)}, {})
    nodes = [
        helper.make_node("Neg", ["x"], ["n"]),
        helper.make_node("Softplus", ["n"], ["p"]),
        helper.make_node("Neg", ["p"], ["y"]),
    ]
    yield _several("logsigmoid by Softplus", nodes, {"x": np.array([[0, -5, -50, -100, -200, 50]], np.float32)}, {})
    clip = [helper.make_node("Clip", ["x", "l", "h"], [name]) for name in ("a", "b")]
    limits = {"l": np.float32(-1), "h": np.float32(1)}
    yield _several("two equal Clips", [*clip, helper.make_node("Mul", ["a", "b"], ["y"])], {"x": x}, limits)
    image = whole(2, 3, 4, 4, dtype="uint8")
    nodes = [
        helper.make_node("Add", ["x", "c"], ["a"]),
        helper.make_node("Mul", ["a", "d"], ["b"]),
        helper.make_node("Cast", ["b"], ["y"], to=1),
    ]
    yield _several("uint8 image", nodes, {"x": image}, {"c": np.uint8(40), "d": np.uint8(2)})
    for dtype in ("int8", "uint8"):
        yield _quantized_concat(dtype)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("Clip", ["d", "l", "h"], ["y"]),
    ]
    for bound in (2.0, 1.85):
        stored = {"s": np.float32(0.037), "z": np.uint8(128), "l": np.float32(-bound), "h": np.float32(bound)}
        yield _several(f"cut off at {bound / 0.037:.1f} quantization steps", nodes, {"x": 3 * x}, stored)
    inside = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["t"])], "then", [], [helper.make_empty_tensor_value_info("t")]
    )
    other = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["e"])], "else", [], [helper.make_empty_tensor_value_info("e")]
    )
    nodes = [helper.make_node("If", ["c"], ["y"], then_branch=inside, else_branch=other)]
    yield _several("If", nodes, {"x": x, "c": np.array(False)}, {})


def _quantized_concat(dtype: str) -> Case:
    zero = np.array(128 if dtype == "uint8" else 0, dtype)
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Concat", ["x", "r"], ["c"], axis=1),
        helper.make_node("QuantizeLinear", ["c", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["wq", "ws", "wz"], ["w"], axis=0),
        helper.make_node("Conv", ["d", "w"], ["y"], pads=[1, 1, 1, 1]),
    ]
    weights = np.random.default_rng(0).integers(-127, 128, (4, 6, 3, 3)).astype(np.int8)
    stored = {
        "s": np.float32(0.02),
        "z": zero,
        "wq": weights,
        "ws": np.full(4, 0.01, np.float32),
        "wz": np.zeros(4, np.int8),
    }
    return _several(f"{dtype} QDQ behind Concat", nodes, {"x": normal(2, 3, 6, 6)}, stored)


def _several(name: str, nodes: list[Any], feeds: dict[str, Array], stored: dict[str, Array]) -> Case:
    return Case(name, build(nodes, feeds, stored, ["y"], OPSET), feeds)
