"""Writes a quantized model: Q/DQ pairs, integer weights and biases, and convolutions cut into strips."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray
from onnx import ModelProto

from rectexport.exporter.graph.selections import selection
from rectexport.exporter.graph.surgeon import close_graph, constant, is_output, is_standard, open_graph, static_size
from rectexport.exporter.quantize.channels import ChannelRanges
from rectexport.exporter.quantize.layers import Layer, factor_of, find_layers, shift_of
from rectexport.exporter.quantize.parameters import (
    Parameters,
    Values,
    integers,
    mean_error,
    quantized_bias,
    widened_scales,
)
from rectexport.exporter.quantize.placement import ONNXRUNTIME, OPENVINO, STRIPS, TENSORRT, Placement
from rectexport.exporter.quantize.rounding import Weight
from rectexport.exporter.quantize.strips import Part, groups, parts

_ONNX_TYPES = {"uint8": np.uint8, "int8": np.int8}


@dataclass(frozen=True)
class Learned:
    """What the calibration data says.

    parameters  of each tensor of the placement
    ranges      of the channels of each tensor in the placement's `by_channel`
    weights     of each layer, by name
    largest     magnitude of a weight: 127, or 63 for 7 bits
    means       of the channels of tensors that layers read; with them biases undo what rounding the weights does on
                average
    """

    parameters: Mapping[str, Parameters]
    ranges: Mapping[str, ChannelRanges]
    weights: Mapping[str, Weight]
    largest: int
    means: Mapping[str, Values]


def insert(model: ModelProto, placement: Placement, learned: Learned, layers: Collection[str]) -> ModelProto:
    """The model with these layers, by name, in int8."""
    graph = open_graph(model)
    found = [layer for layer in find_layers(graph)[0] if layer.name in layers]
    for layer in found:
        layer.node.name = layer.name  # of a node without one: its outputs, which its label has, get other names
    sources = {layer.name: layer.x.name for layer in found}  # later they read dequantized tensors
    writer = _Writer(graph, placement, learned, sources)
    for layer in found:
        if placement.forms[layer.name] != STRIPS:
            writer.quantize_weight(layer)
    tensors = graph.tensors()
    cut = {layer.out.name: layer for layer in found if placement.forms[layer.name] == STRIPS}
    inputs = {id(layer.node) for layer in found}
    for name in placement.tensors:
        if name not in cut and name in tensors:
            writer.add_pair(tensors[name], inputs)
    for layer in found:
        if layer.out.name in cut and placement.forms[layer.name] == STRIPS:
            writer.cut(layer)
    return close_graph(graph, model)


class _Writer:
    """Edits one graph. sources names the tensor that each layer reads."""

    def __init__(self, graph: gs.Graph, placement: Placement, learned: Learned, sources: Mapping[str, str]) -> None:
        self._graph, self._placement, self._learned, self._sources = graph, placement, learned, sources
        self._parameters = learned.parameters
        #: The integers of each quantized tensor, by its name.
        self._pairs: dict[str, gs.Tensor] = {}

    def add_pair(self, tensor: gs.Tensor, layers: Collection[int]) -> None:
        """Quantize a tensor for its readers: layers, by the ids of their nodes, or all of them."""
        everywhere = self._placement.everywhere
        readers = [
            node
            for node in tensor.outputs
            if (everywhere and (tensor.name, node.outputs[0].name) not in self._placement.in_float)
            or id(node) in layers
            or self._is_skip(node, tensor)
        ]
        outer = everywhere and is_output(self._graph, tensor) and bool(tensor.inputs)
        before = None if len(readers) < len(tensor.outputs) else self._quantize_source(tensor)
        stored = before or self._quantize(tensor, f"{tensor.name}.quantized")
        self._pairs[tensor.name] = stored
        if outer:
            self._give_out(tensor, stored)
            return
        back = gs.Variable(f"{tensor.name}.dequantized", np.float32, tensor.shape)
        self._dequantize(stored, back, self._parameters[tensor.name])
        for node in readers:
            for index, given in enumerate(node.inputs):
                if given is tensor and (index == 0 or not is_standard(node, "Conv", "Gemm", "MatMul")):
                    node.inputs[index] = back

    def _quantize_source(self, tensor: gs.Tensor) -> gs.Tensor | None:
        """Quantize what a border is made of, so that the border consists of integers; None where that is not needed.

        The same integers, since quantizing works element by element. OpenVINO 2026.4 computes a convolution in float
        that reads a Concat whose zero point is not 0.
        """
        own = self._parameters[tensor.name]
        found = selection(self._graph, tensor)
        if self._placement.target != OPENVINO or own.zero_point == 0 or found is None:
            return None
        source, nodes = found
        stored = whole = self._quantize(source, f"{tensor.name}.source", own)
        for node in nodes:
            taken = node.inputs[:1] if node.op == "Slice" else node.inputs
            for index, entry in enumerate(taken):
                if entry is source:
                    node.inputs[index] = stored
            made = node.outputs[0]
            node.outputs[0] = gs.Variable(f"{made.name}.stored", stored.dtype, made.shape)
            for reader in list(made.outputs):
                if any(reader is other for other in nodes):
                    reader.inputs = [node.outputs[0] if entry is made else entry for entry in reader.inputs]
            if made is tensor:
                whole = node.outputs[0]
        return whole

    def _give_out(self, tensor: gs.Tensor, stored: gs.Tensor) -> None:
        """An output of the graph: what computes it gets another name, and the dequantized values this one."""
        computed = gs.Variable(f"{tensor.name}.computed", tensor.dtype, tensor.shape)
        (maker,) = tensor.inputs
        maker.outputs[maker.outputs.index(tensor)] = computed
        stored.inputs[0].inputs[0] = computed
        self._dequantize(stored, tensor, self._parameters[tensor.name])

    def _is_skip(self, node: gs.Node, tensor: gs.Tensor) -> bool:
        skip = tensor.name in self._placement.skips and is_standard(node, "Add")
        return skip or (self._placement.target == TENSORRT and is_standard(node, "Concat"))

    def quantize_weight(self, layer: Layer) -> None:
        """Put DequantizeLinear before the weight, and for ONNX Runtime before the bias."""
        stored, scales = self._weight(layer)
        name, moved = layer.node.inputs[1].name, self._moved(layer, stored, scales)
        bias: Values | None
        if layer.node.outputs[0].name in self._placement.by_channel:
            bias, width = self._by_channel(layer, moved)
            scales = (scales / width).astype(np.float32)
        else:
            bias = self._corrected(layer, moved)
        layer.node.inputs[1] = self._constant(stored, scales, layer.axis, f"{layer.out.name}|{name}")
        if bias is None:
            return
        if self._placement.target == ONNXRUNTIME:
            units = (scales * np.float32(self._read_by(layer).scale)).astype(np.float32)
            given = self._constant(quantized_bias(bias, units), units, 0, f"{layer.out.name}|bias")
        else:
            given = gs.Constant(f"{layer.out.name}|bias", bias.astype(np.float32))
        if len(layer.node.inputs) > 2:
            layer.node.inputs[2] = given
        else:
            layer.node.inputs.append(given)

    def _by_channel(self, layer: Layer, moved: Values | None) -> tuple[Values, Values]:
        """Scale the channels of y to 0..1 and undo it behind; see channels.py. Returns the bias of u, and k."""
        y, scale, r = layer.node.outputs[0], layer.scale, factor_of(layer)
        assert scale is not None and r is not None
        ranges, shift = self._learned.ranges[y.name], shift_of(layer)
        low, width = (_column(values, layer) for values in (ranges.low, ranges.width))
        t = np.zeros(len(ranges.low)) if shift is None else shift.astype(np.float64)
        t = _column(t if moved is None else t - moved, layer)
        factor = gs.Constant(f"{y.name}|factor", (r * width).astype(np.float32))
        added = gs.Constant(f"{y.name}|added", (r * low + t).astype(np.float32))
        u, scaled = gs.Variable(f"{y.name}|unit", y.dtype, y.shape), gs.Variable(f"{y.name}|scaled", y.dtype, y.shape)
        layer.node.outputs[0] = u
        stored = self._quantize(u, f"{u.name}.quantized", ranges.parameters)
        back = gs.Variable(f"{u.name}.dequantized", np.float32, u.shape)
        self._dequantize(stored, back, ranges.parameters)
        last = scale if layer.shift is None else layer.shift
        (z,) = last.outputs
        scale.outputs.clear()
        last.outputs.clear()
        if layer.relu is not None:  # which cuts off what has no range: this is not z as it was
            z = gs.Variable(f"{y.name}|shifted", y.dtype, y.shape)
            layer.relu.inputs[0] = z
        scale.inputs, scale.outputs = [back, factor], [scaled]
        if layer.shift is None:
            layer.shift = gs.Node("Add", f"{scale.name}|shift")
            self._graph.nodes.append(layer.shift)
        layer.shift.inputs, layer.shift.outputs = [scaled, added], [z]
        bias = 0.0 if layer.bias is None else layer.bias.reshape(-1).astype(np.float64)
        return (bias - ranges.low) / ranges.width, ranges.width

    def _moved(self, layer: Layer, stored: NDArray[np.int8], scales: NDArray[np.float32]) -> Values | None:
        """How far rounding the weight moves the mean of each output; None where that is unknown or nothing."""
        mean = self._learned.means.get(self._sources[layer.name])
        if mean is None or layer.node.op == "MatMul":
            return None
        shape = [1] * layer.weight.ndim
        shape[layer.axis] = -1
        error = stored * scales.astype(np.float64).reshape(shape) - layer.weight
        return mean_error(layer.weight, error, layer.axis, int(layer.node.attrs.get("group", 1)), mean)

    def _corrected(self, layer: Layer, moved: Values | None) -> Values | None:
        """The layer's bias with the correction; None for no bias. Behind a multiply by r the correction is added there.

        There every window has the weight of a full one, so the correction is right at the border too.
        """
        bias = None if layer.bias is None else layer.bias.reshape(-1).astype(np.float64)
        if moved is None:
            return bias
        if layer.shift is not None:
            shift = shift_of(layer)
            assert shift is not None
            values = _column((shift - moved).astype(np.float32), layer)
            given = gs.Constant(f"{layer.out.name}|shift", values)
            index = next(i for i, tensor in enumerate(layer.shift.inputs) if constant(tensor) is not None)
            layer.shift.inputs[index] = given
            return bias
        return bias if layer.scale is not None else (0.0 if bias is None else bias) - moved

    def _read_by(self, layer: Layer) -> Parameters:
        return self._parameters[self._sources[layer.name]]

    def _weight(self, layer: Layer) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
        known = self._learned.weights[layer.name]
        stored, scales = known.stored, known.scales
        biases = [value for value in (layer.bias, shift_of(layer)) if value is not None]
        if self._placement.target == ONNXRUNTIME and biases:
            most = np.max([np.abs(value.reshape(-1)) for value in biases], axis=0).astype(np.float64)
            wider = widened_scales(scales, 2 * most, self._read_by(layer).scale)
            if (wider > scales).any():
                scales, stored = wider, integers(layer.weight, wider, layer.axis, self._learned.largest)
        return stored, scales

    def cut(self, layer: Layer) -> None:
        """Replace a rectified convolution by strips; x has a pair, the joined integers become z's."""
        stored, scales = self._weight(layer)
        size, r, moved = static_size(layer.x), factor_of(layer), self._moved(layer, stored, scales)
        assert size is not None and r is not None
        weight = gs.Constant(f"{layer.out.name}|weight", stored)
        rows, columns = groups(r[0, 0])
        bands = []
        for row in parts(layer, 0, rows, size[0]):
            cells = []
            for column in parts(layer, 1, columns, size[1]):
                factor = float(r[0, 0, row.first, column.first])
                cells.append(self._region(layer, weight, scales, factor, row, column, moved))
            bands.append(self._concat(cells, 3, f"{layer.out.name}|band{row.first}"))
        joined = self._concat(bands, 2, f"{layer.out.name}.quantized")
        out = layer.out
        for node in layer.nodes:
            node.outputs.clear()
        self._pairs[out.name] = joined
        self._dequantize(joined, out, self._parameters[out.name])

    def _region(
        self,
        layer: Layer,
        weight: gs.Constant,
        scales: NDArray[np.float32],
        factor: float,
        row: Part,
        column: Part,
        moved: Values | None,
    ) -> gs.Tensor:
        """The integers of one region of z."""
        prefix = f"{layer.out.name}|{row.first},{column.first}"
        x, own = self._pairs[self._sources[layer.name]], self._read_by(layer)
        part = gs.Variable(f"{prefix}|x", x.dtype)
        places = [np.array(values, np.int64) for values in ([row.start, column.start], [row.end, column.end], [2, 3])]
        bounds = [
            gs.Constant(f"{prefix}|{key}", value) for key, value in zip(("from", "to", "axes"), places, strict=True)
        ]
        self._node("Slice", f"{prefix}|slice", [x, *bounds], part)
        back = gs.Variable(f"{prefix}|dequantized", np.float32)
        self._dequantize(part, back, own)
        scaled = (scales.astype(np.float64) * factor).astype(np.float32)
        inputs = [back, self._dequantized(weight, scaled, 0, f"{prefix}|weight")]
        bias = np.zeros(len(scales)) if layer.bias is None else factor * layer.bias.astype(np.float64)
        shift = shift_of(layer)
        bias = bias if shift is None else bias + shift.astype(np.float64)
        bias = bias if moved is None else bias - moved
        if bias.any():
            units = (scaled * np.float32(own.scale)).astype(np.float32)
            inputs.append(self._constant(quantized_bias(bias, units), units, 0, f"{prefix}|bias"))
        y = gs.Variable(f"{prefix}|y", np.float32)
        pads = [row.before, column.before, row.after, column.after]
        attributes = {key: value for key, value in layer.node.attrs.items() if key not in ("pads", "auto_pad")}
        self._node("Conv", f"{prefix}|conv", inputs, y, {**attributes, "pads": pads})
        if layer.relu is not None:
            active = gs.Variable(f"{prefix}|active", np.float32)
            self._node(layer.relu.op, f"{prefix}|relu", [y, *layer.relu.inputs[1:]], active, dict(layer.relu.attrs))
            y = active
        return self._quantize(y, f"{prefix}|stored", self._parameters[layer.out.name])

    def _concat(self, tensors: list[gs.Tensor], axis: int, name: str) -> gs.Tensor:
        y = gs.Variable(name, tensors[0].dtype)
        self._node("Concat", f"{name}.concat", list(tensors), y, {"axis": axis})
        return y

    def _quantize(self, x: gs.Tensor, name: str, parameters: Parameters | None = None) -> gs.Tensor:
        own = parameters or self._parameters[x.name]
        y = gs.Variable(name, _ONNX_TYPES[own.dtype], x.shape)
        self._node("QuantizeLinear", f"{name}.q", [x, *self._scalars(name, own)], y)
        return y

    def _dequantize(self, x: gs.Tensor, y: gs.Tensor, own: Parameters) -> None:
        self._node("DequantizeLinear", f"{y.name}.dq", [x, *self._scalars(f"{y.name}.dq", own)], y)

    def _scalars(self, prefix: str, own: Parameters) -> list[gs.Tensor]:
        zero = np.array(own.zero_point, _ONNX_TYPES[own.dtype])
        values = (("scale", np.array(own.scale, np.float32)), ("zero", zero))
        return [gs.Constant(f"{prefix}.{key}", value) for key, value in values]

    def _constant(self, stored: NDArray[Any], scales: NDArray[np.float32], axis: int, name: str) -> gs.Tensor:
        return self._dequantized(gs.Constant(name, stored), scales, axis, name)

    def _dequantized(self, stored: gs.Constant, scales: NDArray[np.float32], axis: int, name: str) -> gs.Tensor:
        zero = gs.Constant(f"{name}.zero", np.zeros(len(scales), stored.values.dtype))
        y = gs.Variable(f"{name}.dequantized", np.float32, stored.shape)
        inputs = [stored, gs.Constant(f"{name}.scale", scales), zero]
        self._node("DequantizeLinear", f"{name}.dq", inputs, y, {"axis": axis})
        return y

    def _node(
        self, op: str, name: str, inputs: list[gs.Tensor], y: gs.Tensor, attributes: dict[str, Any] | None = None
    ) -> None:
        self._graph.nodes.append(gs.Node(op, name, attributes or {}, inputs, [y]))


def _column(values: NDArray[Any], layer: Layer) -> NDArray[Any]:
    """Values of the channels of what a convolution makes, [1, C, …]."""
    return values.reshape(1, -1, *[1] * (layer.weight.ndim - 2))
