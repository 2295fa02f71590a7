"""Export one network in every form for TensorRT, and have each file parsed and built; a process of its own.

    python -m benchmarks.rtx.attempt NETWORK parse|build KEY [KEY ...]

Before each case it prints a line of JSON with the outcome "begun", the result behind it, and before a build what was
parsed: whoever reads them knows in which case a process ended or takes too long. The builder gets processes of its own
(building.py), so that it shares no memory with the network, and may end its process.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import ModelProto

from benchmarks.rtx.building import job
from benchmarks.rtx.cases import INPUT, PRECISIONS, Case
from benchmarks.rtx.child import Child, end_with_parent, say
from benchmarks.rtx.outcomes import BEGUN, CRASHED, FAILED, PARSED, UNTRACED
from rectexport.exporter.base.log import Log
from rectexport.exporter.base.options import ExportOptions
from rectexport.exporter.frontend.inputs import ShapeOptions, plan_inputs
from rectexport.exporter.frontend.source import Source
from rectexport.exporter.graph.dialect import RECTIFICATION_MAPS, RECTIFIES, used_operators
from rectexport.exporter.int8 import rest_in_half
from rectexport.exporter.quantize.calibration import Items
from rectexport.exporter.quantize.quantizer import Quantizer
from rectexport.exporter.targets import identity, lower_for_targets
from rectexport.exporter.tracing.trace import Traced, trace
from rectexport.models.registry import create_model, model_entry
from rectexport.runtime.base.shapes import format_shape
from rectexport.runtime.errors import RectexportError

#: Operators of the dialect that --rectify is about; a network without them is one file in all forms.
RECTIFIED = {*RECTIFIES.values(), *RECTIFICATION_MAPS.values(), "MaskedCount", "MaskedRectify"}
#: Images that int8 is calibrated on.
IMAGES = 4
#: The process that gets nothing but the file.
BUILDING = partial(Child, "benchmarks.rtx.building")


@dataclass
class Network:
    """One network of the zoo, traced once for each kind of shapes and each opset.

    parsed: called with the result of the parser before a build, which may take long.
    start: starts benchmarks.rtx.building with its argument.
    one_file: kind of shapes and precision -> the result of all forms, where they are one file.
    """

    name: str
    folder: Path
    build: bool = True
    parsed: Callable[[dict[str, Any]], None] = lambda result: None
    start: Callable[[Sequence[str]], Any] = BUILDING
    traces: dict[tuple[str, int], Traced | str] = field(default_factory=dict)
    one_file: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        torch.manual_seed(0)
        self.image = model_entry(self.name).input_shape
        example = torch.randn(1, *self.image).numpy()
        model = create_model(self.name).eval()
        self.source = Source("module", model, self.name, input_names=[INPUT], example_inputs=(example,))

    def attempt(self, case: Case) -> dict[str, Any]:
        """The result of a case: its outcome, and the sizes of graph and engine, or the message."""
        options = ExportOptions(target="tensorrt", rectify=case.form, guard=False, **PRECISIONS[case.precision])
        traced = self._traced(case.shapes, options.graph_opset)
        if isinstance(traced, str):
            return {"outcome": UNTRACED, "message": traced}
        known = (case.shapes, case.precision)
        if known in self.one_file:
            return self.one_file[known]
        model = _lowered(traced, options)
        found = {
            "shapes": "static" if case.shapes == "static" else self._kind(traced),
            "model": identity(model).hex()[:12],
            "nodes": len(model.graph.node),
        }
        path = self.folder / "model.onnx"
        onnx.save(model, path)
        del model  # gigabytes, while the builder works
        found = self._build(path, traced, options, found)
        if not RECTIFIED & set(used_operators(traced.model)):
            self.one_file[known] = found
        return found

    def _build(self, path: Path, traced: Traced, options: ExportOptions, found: dict[str, Any]) -> dict[str, Any]:
        """What a process of its own says of the file. It was parsed also where the build then ended the process."""
        profile = {entry.name: entry.range for entry in traced.inputs}
        child = self.start([job(path, options.precision, options.rectify == "plugin", profile, self.build)])
        said: dict[str, Any] = {}
        try:
            for said in child.lines():
                if self.build and said["outcome"] == PARSED:
                    self.parsed({**found, **said})
        finally:
            message = child.end()
        if not said:
            said = {"outcome": CRASHED, "message": message}
        elif self.build and said["outcome"] == PARSED:
            said |= {"build": CRASHED, "message": message}
        if "message" in said:
            said["message"] = said["message"].replace(str(path), self.name)
        return {**found, **said}

    def _traced(self, shapes: str, opset: int) -> Traced | str:
        if (shapes, opset) not in self.traces:
            self.traces.clear()  # one network's weights at a time
            self.traces[shapes, opset] = self._trace(shapes, opset)
        return self.traces[shapes, opset]

    def _trace(self, shapes: str, opset: int) -> Traced | str:
        message = ""
        for kind in ("static",) if shapes == "static" else ("dynamic", "batch"):
            try:
                plan = plan_inputs(self.source, shape_options(kind, self.image))
                return trace(self.source, plan.inputs, opset)
            except RectexportError as error:
                message = message or str(error)
        return message

    def _kind(self, traced: Traced) -> str:
        return "dynamic" if len(traced.inputs[0].range.dynamic_axes) > 1 else "batch"


def _lowered(traced: Traced, options: ExportOptions) -> ModelProto:
    """The model for TensorRT. int8 is calibrated on a few random images: its accuracy does not matter here."""
    (target,) = lower_for_targets(traced, ["tensorrt"], options, Log())
    if options.int8 is None:
        return target.model
    sizes = traced.inputs[0].range
    images = np.random.default_rng(0).standard_normal((IMAGES, *sizes.opt[1:]), np.float32)
    items, rows = Items({INPUT: images}, None), (sizes.opt[0], sizes.min[0])
    model = Quantizer(target.model, items, rows, options.int8, Log(), nearest=True).run("tensorrt").model
    return rest_in_half(model, items.rows(0, rows[0]))[0] if options.fp16 else model


def shape_options(kind: str, image: tuple[int, ...]) -> ShapeOptions:
    """Shapes for [C, …]: "static", "batch" (1 to 4 of them) or "dynamic" (also up to twice the size)."""
    if kind == "static":
        return ShapeOptions()
    channels, *sizes = image
    most = image if kind == "batch" else (channels, *(2 * size for size in sizes))
    least, usual, largest = (f"{INPUT}:{format_shape(shape)}" for shape in ((1, *image), (2, *image), (4, *most)))
    return ShapeOptions(min=[least], opt=[usual], max=[largest])


def main() -> None:
    """Try the cases, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network")
    parser.add_argument("stage", choices=("parse", "build"))
    parser.add_argument("keys", nargs="+")
    asked = parser.parse_args()
    end_with_parent()
    with tempfile.TemporaryDirectory(prefix="rectexport-rtx-") as folder:
        network = Network(asked.network, Path(folder), build=asked.stage == "build")
        for key in asked.keys:
            say({"key": key, "outcome": BEGUN})
            network.parsed = partial(_parsed, key)
            try:
                result = network.attempt(Case(*key.split()))
            except Exception as error:
                result = {"outcome": FAILED, "message": f"{type(error).__name__}: {error}"}
            say({"key": key, **result})


def _parsed(key: str, result: dict[str, Any]) -> None:
    say({"key": key, **result})


if __name__ == "__main__":
    main()
