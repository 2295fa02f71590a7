"""Quantizes one lowered model for one engine: places pairs, calibrates, chooses float layers, writes Q/DQ nodes."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property

import numpy as np
from onnx import ModelProto

from rectexport.exporter.base.log import Log
from rectexport.exporter.base.options import Int8
from rectexport.exporter.graph.surgeon import open_graph
from rectexport.exporter.quantize import strips
from rectexport.exporter.quantize.calibration import Items, Observed, observe
from rectexport.exporter.quantize.channels import ChannelRanges, ranges_of
from rectexport.exporter.quantize.insert import Learned, insert
from rectexport.exporter.quantize.layers import Layer, find_layers
from rectexport.exporter.quantize.measuring import ITEMS, Outputs, model_outputs, snr_db
from rectexport.exporter.quantize.parameters import EIGHT_BIT, SEVEN_BIT, Parameters, Values
from rectexport.exporter.quantize.placement import TENSORRT, Placement, place
from rectexport.exporter.quantize.ranges import best_parameters
from rectexport.exporter.quantize.rounding import MOST, Weight, round_weights
from rectexport.exporter.quantize.sensitivity import LayerCost, choose_float
from rectexport.runtime.base.processor import Processor, processor
from rectexport.runtime.errors import BadInput, Option

#: Instruction sets with which products of 8 bits are added in 32; without them AVX2 saturates at 16.
_WIDE = {"avx512_vnni", "avx_vnni", "amx_int8"}
#: A channel's range is at least so many standard deviations to each side: its ends alone would depend on few values.
CHANNEL_REACH = 4.5
#: A last layer with at most so large a share of the multiplications, and so many weights, stays in float.
_SMALL_SHARE, _SMALL_WEIGHT = 1e-4, 1 << 14


@dataclass(frozen=True)
class Quantized:
    """A model in int8 for one engine.

    layers      names of the layers in int8
    kept        layers and nodes in float, with the reason for each
    bits        of the weights, and why
    """

    target: str
    model: ModelProto
    placement: Placement
    parameters: Mapping[str, Parameters | ChannelRanges]
    layers: Sequence[str]
    kept: Mapping[str, str]
    bits: int
    why_bits: str


@dataclass
class Quantizer:
    """One float model with its calibration data.

    rows     the most and the least rows of a run
    nearest  round weights to the nearest integer, which is quicker: for who measures time and not accuracy
    """

    model: ModelProto
    calibration: Items
    rows: tuple[int, int]
    options: Int8
    log: Log
    nearest: bool = False
    _known: dict[str, Observed] = field(default_factory=dict)
    _rounded: dict[int, dict[str, Weight]] = field(default_factory=dict)

    def run(self, target: str) -> Quantized:
        """Quantize for an engine. Raises BadInput where no layer can be quantized, or min_snr is not reached."""
        graph = open_graph(self.model)
        layers, refused = find_layers(graph)
        kept = dict(refused)
        for layer in layers:
            if any(fnmatchcase(name, pattern) for pattern in self.options.keep_float for name in _names(layer)):
                kept[layer.name] = "asked for"
        self._check_patterns(layers)
        chosen = [layer for layer in layers if layer.name not in kept]
        if not chosen:
            reasons = "; ".join(f"{name} because {reason}" for name, reason in list(kept.items())[:3])
            raise BadInput(f"int8: the model has no layer to quantize{f': {reasons}' if reasons else ''}")
        kept.update(self._negligible(chosen))
        chosen = [layer for layer in chosen if layer.name not in kept]
        bits, why = self._bits(target)
        largest = EIGHT_BIT if bits == 8 else SEVEN_BIT
        if self.options.min_snr is not None:
            more = self._float_layers(target, chosen, largest)
            kept.update(more)
            chosen = [layer for layer in chosen if layer.name not in more]
            if not chosen:
                raise BadInput(
                    Option("min_snr", self.options.min_snr),
                    ": is reached with every layer in float alone; ask for less, or leave out ",
                    Option("int8"),
                )
        placement = place(graph, chosen, target, self._least_plane)
        learned = self._learn(placement, layers, largest)
        names = [layer.name for layer in chosen]
        model = insert(self.model, placement, learned, names)
        used: dict[str, Parameters | ChannelRanges] = dict(learned.ranges)
        used.update({name: learned.parameters[name] for name in placement.tensors})
        return Quantized(target, model, placement, used, names, kept, bits, why)

    @property
    def _least_plane(self) -> int:
        """Rows times columns from which ONNX Runtime gets strips."""
        return {"auto": strips.LEAST_PLANE, "both": sys.maxsize, "strips": 1}[self.options.placement]

    def _negligible(self, layers: Sequence[Layer]) -> dict[str, str]:
        """Matrix products behind which only outputs come and which are too small to be faster in int8.

        Their input has no other layer behind it that would even its noise out, so it costs the outputs most.
        """
        outputs = {value.name for value in self.model.graph.output}
        last = [layer for layer in layers if not layer.convolution and layer.out.name in outputs]
        if not last or len(last) == len(layers):
            return {}
        macs = self._macs(layers)
        shares = {layer.name: macs[layer.name] / max(sum(macs.values()), 1) for layer in last}
        return {
            layer.name: f"it is {shares[layer.name]:.3%} of the multiplications, which int8 would not make faster"
            for layer in last
            if shares[layer.name] <= _SMALL_SHARE and layer.weight.size <= _SMALL_WEIGHT
        }

    def _check_patterns(self, layers: Sequence[Layer]) -> None:
        for pattern in self.options.keep_float:
            if not any(fnmatchcase(name, pattern) for layer in layers for name in _names(layer)):
                some = ", ".join(layer.name for layer in layers[:8])
                raise BadInput(Option("keep_float", pattern), f": matches no layer; there are {some}")

    def _bits(self, target: str, here: Processor | None = None) -> tuple[int, str]:
        machine = here or processor()
        if self.options.portable:
            return 7, "portable weights were asked for"
        if target != TENSORRT and machine.architecture == "x86_64" and not _WIDE.intersection(machine.features):
            return 7, "this processor has no VNNI, so products of 8 bits would saturate"
        return 8, "the instruction set adds products of 8 bits exactly"

    def _learn(self, placement: Placement, layers: Sequence[Layer], largest: int) -> Learned:
        """What the calibration data says about a placement; distributions and weights are kept for the next one."""
        wanted = {placement.scale_of(name) for name in placement.tensors}
        names = wanted.union(placement.tensors, placement.by_channel)
        missing = [name for name in sorted(names) if name not in self._known]
        if missing:
            found = observe(self.model, self.calibration, missing, self.rows, self.log.advance)
            self._known.update(dict.fromkeys(missing, found))
        values = {}
        for name in wanted:
            distribution = self._known[name].distributions[name]
            values[name] = best_parameters(distribution, self.options.method, placement.dtype)
        parameters = {name: values[placement.scale_of(name)] for name in placement.tensors}
        made = {layer.node.outputs[0].name: layer for layer in layers}
        ranges = {name: self._ranges(name, made[name]) for name in placement.by_channel}
        return Learned(parameters, ranges, self._weights(layers, largest), largest, self._means())

    def _ranges(self, name: str, layer: Layer) -> ChannelRanges:
        distribution = self._known[name].distributions[name]
        assert distribution.lows is not None and distribution.highs is not None and distribution.mean is not None
        reach = CHANNEL_REACH * distribution.spread
        low = np.minimum(distribution.lows, distribution.mean - reach)
        return ranges_of(layer, low, np.maximum(distribution.highs, distribution.mean + reach))

    def _weights(self, layers: Sequence[Layer], largest: int) -> dict[str, Weight]:
        if largest not in self._rounded:
            most = 0 if self.nearest else MOST
            self._rounded[largest] = round_weights(
                self.model, layers, self.calibration, self.rows, largest, self.log.advance, most
            )
        return self._rounded[largest]

    def _means(self) -> dict[str, Values]:
        """Means of the channels of every tensor that was observed."""
        found = {name: observed.distributions[name].mean for name, observed in self._known.items()}
        return {name: mean for name, mean in found.items() if mean is not None}

    @cached_property
    def _few(self) -> Items:
        return Items(self.calibration.rows(0, ITEMS), None)

    @cached_property
    def _expected(self) -> Outputs:
        return model_outputs(self.model, self._few, self.rows)

    def _float_layers(self, target: str, layers: Sequence[Layer], largest: int) -> dict[str, str]:
        """Rank the layers by a run for each, and choose those that stay in float."""
        graph = open_graph(self.model)

        def reached(names: Sequence[str]) -> float:
            every = find_layers(graph)[0]
            chosen = [layer for layer in every if layer.name in names]
            if not chosen:
                return float("inf")
            own = place(graph, chosen, target, self._least_plane)
            model = insert(self.model, own, self._learn(own, every, largest), names)
            return snr_db(self._expected, model_outputs(model, self._few, self.rows))

        macs = self._macs(layers)
        total = max(sum(macs.values()), 1)
        costs = {}
        for index, layer in enumerate(layers):
            self.log.advance(index, len(layers), f"quantizing {layer.name} alone")
            noise = 10 ** (-reached([layer.name]) / 10)
            costs[layer.name] = LayerCost(noise, macs[layer.name] / total)
        names = [layer.name for layer in layers]
        found = choose_float(costs, self.options, lambda kept: reached([name for name in names if name not in kept]))
        self.log.say(f"{len(found)} of {len(names)} layers stay in float for {self.options.min_snr:g} dB")
        return found

    def _macs(self, layers: Sequence[Layer]) -> dict[str, int]:
        """Multiplications of each layer for one row."""
        outs = sorted({layer.node.outputs[0].name for layer in layers})
        first = Items(self.calibration.rows(0, self.rows[1]), None)
        shapes = observe(self.model, first, outs, self.rows, lambda *_: None).shapes
        return {layer.name: layer.macs(shapes[layer.node.outputs[0].name]) for layer in layers}


def _names(layer: Layer) -> list[str]:
    """The names that a pattern may match: the layer's, its tensor's, its weight's."""
    return [layer.name, layer.out.name, layer.node.outputs[0].name, layer.node.inputs[1].name]
