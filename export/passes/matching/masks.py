"""Masks of zeros and ones, and tensors that depend on a count of their ones alone, as tables over that count.

u, the sum of a mask under a window, is 0, 1, … up to the taps of the window times the mask's channels. Whatever a graph
computes of u element by element is a table [largest u + 1, 1 or C] in float64:

    Conv(mask, ones), AveragePool(mask)           u, and u over the number of taps
    constants, and what Expand makes of them      a number, or one for each channel
    Div, Clip, Where, … of those                  their elementwise results
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray
from onnx import TensorProto

from rectexport.exporter.graph.dialect import DOMAIN
from rectexport.exporter.graph.surgeon import is_standard, made_by, producer
from rectexport.exporter.passes.matching.rewrite import Scene
from rectexport.exporter.passes.matching.sizes import Size, entries, size
from rectexport.exporter.passes.matching.taps import ELEMENTWISE, Operand, Table, compute
from rectexport.exporter.passes.matching.uniform import uniform_plane
from rectexport.exporter.passes.matching.values import Values
from rectexport.exporter.passes.matching.window import Window, read_window

#: Operators whose output holds values of their first input alone, where Resize takes the nearest.
_MOVES = (
    *("Cast", "Expand", "Gather", "Identity", "Reshape", "Resize", "Slice", "Squeeze", "Tile", "Transpose"),
    "Unsqueeze",
)
#: Operators whose output is 0 or 1 where each of their inputs is.
_BINARY = ("Concat", "Max", "Min", "Mul", "Where")
#: What may stand between a mask and the next one.
_OF_COUNT = ("Identity", "Cast", "ReduceSum", "Conv", "AveragePool", "Clip", *ELEMENTWISE)
_FLOAT_TYPES = (np.float16, np.float32, np.float64)
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)
#: A mask whose counts may be larger is not read: each count is tried.
LARGEST_COUNT = 1 << 16


def is_binary(values: Values, tensor: gs.Tensor) -> bool:
    """Whether a tensor is known to hold nothing but 0 and 1."""
    return _Numbers(values).binary(tensor)


class _Numbers:
    """What is known of the numbers in tensors, each read once."""

    def __init__(self, values: Values) -> None:
        self._values = values
        self._binary: dict[int, bool] = {}
        self._whole: dict[int, bool] = {}

    def binary(self, tensor: gs.Tensor) -> bool:
        """Nothing but 0 and 1."""
        if id(tensor) not in self._binary:
            self._binary[id(tensor)] = self._is_binary(tensor)
        return self._binary[id(tensor)]

    def whole(self, tensor: gs.Tensor) -> bool:
        """Whole numbers of 0 and more, as sums of masks are."""
        if id(tensor) not in self._whole:
            self._whole[id(tensor)] = self.binary(tensor) or self._is_whole(tensor)
        return self._whole[id(tensor)]

    def _is_binary(self, tensor: gs.Tensor) -> bool:
        known = self._values.of(tensor)
        if known is not None:
            return bool(np.isin(known, (0, 1)).all())
        if tensor.dtype == np.bool_:
            return True
        node = producer(tensor)
        if node is None:
            return False
        if node.op in ("Clip", "Min") and self._caps_at_one(node):
            return self.whole(node.inputs[0])
        if node.op == "Resize" and node.attrs.get("mode", "nearest") not in ("nearest", b"nearest"):
            return False
        if node.op in _MOVES:
            return self.binary(node.inputs[0])
        if node.op == "Sub":
            one = self._values.of(node.inputs[0])
            return one is not None and bool((one == 1).all()) and self.binary(node.inputs[1])
        if node.op == "Pad":
            return all(self.binary(entry) for entry in (node.inputs[0], *node.inputs[2:3]) if entry.name)
        read = node.inputs[1:] if node.op == "Where" else node.inputs
        return node.op in _BINARY and all(self.binary(entry) for entry in read)

    def _caps_at_one(self, node: gs.Node) -> bool:
        """Whether a Clip or Min gives min(x, 1) for every x of 0 and more."""
        low, high = ([*node.inputs[1:], None, None])[:2] if node.op == "Clip" else (None, node.inputs[-1])
        least = None if low is None or not low.name else self._values.of(low)
        most = None if high is None or not high.name else self._values.of(high)
        open_below = low is None or not low.name or (least is not None and bool((least <= 0).all()))
        return open_below and most is not None and bool((most == 1).all())

    def _is_whole(self, tensor: gs.Tensor) -> bool:
        made = made_by(tensor)
        if made is not None and (made.op, made.domain) == ("MaskedCount", DOMAIN):
            return self.whole(made.inputs[0])
        node = producer(tensor, "Conv", "ReduceSum", "Add", "Max", "Identity")
        if node is None:
            return False
        if node.op == "Conv":
            weight = self._values.of(node.inputs[1])
            plain = weight is not None and bool(((weight >= 0) & (weight == np.round(weight))).all())
            return plain and not _has_bias(self._values, node) and self.whole(node.inputs[0])
        return all(self.whole(entry) for entry in (node.inputs if node.op in ("Add", "Max") else node.inputs[:1]))


def _has_bias(values: Values, node: gs.Node) -> bool:
    """Whether a convolution has a bias other than zeros, which torch writes for none."""
    if len(node.inputs) < 3 or not node.inputs[2].name:
        return False
    bias = values.of(node.inputs[2])
    return bias is None or bool(bias.any())


def source(tensor: gs.Tensor) -> gs.Tensor:
    """The tensor whose values it holds, in a floating-point type."""
    while (node := producer(tensor, "Identity", "Cast")) is not None:
        if node.op == "Cast" and int(node.attrs["to"]) not in _FLOATS:
            break
        tensor = node.inputs[0]
    return tensor


class CountTables:
    """Reads tensors as tables over the count of a mask under the window of one convolution.

    mask is a factor of the convolution's input, its channels a known number.
    """

    def __init__(self, scene: Scene, conv: gs.Node, window: Window, mask: gs.Tensor) -> None:
        self.window, self.mask = window, mask
        self.channels = int(conv.inputs[1].shape[0])
        self.mask_channels = int(mask.shape[1])
        self.most = self.mask_channels * prod(window.kernel)
        self.reachable = np.ones(self.most + 1, np.bool_)
        self._scene, self._y, self._source = scene, conv.outputs[0], source(mask)
        self._seen: dict[int, Operand | None] = {}

    def counts(self) -> Table:
        """Every u that may occur. [most + 1]."""
        return np.arange(self.most + 1.0)

    def read(self, tensor: gs.Tensor) -> Operand | None:
        """The tensor as a table, or None when it depends on anything else."""
        if id(tensor) not in self._seen:
            self._seen[id(tensor)] = self._read(tensor)
        return self._seen[id(tensor)]

    def _read(self, tensor: gs.Tensor) -> Operand | None:
        value = self._scene.values.of(tensor)
        if value is not None:
            return self._constant(value)
        node = producer(tensor)
        if node is None:
            return None
        if node.op in ("Conv", "AveragePool"):
            return self._count(node)
        if node.op == "ConstantOfShape":
            plane = uniform_plane(self._scene.values, tensor, 2 + self.window.axes)
            fits = plane is not None and self._fits(plane.sizes)
            return Operand(np.full((1, 1), plane.value), plane=False) if plane is not None and fits else None
        if node.op == "Expand":
            sizes = entries(self._scene.values, node.inputs[1])
            return self.read(node.inputs[0]) if sizes is not None and self._fits(sizes) else None
        return compute(node, self.read) if node.op in ("Identity", "Cast", "Clip", *ELEMENTWISE) else None

    def _fits(self, sizes: list[Size]) -> bool:
        """Whether a tensor of these sizes is no larger than the convolution's output."""
        rank = 2 + self.window.axes
        own = [size(self._scene.values, self._y, axis) for axis in range(rank)][rank - len(sizes) :]
        return len(sizes) <= rank and all(mine in (1, its) for mine, its in zip(sizes, own, strict=True))

    def _constant(self, value: NDArray[Any]) -> Operand | None:
        rank = 2 + self.window.axes
        if value.ndim > rank or not value.size or value.dtype.kind not in "fiub":
            return None
        planes: NDArray[Any] = value.reshape([1] * (rank - value.ndim) + list(value.shape))
        first = planes[:1].reshape(1, planes.shape[1], -1)[:, :, :1].reshape(1, -1, *[1] * self.window.axes)
        sizes: list[Size] = list(planes.shape)
        if not (planes == first).all() or not self._fits([sizes[0], 1, *sizes[2:]]):
            return None
        channels = first.astype(np.float64).reshape(1, -1)
        return Operand(channels[:, :1] if (channels == channels[0, 0]).all() else channels, plane=False)

    def _count(self, node: gs.Node) -> Operand | None:
        """Conv with equal weights, or AveragePool, of the mask or of the sum of its channels."""
        values = self._scene.values
        if read_window(values, node) != self.window:
            return None
        counted = source(node.inputs[0])
        channels = self._channels(counted)
        if channels is None:
            return None
        counts = self.counts()[:, None]
        if node.op == "AveragePool":
            padded = bool(node.attrs.get("count_include_pad", 0)) or not any(self.window.pads)
            plain = channels == 1 and padded and not node.attrs.get("ceil_mode", 0)
            return Operand(counts / prod(self.window.kernel), plane=True) if plain else None
        weight = values.of(node.inputs[1])
        if weight is None or _has_bias(values, node) or node.attrs.get("group", 1) != 1 or weight.shape[1] != channels:
            return None
        number = float(weight.flat[0])
        return Operand(number * counts, plane=True) if number > 0 and (weight == number).all() else None

    def _channels(self, counted: gs.Tensor) -> int | None:
        """How many channels a tensor has that counts the mask when its channels are added; None for other tensors."""
        if counted is self._source:
            return self.mask_channels
        total = producer(counted, "ReduceSum")
        axes = None if total is None or len(total.inputs) < 2 else self._scene.values.of(total.inputs[1])
        if total is None or axes is None or axes.tolist() != [1] or not total.attrs.get("keepdims", 1):
            return None
        return 1 if source(total.inputs[0]) is self._source else None

    def next_masks(self) -> list[gs.Tensor]:
        """Floating-point tensors that are 1 where u is above 0, and 0 elsewhere."""
        covered = (self.counts() > 0).astype(np.float64)[:, None]
        pending, found, seen = [self._source], [], {id(self._source)}
        while pending:
            for node in pending.pop().outputs:
                out = node.outputs[0] if node.outputs else None
                if out is None or id(out) in seen or not is_standard(node, *_OF_COUNT):
                    continue
                seen.add(id(out))
                operand = self.read(out)
                if operand is not None or is_standard(node, "Cast", "Identity", "ReduceSum"):
                    pending.append(out)
                if operand is not None and out.dtype in _FLOAT_TYPES and np.array_equal(operand.table, covered):
                    found.append(out)
        return found
