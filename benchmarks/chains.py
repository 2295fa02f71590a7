"""The models on which forms are timed: one operator stacked as in a network, so that data layouts matter.

Every chain reads x [N, C, H, W] and keeps channels and size. Weights are random (He), float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from rectexport.exporter.graph import dialect
from rectexport.exporter.graph.shapes import infer_shapes
from rectexport.models.layers.symmetry import group_pads, group_sizes

OPSET = 18
#: The first opset whose Pad has mode wrap.
WRAP_OPSET = 19
Array = NDArray[np.float32]


@dataclass(frozen=True)
class Chain:
    """Layers of `channels` on a plane of `size` rows and as many columns, or `width`."""

    channels: int
    size: int
    batch: int
    layers: int
    width: int = 0


class _Builder:
    """Collects nodes and weights."""

    def __init__(self, chain: Chain, opset: int = OPSET) -> None:
        self.chain, self.opset = chain, opset
        self.nodes: list[NodeProto] = []
        self.weights: dict[str, Array] = {}
        self.rng = np.random.default_rng(0)
        self.last = "x"

    def conv(self, inputs: int, outputs: int, kernel: int, pad: int) -> None:
        """Append a convolution with a bias."""
        name = f"conv{len(self.nodes)}"
        shape = (outputs, inputs, kernel, kernel)
        scale = np.sqrt(2 / (shape[1] * kernel * kernel))
        self.weights[f"{name}.w"] = self.rng.standard_normal(shape, np.float32) * np.float32(scale)
        self.weights[f"{name}.b"] = self.rng.standard_normal(shape[0], np.float32) * np.float32(0.1)
        self.add("Conv", f"{name}.w", f"{name}.b", kernel_shape=[kernel] * 2, pads=[pad] * 4)

    def add(self, op: str, *more: str, domain: str = "", **attributes: Any) -> None:
        """Append a node that reads the last tensor, then `more`."""
        name = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, [self.last, *more], [name], name, domain=domain, **attributes))
        self.last = name

    def model(self) -> ModelProto:
        """The chain as a model with inferred shapes."""
        chain = self.chain
        self.nodes[-1].output[0] = "y"
        shape = [chain.batch, chain.channels, chain.size, chain.width or chain.size]
        graph = helper.make_graph(
            self.nodes,
            "chain",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
            [numpy_helper.from_array(value, name) for name, value in self.weights.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=9)
        dialect.attach_functions(model)
        return infer_shapes(model)


def symmetric(chain: Chain, kernel: int = 2) -> ModelProto:
    """Convolutions with an even kernel and symmetric padding, ReLU after each."""
    builder = _Builder(chain)
    splits, pads = group_sizes(chain.channels), group_pads(kernel)
    for _ in range(chain.layers):
        builder.add("SymmetricPad", domain=dialect.DOMAIN, splits=splits, pads=pads)
        builder.conv(chain.channels, chain.channels, kernel, 0)
        builder.add("Relu")
    return builder.model()


def crelu(chain: Chain, kernel: int = 3) -> ModelProto:
    """CReLU, then a convolution that reads both halves; a convolution comes before the first CReLU."""
    builder = _Builder(chain)
    builder.conv(chain.channels, chain.channels, kernel, kernel // 2)
    for _ in range(chain.layers):
        builder.add("CRelu", domain=dialect.DOMAIN, axis=1)
        builder.conv(2 * chain.channels, chain.channels, kernel, kernel // 2)
    return builder.model()


def crelu_floor(chain: Chain, kernel: int = 3) -> ModelProto:
    """The cost of the convolutions that read CReLUs: as many multiplications without a CReLU.

    Such a convolution has 2C inputs and C outputs. Here every other convolution has C inputs and 2C outputs instead,
    which takes as many multiplications, and only ReLUs are between them.
    """
    builder, c = _Builder(chain), chain.channels
    builder.conv(c, c, kernel, kernel // 2)
    for index in range(chain.layers):
        builder.add("Relu")
        inputs, outputs = (c, 2 * c) if index % 2 == 0 else (2 * c, c)
        builder.conv(inputs, outputs, kernel, kernel // 2)
    return builder.model()


def bordered(chain: Chain, border: str | tuple[str, str] = "circular") -> ModelProto:
    """3×3 convolutions over a border of one kind, or of one for rows and one for columns, ReLU after each."""
    builder = _Builder(chain, WRAP_OPSET)
    modes = [dialect.BORDERS.index(name) for name in ((border, border) if isinstance(border, str) else border)]
    for _ in range(chain.layers):
        builder.add("BoundaryPad", domain=dialect.DOMAIN, modes=modes, pads=[1] * 4)
        builder.conv(chain.channels, chain.channels, 3, 0)
        builder.add("Relu")
    return builder.model()


def rectified(chain: Chain) -> ModelProto:
    """Rectified 3×3 convolutions whose bias is added after rectification, ReLU after each."""
    return _rectified(chain, True)


def plain(chain: Chain) -> ModelProto:
    """Plain 3×3 convolutions, ReLU after each."""
    return _rectified(chain, False)


def _rectified(chain: Chain, rectify: bool) -> ModelProto:
    builder = _Builder(chain)
    window = {"kernel_shape": [3, 3], "strides": [1, 1], "pads": [1] * 4, "dilations": [1, 1]}
    for index in range(chain.layers):
        size = builder.last
        builder.conv(chain.channels, chain.channels, 3, 1)
        if rectify:
            bias = builder.nodes[-1].input.pop()
            attributes: dict[str, Any] = {**window, "numerator": 9, "empty_bias": 1, "domain": dialect.DOMAIN}
            name = f"rectify{index}"
            builder.nodes.append(helper.make_node("Rectify", [builder.last, size, bias], [name], name, **attributes))
            builder.last = name
        builder.add("Relu")
    return builder.model()
