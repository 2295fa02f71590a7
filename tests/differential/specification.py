"""What ONNX says a graph computes: onnx.reference, with the operators replaced that it computes wrongly.

Wrong in onnx 1.22, each by more than rounding: LRN walks over the batch and not over the channels; ConvTranspose with
groups, pools with ceil_mode whose last window reaches beyond the input, and MaxPool with padding that is not the same
on all sides.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from onnx import ModelProto
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from torch.nn import functional

from rectexport.exporter.graph.widened import widened
from tests.differential.case import Array


def answer(model: ModelProto, feeds: Mapping[str, Array]) -> list[Array] | None:
    """The outputs in the model's own dtypes; None where the model does not take these inputs."""
    try:
        return evaluate(model, feeds)
    except Exception:  # of NumPy's kinds, and the reference's own
        return None


def evaluate(model: ModelProto, feeds: Mapping[str, Array]) -> list[Array]:
    """The outputs in the model's own dtypes. Raises what NumPy raises where the model does not take these inputs."""
    with np.errstate(all="ignore"):
        outputs: Any = ReferenceEvaluator(model, new_ops=list(REPLACED)).run(None, dict(feeds))
    return [np.asarray(value) for value in outputs]


def exact_answer(model: ModelProto, feeds: Mapping[str, Array]) -> list[Array] | None:
    """The outputs in float64."""
    wide = {name: array.astype(np.float64) if array.dtype.kind == "f" else array for name, array in feeds.items()}
    return answer(widened(model), wide)


class LRN(OpRun):
    """Over the channels within (size - 1) / 2 of each."""

    def _run(self, x: Array, alpha: float, beta: float, bias: float, size: int) -> tuple[Array]:
        before, after = (size - 1) // 2, -(-(size - 1) // 2)
        squares = np.stack(
            [
                np.sum(x[:, max(0, channel - before) : channel + after + 1] ** 2, axis=1)
                for channel in range(x.shape[1])
            ],
            axis=1,
        )
        return ((x / (bias + alpha / size * squares) ** beta).astype(x.dtype),)


class ConvTranspose(OpRun):
    """By PyTorch, which computes it without ONNX's code; padding is cut off afterwards."""

    def _run(self, x: Array, w: Array, b: Array | None = None, **attributes: Any) -> tuple[Array]:
        if attributes.get("output_shape") or attributes.get("auto_pad") not in (None, "NOTSET"):
            raise NotImplementedError
        plane = range(x.ndim - 2)
        strides, dilations = (attributes.get(name) or [1 for _ in plane] for name in ("strides", "dilations"))
        more = attributes.get("output_padding") or [0 for _ in plane]
        pads = attributes.get("pads") or [0 for _ in plane] * 2
        call = functional.conv_transpose2d if x.ndim == 4 else functional.conv_transpose1d
        whole = call(
            torch.tensor(x),
            torch.tensor(w),
            None if b is None else torch.tensor(b),
            stride=strides,
            dilation=dilations,
            groups=attributes.get("group") or 1,
        ).numpy()
        whole = np.pad(whole, [(0, 0), (0, 0), *((0, extra) for extra in more)])
        if b is not None and any(more):
            beyond = np.ones(whole.shape[2:], bool)
            beyond[tuple(slice(0, size - extra) for size, extra in zip(beyond.shape, more, strict=True))] = False
            whole[:, :, beyond] = b[None, :, None]
        ends = [size - pads[axis + len(plane)] for axis, size in enumerate(whole.shape[2:])]
        cut = (slice(pads[axis], ends[axis]) for axis in plane)
        return (whole[(slice(None), slice(None), *cut)].astype(x.dtype),)


class _Pool(OpRun):
    """Window by window."""

    def _windows(self, x: Array, attributes: Mapping[str, Any]) -> Iterator[tuple[tuple[int, ...], Array, int]]:
        """Place of each output, the elements of its window [N, C, …], and their number with padding counted."""
        axes = [self._axis(x.shape[axis + 2], axis, attributes) for axis in range(x.ndim - 2)]
        for place in itertools.product(*(range(len(axis)) for axis in axes)):
            chosen = [axis[index] for axis, index in zip(axes, place, strict=True)]
            inside = x[(slice(None), slice(None), *np.ix_(*(entry[0] for entry in chosen)))]
            yield place, inside.reshape(*x.shape[:2], -1), math.prod(entry[1] for entry in chosen)

    def _axis(self, size: int, axis: int, attributes: Mapping[str, Any]) -> list[tuple[list[int], int]]:
        """For each window its indices inside the input, and how many of its elements lie inside the padded input."""
        kernel = attributes["kernel_shape"][axis]
        stride, dilation = ((attributes.get(name) or [1] * 9)[axis] for name in ("strides", "dilations"))
        span = dilation * (kernel - 1) + 1
        auto = attributes.get("auto_pad") or "NOTSET"
        if auto.startswith("SAME"):
            count = -(-size // stride)
            total = max((count - 1) * stride + span - size, 0)
            before = total // 2 if auto == "SAME_UPPER" else total - total // 2
            after = total - before
        else:
            pads = attributes.get("pads") or [0] * 2 * len(attributes["kernel_shape"])
            before, after = (0, 0) if auto == "VALID" else (pads[axis], pads[axis + len(pads) // 2])
            rest = size + before + after - span
            count = (-(-rest // stride) if attributes.get("ceil_mode") else rest // stride) + 1
            if attributes.get("ceil_mode") and (count - 1) * stride >= size + before:
                count -= 1
        starts = [index * stride - before for index in range(count)]
        return [self._window(start, span, dilation, size, after) for start in starts]

    def _window(self, start: int, span: int, dilation: int, size: int, after: int) -> tuple[list[int], int]:
        indices = range(start, start + span, dilation)
        return [index for index in indices if 0 <= index < size], sum(index < size + after for index in indices)

    def _filled(self, x: Array, values: Mapping[tuple[int, ...], Array]) -> tuple[Array]:
        result = np.zeros((*x.shape[:2], *(max(place) + 1 for place in zip(*values, strict=True))), x.dtype)
        for place, value in values.items():
            result[(slice(None), slice(None), *place)] = value
        return (result,)


class MaxPool(_Pool):
    """The largest element inside."""

    def _run(self, x: Array, **attributes: Any) -> tuple[Array]:
        if len(self.onnx_node.output) > 1:
            raise NotImplementedError
        return self._filled(x, {place: inside.max(-1) for place, inside, _ in self._windows(x, attributes)})


class AveragePool(_Pool):
    """The mean of the elements inside, or of those inside the padded input."""

    def _run(self, x: Array, **attributes: Any) -> tuple[Array]:
        padded = attributes.get("count_include_pad")
        return self._filled(
            x,
            {
                place: inside.sum(-1) / (count if padded else inside.shape[-1])
                for place, inside, count in self._windows(x, attributes)
            },
        )


class LpPool(_Pool):
    """The p-norm of the elements inside."""

    def _run(self, x: Array, **attributes: Any) -> tuple[Array]:
        p = attributes.get("p") or 2
        return self._filled(
            x,
            {place: (np.abs(inside) ** p).sum(-1) ** (1 / p) for place, inside, _ in self._windows(x, attributes)},
        )


REPLACED: Sequence[type[OpRun]] = (LRN, ConvTranspose, MaxPool, AveragePool, LpPool)
