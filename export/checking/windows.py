"""Which input pixels each output pixel depends on, read from the graph: what exact tiling needs.

Along one axis, output index o depends on input indices within [stride * o + low, stride * o + high], cut to the image.
The stride is the number of input pixels for one output pixel: 2 behind a stride of 2, 1/2 behind an upsampling by 2.

A tile that begins at a multiple of `align` gives the outputs of the whole image wherever this window lies inside the
tile: a network pads at the tile's own sides, which reaches no farther than the window does. So the window covers zero
padding, rectification, symmetric padding and cropping alike.

Sources: Araujo, Norris, Sim, "Computing Receptive Fields of Convolutional Neural Networks" (Distill, 2019), for the
composition of windows; the ONNX specification for each operator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, numpy_helper

from rectexport.exporter.graph import dialect
from rectexport.exporter.graph.shapes import infer_shapes
from rectexport.runtime.tiling.windows import AxisWindow


@dataclass(frozen=True)
class Window:
    """Output index o depends on input indices within [stride * o + low, stride * o + high]."""

    stride: Fraction = Fraction(1)
    low: Fraction = Fraction(0)
    high: Fraction = Fraction(0)

    def behind(self, step: Step) -> Window:
        """The window of an operator's output, where this is the window of its input."""
        stride, low, high = step
        return Window(self.stride * stride, self.stride * low + self.low, self.stride * high + self.high)

    def joined(self, other: Window) -> Window | None:
        """Both windows at once; None where the two tensors have different strides."""
        if self.stride != other.stride:
            return None
        return Window(self.stride, min(self.low, other.low), max(self.high, other.high))


#: (stride, low, high) of one operator along one axis.
Step = tuple[Fraction, Fraction, Fraction]
_SAME: Step = (Fraction(1), Fraction(0), Fraction(0))


@dataclass(frozen=True)
class Tracked:
    """A tensor whose axes are those of the image: which axes, and the window along each."""

    axes: tuple[int, ...]
    windows: tuple[Window, ...]


@dataclass(frozen=True)
class Whole:
    """A tensor that depends on the whole image, or on its size; `reason` names the node that made it so."""

    reason: str


@dataclass(frozen=True)
class ImageWindow:
    """How one output depends on the image, axis by axis: windows, and what a tile's first index is a multiple of."""

    windows: tuple[Window, ...]
    align: tuple[int, ...]


class _Refused(Exception):
    """A node that has no finite window; the message says why."""


def output_windows(model: ModelProto) -> dict[str, ImageWindow | Whole]:
    """For each output: its window over the only input, or the reason why it has none.

    model is as traced, with dialect nodes, and with the shapes of inner tensors where they are known. The input is an
    image [N, C, H, W], or [N, C, L] or [N, C, D, H, W]; the axes are all but the first two.
    """
    stored = {entry.name for entry in model.graph.initializer}
    (image, *others) = [value for value in model.graph.input if value.name not in stored]
    rank = len(image.type.tensor_type.shape.dim)
    if others or rank < 3:
        found = Whole(f"the model has {1 + len(others)} inputs, the first of rank {rank}: expected one image")
        return {value.name: found for value in model.graph.output}
    axes = tuple(range(2, rank))
    walk = _Walk(model.graph, image.name, Tracked(axes, tuple(Window() for _ in axes)))
    return {value.name: walk.of_output(value.name) for value in model.graph.output}


def tiling_entries(model: ModelProto) -> dict[str, Any]:
    """The manifest's `tiling`: for each output its windows, axis by axis, or the reason why it has none."""
    return {
        name: {"refused": found.reason}
        if isinstance(found, Whole)
        else {"axes": [_axis(found, index).as_dict() for index in range(len(found.windows))]}
        for name, found in output_windows(infer_shapes(model)).items()
    }


def _axis(found: ImageWindow, index: int) -> AxisWindow:
    window = found.windows[index]
    return AxisWindow(window.stride, window.low, window.high, found.align[index])


class _Walk:
    """Follows the windows from the image to the outputs, node by node."""

    def __init__(self, graph: GraphProto, image: str, start: Tracked) -> None:
        self._shapes = _shapes(graph)
        self._constants = {entry.name: entry for entry in graph.initializer}
        self._found: dict[str, Tracked | Whole] = {image: start}
        self._start = start
        self._align = [1 for _ in start.axes]
        for node in graph.node:
            if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
                values = dialect.attributes(node)
                if "value" in values:
                    self._constants[node.output[0]] = values["value"]
                continue
            state = self._state(node)
            if state is not None:
                self._found.update((name, state) for name in node.output if name)

    def of_output(self, name: str) -> ImageWindow | Whole:
        """What an output of the graph depends on."""
        state = self._found.get(name)
        if state is None:
            return Whole("it does not depend on the image")
        if isinstance(state, Whole):
            return state
        if state.axes != self._start.axes:
            return Whole("its last axes are not those of the image")
        return ImageWindow(state.windows, tuple(self._align))

    def _state(self, node: NodeProto) -> Tracked | Whole | None:
        inputs = [self._found[name] for name in node.input if name in self._found]
        whole = next((entry for entry in inputs if isinstance(entry, Whole)), None)
        if not inputs:
            return None
        try:
            if node.op_type in ("Shape", "Size"):
                return Whole(f"{_label(node)} reads the image's size")
            sized = node.op_type == "Reshape" and isinstance(self._found.get(node.input[0]), Tracked)
            if whole is not None and not sized:
                return whole
            state = self._tracked(node)
        except _Refused as refusal:
            return Whole(f"{_label(node)}: {refusal}")
        except (LookupError, ValueError):
            return Whole(f"{_label(node)}: its attributes do not fit the rank of its input")
        for index, window in enumerate(state.windows):
            self._align[index] = math.lcm(self._align[index], window.stride.numerator)
        return state

    def _tracked(self, node: NodeProto) -> Tracked:
        values = [self._found[name] for name in node.input if isinstance(self._found.get(name), Tracked)]
        tracked = [entry for entry in values if isinstance(entry, Tracked)]
        if not tracked:
            raise _Refused("it depends on the whole image")
        known = node.domain in ("", "ai.onnx", dialect.DOMAIN)
        if known and node.op_type in _POINTWISE:
            return self.joined(tracked, self._ranks(node))
        if known and node.op_type in _WINDOWED:
            if len(tracked) > 1 and node.op_type not in dialect.RECTIFIES.values():
                raise _Refused("more than one of its inputs follows from the image")
            if node.op_type not in _ANY_AXES and tracked[0].axes != self._start.axes:
                raise _Refused("it takes other axes than the image's")
            return self._moved(tracked[0], _WINDOWED[node.op_type](self, node, len(tracked[0].axes)))
        if known and node.op_type in _BY_AXIS:
            return _BY_AXIS[node.op_type](self, node, tracked)
        raise _Refused("it has no finite window that is known")

    def _moved(self, state: Tracked, steps: Sequence[Step]) -> Tracked:
        windows = (window.behind(step) for window, step in zip(state.windows, steps, strict=True))
        return Tracked(state.axes, tuple(windows))

    def joined(self, states: Sequence[Tracked], ranks: Sequence[int] = ()) -> Tracked:
        """The windows of tensors that meet element by element."""
        found = states[0]
        for other in states[1:]:
            if other.axes != found.axes or len(set(ranks)) > 1:
                raise _Refused("it joins tensors whose image axes differ")
            windows = [one.joined(two) for one, two in zip(found.windows, other.windows, strict=True)]
            kept = [window for window in windows if window is not None]
            if len(kept) < len(windows):
                raise _Refused("it joins tensors of different resolution")
            found = Tracked(found.axes, tuple(kept))
        return found

    def _ranks(self, node: NodeProto) -> list[int]:
        tracked = [name for name in node.input if isinstance(self._found.get(name), Tracked)]
        return [len(self._shapes[name]) for name in tracked if name in self._shapes]

    def constant(self, node: NodeProto, index: int, what: str) -> np.ndarray[Any, Any]:
        """The value of an input that must be constant."""
        name = node.input[index] if index < len(node.input) else ""
        if name not in self._constants:
            raise _Refused(f"its {what} are not constant")
        return numpy_helper.to_array(self._constants[name])

    def shape(self, name: str) -> Sequence[int | str]:
        """Sizes, and names of those that are free; empty where nothing is known."""
        return self._shapes.get(name, ())

    def state(self, name: str) -> Tracked:
        """What is known of a tracked input."""
        found = self._found[name]
        assert isinstance(found, Tracked)
        return found


def _label(node: NodeProto) -> str:
    return f"{node.op_type} {node.name or node.output[0]}"


def _shapes(graph: GraphProto) -> dict[str, tuple[int | str, ...]]:
    found: dict[str, tuple[int | str, ...]] = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        if kind.HasField("shape"):
            found[value.name] = tuple(
                dim.dim_value if dim.HasField("dim_value") else dim.dim_param or f"?{index}"
                for index, dim in enumerate(kind.shape.dim)
            )
    return found


def _conv(walk: _Walk, node: NodeProto, count: int) -> list[Step]:
    values = dialect.attributes(node)
    if values.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise _Refused("its padding follows from the image's size (auto_pad)")
    kernel = values.get("kernel_shape") or tuple(walk.shape(node.input[1])[2:]) or _stored_kernel(walk, node)
    strides, dilations = (values.get(name) or (1,) * count for name in ("strides", "dilations"))
    pads = values.get("pads") or (0,) * (2 * count)
    reach = [(int(k) - 1) * d for k, d in zip(kernel, dilations, strict=True)]
    steps = zip(strides, reach, pads, strict=False)
    return [(Fraction(stride), Fraction(-begin), Fraction(far - begin)) for stride, far, begin in steps]


def _stored_kernel(walk: _Walk, node: NodeProto) -> tuple[int, ...]:
    return tuple(walk.constant(node, 1, "weights").shape[2:])


def _conv_transpose(walk: _Walk, node: NodeProto, count: int) -> list[Step]:
    values = dialect.attributes(node)
    if values.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID") or values.get("output_shape"):
        raise _Refused("its padding follows from a size (auto_pad or output_shape)")
    kernel = values.get("kernel_shape") or tuple(walk.shape(node.input[1])[2:]) or _stored_kernel(walk, node)
    strides, dilations = (values.get(name) or (1,) * count for name in ("strides", "dilations"))
    pads = values.get("pads") or (0,) * (2 * count)
    found = []
    for size, stride, dilation, begin in zip(kernel, strides, dilations, pads, strict=False):
        far = (int(size) - 1) * dilation
        found.append((Fraction(1, stride), Fraction(begin - far, stride), Fraction(begin, stride)))
    return found


def _rectify(walk: _Walk, node: NodeProto, count: int) -> list[Step]:
    """Its factors differ from 1 only where the window of the convolution before it reaches over the border."""
    return [_SAME] * count


def _symmetric_pad(walk: _Walk, node: NodeProto, count: int) -> list[Step]:
    pads = dialect.attributes(node)["pads"]  # (top, left, bottom, right) of four groups
    found = []
    for axis in range(count):
        begins = [Fraction(-pads[4 * group + axis]) for group in range(4)]
        found.append((Fraction(1), min(begins), max(begins)))
    return found


def _boundary_pad(walk: _Walk, node: NodeProto, count: int) -> list[Step]:
    values = dialect.attributes(node)
    begins, ends = values["pads"][:count], values["pads"][count:]
    found = []
    for mode, begin, end in zip(values["modes"], begins, ends, strict=True):
        if (begin or end) and mode in (dialect.CIRCULAR, dialect.POLES, dialect.POLE_POINTS):
            raise _Refused(f"it joins distant sides of the image (border {dialect.BORDERS[mode]})")
        mirrored = 0 if mode == dialect.ZEROS else 2 * max(begin, end)
        found.append((Fraction(1), Fraction(-begin - mirrored), Fraction(-begin + mirrored)))
    return found


def _pad(walk: _Walk, node: NodeProto, count: int) -> list[Step]:
    state = walk.state(node.input[0])
    amounts = [int(value) for value in walk.constant(node, 1, "amounts")]
    rank = len(walk.shape(node.input[0])) or len(amounts) // 2
    axes = list(range(rank))
    if len(node.input) > 3 and node.input[3]:
        axes = [int(axis) % rank for axis in walk.constant(node, 3, "axes")]
    begins, ends = dict(zip(axes, amounts, strict=False)), dict(zip(axes, amounts[len(axes) :], strict=True))
    mode = dialect.attributes(node).get("mode", b"constant")
    if mode == b"wrap" and any(begins.get(axis, 0) or ends.get(axis, 0) for axis in state.axes):
        raise _Refused("it joins opposite sides of the image (mode wrap)")
    found = []
    for axis in state.axes:
        begin, end = begins.get(axis, 0), ends.get(axis, 0)
        if begin < 0:
            found.append((Fraction(1), Fraction(-begin), Fraction(-begin)))
            continue
        mirrored = 0 if mode == b"constant" else 2 * max(begin, end, 0)
        found.append((Fraction(1), Fraction(-begin - mirrored), Fraction(-begin + mirrored)))
    return found


def _resize(walk: _Walk, node: NodeProto, count: int) -> list[Step]:
    state, values = walk.state(node.input[0]), dialect.attributes(node)
    transform = values.get("coordinate_transformation_mode", b"half_pixel").decode()
    if transform not in ("half_pixel", "asymmetric", "pytorch_half_pixel"):
        raise _Refused(f"its coordinates depend on the image's size ({transform})")
    if values.get("antialias") or values.get("exclude_outside") or values.get("axes"):
        raise _Refused("antialias, exclude_outside and axes have no window that is known")
    index = 1 if node.op_type == "Upsample" else 2
    sizes = [float(value) for value in walk.constant(node, index, "scales")]
    if not sizes:
        raise _Refused("its scales are not constant")
    reach = {"nearest": 1, "linear": 1, "cubic": 2}[values.get("mode", b"nearest").decode()]
    found = []
    for axis in state.axes:
        scale = Fraction(sizes[axis]).limit_denominator(64)
        if float(scale) != sizes[axis]:
            raise _Refused(f"its scale {sizes[axis]} is no simple fraction")
        shift = Fraction(0) if transform == "asymmetric" else (1 / scale - 1) / 2
        found.append((1 / scale, shift - reach, shift + reach))
    return found


def _depth_to_space(walk: _Walk, node: NodeProto, count: int) -> list[Step]:
    block = int(dialect.attributes(node)["blocksize"])
    return [(Fraction(1, block), Fraction(1 - block, block), Fraction(0))] * count


def _space_to_depth(walk: _Walk, node: NodeProto, count: int) -> list[Step]:
    block = int(dialect.attributes(node)["blocksize"])
    return [(Fraction(block), Fraction(0), Fraction(block - 1))] * count


def _transpose(walk: _Walk, node: NodeProto, tracked: Sequence[Tracked]) -> Tracked:
    (state,) = tracked
    rank = len(walk.shape(node.input[0]))
    order = list(dialect.attributes(node).get("perm") or reversed(range(rank)))
    return Tracked(tuple(order.index(axis) for axis in state.axes), state.windows)


def _reshape(walk: _Walk, node: NodeProto, tracked: Sequence[Tracked]) -> Tracked:
    """Axes that keep their place from the end, and their sizes, as in a channel shuffle."""
    state, before, after = tracked[0], walk.shape(node.input[0]), walk.shape(node.output[0])
    if not before or not after:
        raise _Refused("its shapes are not known")
    moved = tuple(axis + len(after) - len(before) for axis in state.axes)
    kept = all(0 <= new < len(after) and before[old] == after[new] for old, new in zip(state.axes, moved, strict=True))
    if not kept or state.axes[-1] != len(before) - 1:
        raise _Refused("it changes the image's axes")
    return Tracked(moved, state.windows)


def _slice(walk: _Walk, node: NodeProto, tracked: Sequence[Tracked]) -> Tracked:
    state, rank = tracked[0], len(walk.shape(node.input[0]))
    starts, _ = (walk.constant(node, index, "starts and ends") for index in (1, 2))
    axes = walk.constant(node, 3, "axes") if len(node.input) > 3 and node.input[3] else np.arange(len(starts))
    steps = walk.constant(node, 4, "steps") if len(node.input) > 4 and node.input[4] else np.ones(len(starts), int)
    moved = dict.fromkeys(state.axes, _SAME)
    for axis, start, step in zip(axes, starts, steps, strict=True):
        if int(axis) % max(rank, 1) in moved:
            if start < 0 or step < 1:
                raise _Refused("it counts from the image's end")
            moved[int(axis) % rank] = (Fraction(int(step)), Fraction(int(start)), Fraction(int(start)))
    return Tracked(state.axes, tuple(w.behind(moved[a]) for a, w in zip(state.axes, state.windows, strict=True)))


def _along(walk: _Walk, node: NodeProto, tracked: Sequence[Tracked]) -> Tracked:
    """Operators of one axis or several that leave the other axes alone: Concat, Softmax, reductions, LayerNorm."""
    state, values, rank = tracked[0], dialect.attributes(node), len(walk.shape(node.input[0]))
    if not rank:
        raise _Refused("its shape is not known")
    if not values.get("keepdims", 1):
        raise _Refused("it removes axes")
    if node.op_type.startswith("Reduce"):
        given = values.get("axes")
        if given is None and len(node.input) > 1 and node.input[1]:
            given = [int(axis) for axis in walk.constant(node, 1, "axes")]
        touched = {axis % rank for axis in given or range(rank)}
    elif node.op_type == "LayerNormalization":
        touched = set(range(int(values.get("axis", -1)) % rank, rank))
    else:
        touched = {int(values.get("axis", 0 if node.op_type in ("Split", "Gather") else -1)) % rank}
    if touched & set(state.axes):
        raise _Refused("it mixes values over the image")
    return walk.joined(tracked)


_POINTWISE = frozenset(
    (
        *("Abs", "Add", "And", "BatchNormalization", "Cast", "CastLike", "Ceil", "Celu", "Clip", "Cos", "CRelu"),
        *("Div", "Elu", "Equal", "Erf", "Exp", "Floor", "Gelu", "Greater", "GreaterOrEqual", "HardSigmoid"),
        *("HardSwish", "Identity", "IsInf", "IsNaN", "LeakyRelu", "Less", "LessOrEqual", "Log", "Max", "Mean", "Min"),
        *(
            "MaskedRectify",
            "Mish",
            "Mod",
            "Mul",
            "Neg",
            "NegConcat",
            "Not",
            "Or",
            "Pow",
            "PRelu",
            "Reciprocal",
            "Relu",
            "Round",
        ),
        *("Selu", "Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Sqrt", "Sub", "Sum", "Swish", "Tanh"),
        *("ThresholdedRelu", "Where", "Xor"),
    )
)
_WINDOWED: Mapping[str, Callable[[_Walk, NodeProto, int], list[Step]]] = {
    **dict.fromkeys(("Conv", "MaskedCount", "MaxPool", "AveragePool", "LpPool"), _conv),
    "ConvTranspose": _conv_transpose,
    **dict.fromkeys(dialect.RECTIFIES.values(), _rectify),
    "SymmetricPad": _symmetric_pad,
    "BoundaryPad": _boundary_pad,
    "Pad": _pad,
    "Resize": _resize,
    "Upsample": _resize,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
}
#: These name their axes; the others take all but the first two.
_ANY_AXES = ("Pad", "Resize", "Upsample")
_REDUCTIONS = ("ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "ReduceL2", "ArgMax")
_BY_AXIS: Mapping[str, Callable[[_Walk, NodeProto, Sequence[Tracked]], Tracked]] = {
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Slice": _slice,
    **dict.fromkeys(("Concat", "Split", "Softmax", "LogSoftmax", "LayerNormalization", *_REDUCTIONS), _along),
}
