"""A discrete Fourier transform as one product with a constant matrix.

Given   y = DFT(x) along an axis of size n; x holds real numbers (last axis of size 1) or complex ones (size 2)
Result  y = x · M along that axis and the last one together: Transpose, Reshape, MatMul, Reshape, Transpose

With the length L (n where none is given), the angle θ(t, k) = ∓2πkt / L (+ and a factor 1 / L for the inverse):

    M[(t, re), (k, re)] = cos θ    M[(t, re), (k, im)] = sin θ
    M[(t, im), (k, re)] = −sin θ   M[(t, im), (k, im)] = cos θ

k runs to L, or to L // 2 + 1 with onesided. The inverse onesided transform takes the waves k up to L // 2, each but
k = 0 and k = L / 2 twice for its conjugate, and gives real numbers. Elements beyond L have zeros, missing ones no
rows. The matrix is computed in float64 and stored in float32; verified against ONNX Runtime and NumPy to a relative
L2 of 1e-6.

OpenVINO 2026.4.1 gives a onesided transform an axis too many, and ignores the axis that opset 20 gives as an input;
TensorRT has no DFT.

Not when rank, n, or the length is not known, beyond MAX_SIZE, for dtypes other than float32, or for an
inverse onesided transform without a length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper

from rectexport.exporter.graph.results import PassResult
from rectexport.exporter.passes.engines.edit import Edit, attribute

NAME = "dft_matrix"
#: Beyond it the matrix has more than 4 million numbers.
MAX_SIZE = 1024


@dataclass(frozen=True)
class Transform:
    """One DFT: x has `rank` axes, `size` elements along `axis`, and `parts` numbers each."""

    rank: int
    axis: int
    size: int
    parts: int
    length: int
    onesided: bool
    inverse: bool

    @property
    def results(self) -> int:
        """Size of the axis afterwards."""
        return self.length // 2 + 1 if self.onesided and not self.inverse else self.length

    @property
    def result_parts(self) -> int:
        """Numbers that an element has afterwards."""
        return 1 if self.onesided and self.inverse else 2

    def matrix(self) -> NDArray[Any]:
        """M as [size · parts, results · result_parts]."""
        return self._to_real() if self.result_parts == 1 else self._to_complex()

    def _to_real(self) -> NDArray[Any]:
        waves, places = np.arange(min(self.size, self.length // 2 + 1)), np.arange(self.length)
        angles = 2 * np.pi * (waves[:, None] * places % self.length) / self.length
        counted = np.where((waves == 0) | (2 * waves == self.length), 1, 2)[:, None] / self.length
        result = np.zeros((self.size, 2, self.length))
        result[: len(waves)] = np.stack([counted * np.cos(angles), -counted * np.sin(angles)], 1)
        return result.reshape(self.size * 2, self.length)

    def _to_complex(self) -> NDArray[Any]:
        places, waves = np.arange(min(self.size, self.length)), np.arange(self.results)
        angles = 2 * np.pi * (places[:, None] * waves % self.length) / self.length * (1 if self.inverse else -1)
        real, imaginary = np.cos(angles), np.sin(angles)
        result = np.zeros((self.size, self.parts, self.results, 2))
        result[: len(places), 0] = np.stack([real, imaginary], -1)
        if self.parts == 2:
            result[: len(places), 1] = np.stack([-imaginary, real], -1)
        return (result / (self.length if self.inverse else 1)).reshape(self.size * self.parts, self.results * 2)


def run(model: ModelProto) -> tuple[ModelProto, PassResult]:
    """Rewrite every DFT whose sizes are known."""
    edit = Edit(model, NAME)
    for node in list(edit.nodes("DFT")):
        transform = _transform(edit, node)
        if isinstance(transform, str):
            edit.refuse(node, transform)
        else:
            edit.replace(node, _product(edit, node, transform))
    return edit.close()


def _transform(edit: Edit, node: NodeProto) -> Transform | str:
    """What the node computes, or why it is left alone."""
    shape = edit.shape(node.input[0])
    onesided, inverse = bool(attribute(node, "onesided", 0)), bool(attribute(node, "inverse", 0))
    if edit.dtype(node.input[0]) != TensorProto.FLOAT:
        return "its input is not known to be float32"
    if shape is None or shape[-1] not in (1, 2):
        return "its rank, or whether its input is complex, is not known"
    axis, length = _axis(edit, node), _number(edit, node, 1)
    if axis is None or length is None:
        return "its axis or its length is not constant"
    if onesided and (shape[-1] == 2) != inverse:
        return "it is onesided, and of complex numbers where real ones are expected, or the other way around"
    if onesided and inverse and not length:
        return "it is onesided and inverse without a length"
    axis %= len(shape)
    size = shape[axis]
    if axis == len(shape) - 1 or size is None or max(size, length) > MAX_SIZE:
        return f"the size of its axis is open, or beyond {MAX_SIZE}"
    return Transform(len(shape), axis, size, int(shape[-1] or 1), length or size, onesided, inverse)


def _axis(edit: Edit, node: NodeProto) -> int | None:
    """The axis: an attribute up to opset 19, an input with default −2 from 20 on."""
    if edit.opset < 20:
        return int(attribute(node, "axis", 1))
    return _number(edit, node, 2, -2)


def _number(edit: Edit, node: NodeProto, place: int, default: int = 0) -> int | None:
    if len(node.input) <= place or not node.input[place]:
        return default
    value = edit.constant(node.input[place])
    return None if value is None else int(value.reshape(-1)[0])


def _product(edit: Edit, node: NodeProto, transform: Transform) -> list[NodeProto]:
    rank, axis = transform.rank, transform.axis
    order = [*(place for place in range(rank - 1) if place != axis), axis, rank - 1]
    rest = [0] * (rank - 2)
    joined = edit.store("joined", np.array([*rest, transform.size * transform.parts], np.int64))
    parted = edit.store("parted", np.array([*rest, transform.results, transform.result_parts], np.int64))
    matrix = edit.store("matrix", transform.matrix().astype(np.float32))
    nodes: list[NodeProto] = []

    def then(operator: str, *inputs: str, **attributes: Any) -> str:
        result = edit.fresh(node.output[0])
        nodes.append(helper.make_node(operator, list(inputs), [result], edit.fresh(result), **attributes))
        return result

    flat = then("Reshape", then("Transpose", node.input[0], perm=order), joined)
    wide = then("Reshape", then("MatMul", flat, matrix), parted)
    back = np.argsort(order).tolist()
    nodes.append(helper.make_node("Transpose", [wide], list(node.output), node.name, perm=back))
    return nodes
