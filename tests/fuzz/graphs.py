"""Random ONNX graphs from the pieces of our patterns, each correct or nearly correct."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from rectexport.plugins import reference

Array = np.ndarray[Any, Any]


@dataclass
class Sketch:
    """A graph under construction; `last` is its newest image, [1, channels, height, width]."""

    draw: st.DrawFn
    generator: np.random.Generator
    last: str = "x"
    shape: tuple[int, int, int] = (4, 6, 7)
    nodes: list[NodeProto] = field(default_factory=list)
    weights: dict[str, Array] = field(default_factory=dict)
    given_out: list[str] = field(default_factory=list)

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a standard node; returns its output."""
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name=f"{operator}_{name}", **attributes))
        return name

    def weight(self, value: Any, kind: Any = np.float32) -> str:
        """Add a constant, as an initializer or as a node."""
        array = np.asarray(value, kind)
        if self.draw(st.booleans()):
            name = f"w{len(self.weights)}"
            self.weights[name] = array
            return name
        return self.node("Constant", value=numpy_helper.from_array(array))

    def random(self, *shape: int) -> Array:
        """Standard normal numbers."""
        return self.generator.standard_normal(shape)

    def nearly(self, chances: int = 4) -> bool:
        """Whether to make this piece nearly correct."""
        return self.draw(st.integers(0, chances)) == 0

    def to(self, name: str, shape: tuple[int, int, int]) -> None:
        """Make this tensor the newest image."""
        self.last, self.shape = name, shape
        if self.draw(st.integers(0, 5)) == 0:
            self.given_out.append(name)


@st.composite
def models(draw: st.DrawFn) -> ModelProto:
    """A model of one to six pieces, valid for ONNX's checker, with static or open sizes."""
    sketch = Sketch(draw, np.random.default_rng(draw(st.integers(0, 3))))
    for _ in range(draw(st.integers(1, 6))):
        draw(st.sampled_from(PIECES))(sketch)
    sketch.to(sketch.node("Identity", sketch.last), sketch.shape)
    sizes = [1, 4, 6, 7] if draw(st.booleans()) else ["n", 4, "h", "w"]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, sizes)
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * 4)
        for name in dict.fromkeys([*sketch.given_out, sketch.last])
    ]
    stored = [numpy_helper.from_array(value, name) for name, value in sketch.weights.items()]
    graph = helper.make_graph(sketch.nodes, "fuzzed", [x], outputs, stored)
    opset = draw(st.sampled_from((15, 18, 20)))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def convolution(sketch: Sketch) -> None:
    """A convolution, alone or multiplied by its rectification map or a nearly correct one."""
    channels, height, width = sketch.shape
    draw = sketch.draw
    kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    pads = draw(st.tuples(*[st.integers(0, 2)] * 4))
    options = {"strides": draw(st.tuples(st.integers(1, 2), st.integers(1, 2))), "pads": pads, "dilations": (1, 1)}
    if height + pads[0] + pads[2] < kernel[0] or width + pads[1] + pads[3] < kernel[1]:
        return
    outputs = draw(st.sampled_from((2, 4)))
    groups = draw(st.sampled_from([group for group in (1, 2) if channels % group == 0]))
    inputs = [sketch.last, sketch.weight(sketch.random(outputs, channels // groups, *kernel))]
    if draw(st.booleans()):
        inputs.append(sketch.weight(sketch.random(outputs)))
    attributes = {name: list(value) for name, value in options.items()}
    y = sketch.node("Conv", *inputs, kernel_shape=list(kernel), group=groups, **attributes)
    r = reference.rectification_map(height, width, kernel, mode=draw(st.sampled_from(("sum", "average"))), **options)
    size = r.shape[0], r.shape[1]
    if draw(st.booleans()):
        if sketch.nearly():
            r = r + draw(st.sampled_from((1e-3, 1.0))) * (sketch.random(*r.shape) > 1)
        y = sketch.node("Mul", y, sketch.weight(r[None, None]))
    if draw(st.booleans()):
        y = sketch.node("Add", y, sketch.weight(sketch.random(1, outputs, 1, 1)))
    sketch.to(y, (outputs, *size))


def crelu(sketch: Sketch) -> None:
    """concat(relu(x), relu(-x)), or with another slope, order or axis."""
    channels, height, width = sketch.shape
    x = sketch.last
    negated = sketch.node("Neg", x) if not sketch.nearly() else sketch.node("Mul", x, sketch.weight(-2.0))
    after = sketch.draw(st.booleans())
    parts = [x, negated] if after else [sketch.node("Relu", x), sketch.node("Relu", negated)]
    if sketch.nearly():
        parts.reverse()
    axis = sketch.draw(st.sampled_from((1, 1, 1, -3, 2)))
    y = sketch.node("Concat", *parts, axis=axis)
    y = sketch.node("Relu", y) if after else y
    sketch.to(y, (channels, 2 * height, width) if axis == 2 else (2 * channels, height, width))


def symmetric(sketch: Sketch) -> None:
    """Four groups of channels, each padded towards another corner, or nearly so."""
    channels, height, width = sketch.shape
    if channels % 4:
        return
    corners = [(0, 0, 1, 1), (0, 1, 1, 0), (1, 0, 0, 1), (1, 1, 0, 0)]
    if sketch.nearly():
        corners[0] = corners[1]
    sizes = sketch.weight([channels // 4] * 4, np.int64)
    groups = [f"g{len(sketch.nodes)}_{index}" for index in range(4)]
    sketch.nodes.append(helper.make_node("Split", [sketch.last, sizes], groups, axis=1))
    padded = []
    for group, (top, left, bottom, right) in zip(groups, corners, strict=True):
        pads = sketch.weight([0, 0, top, left, 0, 0, bottom, right], np.int64)
        extra = [sketch.weight(0.5)] if sketch.nearly(9) else []
        padded.append(sketch.node("Pad", group, pads, *extra))
    sketch.to(sketch.node("Concat", *padded, axis=1), (channels, height + 1, width + 1))


def batch_norm(sketch: Sketch) -> None:
    """Inference, with any constants."""
    channels = sketch.shape[0]
    values = [sketch.weight(sketch.random(channels)) for _ in range(3)]
    variance = sketch.weight(np.abs(sketch.random(channels)) + 0.1)
    sketch.to(sketch.node("BatchNormalization", sketch.last, *values, variance), sketch.shape)


def padding(sketch: Sketch) -> None:
    """A Pad node: of zeros or another value, on H and W or other axes."""
    channels, height, width = sketch.shape
    top, left, bottom, right = sketch.draw(st.tuples(*[st.integers(0, 2)] * 4))
    front = int(sketch.nearly(9))
    pads = sketch.weight([0, front, top, left, 0, 0, bottom, right], np.int64)
    extra = [sketch.weight(1.0)] if sketch.nearly() else []
    size = (channels + front, height + top + bottom, width + left + right)
    sketch.to(sketch.node("Pad", sketch.last, pads, *extra), size)


def elementwise(sketch: Sketch) -> None:
    """A small node between two pieces."""
    x = sketch.last
    makers: tuple[Callable[[], str], ...] = (
        lambda: sketch.node("Relu", x),
        lambda: sketch.node("Identity", x),
        lambda: sketch.node("Abs", x),
        lambda: sketch.node("Neg", x),
        lambda: sketch.node("Cast", x, to=TensorProto.FLOAT),
        lambda: sketch.node("Mul", x, sketch.weight(sketch.random(1, sketch.shape[0], 1, 1))),
        lambda: sketch.node("Add", x, sketch.weight(sketch.random(*sketch.shape[1:]))),
        lambda: sketch.node("Add", sketch.node("Relu", x), sketch.node("Relu", sketch.node("Neg", x))),
        lambda: sketch.node("Sub", sketch.node("Relu", x), x),
    )
    sketch.to(sketch.draw(st.sampled_from(makers))(), sketch.shape)


PIECES = (convolution, convolution, crelu, symmetric, batch_norm, padding, elementwise)
