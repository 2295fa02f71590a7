"""Graphs in ONNX's text form as the matching functions see them."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_graphsurgeon as gs
from onnx import numpy_helper, parser, shape_inference

from rectexport.exporter.graph.surgeon import open_graph
from rectexport.exporter.passes.matching.rewrite import Scene
from rectexport.exporter.passes.matching.values import Values
from tests.export.helper import Array

IMAGES = "(float[N, 4, H, W] x) => (float[A, B, C, D] z)"


@dataclass(frozen=True)
class Parsed:
    """A scene, and its tensors and nodes by name."""

    scene: Scene

    @property
    def values(self) -> Values:
        return self.scene.values

    def __getitem__(self, name: str) -> gs.Tensor:
        return self.scene.graph.tensors()[name]

    def node(self, output: str) -> gs.Node:
        """The node that makes a tensor."""
        return self[output].inputs[0]


def parsed(body: str, signature: str = IMAGES, opset: int = 18, **arrays: Array) -> Parsed:
    """A scene of a graph, its inner shapes inferred as the raise passes have them."""
    header = f'<ir_version: 8, opset_import: ["" : {opset}, "other" : 1]>'
    model = parser.parse_model(f"{header} g {signature} {{ {body} }}")
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in arrays.items())
    graph = open_graph(shape_inference.infer_shapes(model, data_prop=True))
    return Parsed(Scene(graph, Values(graph)))
