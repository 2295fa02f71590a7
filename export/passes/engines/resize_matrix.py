"""Resizing that an engine computes otherwise than ONNX, as products with constant matrices.

Given   y = Resize(x) of H × W to H′ × W′, linear or cubic, with antialias, with half_pixel_symmetric, or
        cubic with exclude_outside
Result  y = A · x · Bᵀ for every plane; A [H′, H] and B [W′, W] hold the weights of each output row and column

Row i of A samples at position p(i) of the coordinate transformation. With the scale s = H′/H (or the one given) and
t = min(s, 1) with antialias, 1 without, the weight of input row j is f(t · (j − p(i))), divided by the sum over all j;
f is the triangle 1 − |d| on [−1, 1] for linear, Keys' cubic with cubic_coeff_a on [−2, 2]. A row j outside the input is
the nearest one inside, or with exclude_outside it is left out and the rest is divided by its sum. Matrices are computed
in float64 and stored in float32.

Verified against ONNX Runtime to a relative L2 of 1e-6 for all of COORDINATES. OpenVINO 2026.4.1 ignores antialias and
exclude_outside and refuses half_pixel_symmetric; TensorRT 10.1 has no antialias.

Not when sizes are open, where batch or channels are resized, for dtypes other than float32, or with
keep_aspect_ratio_policy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper

from rectexport.exporter.graph.results import PassResult
from rectexport.exporter.passes.engines.edit import LEAST_OPSET, Edit, attribute, standard

NAME = "resize_matrix"
#: Beyond it a matrix is larger than what is gained.
MAX_SIDE = 4096


@dataclass(frozen=True)
class Line:
    """One axis that is resized: sizes before and after, and the scale that positions are computed with."""

    size: int
    result: int
    scale: float


def _half_pixel(index: int, line: Line) -> float:
    return (index + 0.5) / line.scale - 0.5


def _align_corners(index: int, line: Line) -> float:
    return 0.0 if line.result == 1 else index * (line.size - 1) / (line.result - 1)


def _half_pixel_symmetric(index: int, line: Line) -> float:
    adjusted = line.result / (line.scale * line.size)
    return line.size / 2 * (1 - adjusted) + _half_pixel(index, line)


#: Position in the input that an output index is sampled at.
COORDINATES: dict[str, Callable[[int, Line], float]] = {
    "half_pixel": _half_pixel,
    "pytorch_half_pixel": lambda index, line: 0.0 if line.result == 1 else _half_pixel(index, line),
    "half_pixel_symmetric": _half_pixel_symmetric,
    "align_corners": _align_corners,
    "asymmetric": lambda index, line: index / line.scale,
}


@dataclass(frozen=True)
class Method:
    """How weights are computed along an axis."""

    mode: str
    coordinates: str
    antialias: bool
    exclude_outside: bool
    factor: float

    @property
    def unusual(self) -> bool:
        """Whether an engine is known to compute it otherwise, or to refuse it."""
        excluded = self.mode == "cubic" and self.exclude_outside
        return self.antialias or excluded or self.coordinates == "half_pixel_symmetric"

    def matrix(self, line: Line) -> NDArray[Any]:
        """The weights [result, size] of one axis."""
        narrow = min(line.scale, 1.0) if self.antialias else 1.0
        reach = math.ceil((1 if self.mode == "linear" else 2) / narrow) + 1
        rows = np.zeros((line.result, line.size))
        for index in range(line.result):
            place = COORDINATES[self.coordinates](index, line)
            taps = np.arange(math.floor(place) - reach, math.floor(place) + reach + 1)
            weights = self._weights(narrow * (taps - place))
            weights /= weights.sum()
            if self.exclude_outside:
                weights = np.where((taps >= 0) & (taps < line.size), weights, 0)
                weights /= weights.sum()
            np.add.at(rows[index], np.clip(taps, 0, line.size - 1), weights)
        return rows

    def _weights(self, distances: NDArray[Any]) -> NDArray[Any]:
        d, a = np.abs(distances), self.factor
        if self.mode == "linear":
            return np.clip(1 - d, 0, None)
        near = (a + 2) * d**3 - (a + 3) * d**2 + 1
        far = a * (d**3 - 5 * d**2 + 8 * d - 4)
        return np.where(d <= 1, near, np.where(d < 2, far, 0))


def run(model: ModelProto) -> tuple[ModelProto, PassResult]:
    """Rewrite every Resize with a method that engines compute otherwise."""
    edit = Edit(model, NAME)
    for node in list(edit.nodes("Resize")):
        method = _method(node)
        if method.mode == "nearest" or not method.unusual:
            continue
        lines = _lines(edit, node, method)
        if isinstance(lines, str):
            edit.refuse(node, lines)
        else:
            edit.replace(node, _products(edit, node, method, lines))
    return edit.close()


def _method(node: NodeProto) -> Method:
    return Method(
        mode=attribute(node, "mode", "nearest"),
        coordinates=attribute(node, "coordinate_transformation_mode", "half_pixel"),
        antialias=bool(attribute(node, "antialias", 0)),
        exclude_outside=bool(attribute(node, "exclude_outside", 0)),
        factor=attribute(node, "cubic_coeff_a", -0.75),
    )


def _lines(edit: Edit, node: NodeProto, method: Method) -> list[Line] | str:
    """Height and width, or why the node is left alone."""
    if edit.opset < LEAST_OPSET:
        return f"the model has opset {edit.opset}, below {LEAST_OPSET}"
    if method.coordinates not in COORDINATES:
        return f"coordinate_transformation_mode {method.coordinates}"
    if attribute(node, "keep_aspect_ratio_policy", "stretch") != "stretch":
        return "it keeps the aspect ratio"
    if edit.dtype(node.input[0]) != TensorProto.FLOAT:
        return "its input is not known to be float32"
    shape = edit.shape(node.input[0])
    if shape is None or len(shape) != 4 or shape[2] is None or shape[3] is None:
        return "height and width are not fixed"
    return _sized(edit, node, (shape[2], shape[3]))


def _sized(edit: Edit, node: NodeProto, plane: tuple[int, int]) -> list[Line] | str:
    scales = edit.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    scaled = scales is not None and len(scales) > 0
    given = scales.tolist() if scales is not None and scaled else _sizes(edit, node)
    axes = [axis % 4 for axis in attribute(node, "axes", range(4))]
    if given is None or len(given) != len(axes):
        return "the size that it makes is not constant"
    wanted = dict(zip(axes, given, strict=True))
    shape = edit.shape(node.input[0]) or ()
    for axis in (0, 1):
        if wanted.get(axis) not in (None, 1.0 if scaled else shape[axis]):
            return "it resizes batch or channels, or their sizes are open"
    lines = [_line(plane[axis - 2], wanted.get(axis), scaled) for axis in (2, 3)]
    if not all(0 < line.result <= MAX_SIDE and 0 < line.size <= MAX_SIDE for line in lines):
        return f"a side is beyond {MAX_SIDE}"
    return lines


def _sizes(edit: Edit, node: NodeProto) -> list[int | None] | None:
    """The input sizes: numbers, None for an axis that keeps its size; None alone where they are not known."""
    name = node.input[3] if len(node.input) > 3 else ""
    stored, maker = edit.constant(name), edit.maker(name)
    if stored is not None:
        return [int(value) for value in stored]
    if maker is None or not standard(maker, "Concat"):
        return None
    found: list[int | None] = []
    for part in maker.input:
        value, inner = edit.constant(part), edit.maker(part)
        if value is not None:
            found += [int(number) for number in value.reshape(-1)]
        elif inner is not None and not found and _leading_sizes(edit, node, inner):
            found += [None] * int(attribute(inner, "end", 4))
        else:
            return None
    return found


def _leading_sizes(edit: Edit, resize: NodeProto, node: NodeProto) -> bool:
    """Whether a node gives the first sizes of what is resized, as torch.onnx writes it."""
    same = standard(node, "Shape") and edit.source(node.input[0]) == edit.source(resize.input[0])
    return same and attribute(node, "start", 0) == 0 and 0 < attribute(node, "end", 4) <= 4


def _line(size: int, wanted: float | None, scaled: bool) -> Line:
    if wanted is None:
        return Line(size, size, 1.0)
    if scaled:
        return Line(size, math.floor(size * wanted), float(wanted))
    return Line(size, int(wanted), int(wanted) / size)


def _products(edit: Edit, node: NodeProto, method: Method, lines: list[Line]) -> list[NodeProto]:
    rows, columns = (method.matrix(line).astype(np.float32) for line in lines)
    left, right = edit.store("rows", rows), edit.store("columns", columns.T)
    wide = edit.fresh(node.output[0])
    return [
        helper.make_node("MatMul", [node.input[0], right], [wide], edit.fresh(wide)),
        helper.make_node("MatMul", [left, wide], list(node.output), node.name),
    ]
