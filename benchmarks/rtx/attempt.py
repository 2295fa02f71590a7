"""Export one network in every form for TensorRT, and parse and build each file; a process of its own.

    python -m benchmarks.rtx.attempt NETWORK RESULTS [--skip KEY ...]

RESULTS gets a line of JSON before and after each case: a process that ends in the midst of one shows in which.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
import torch

from benchmarks.rtx.cases import FORMS, INPUT, PRECISIONS, SHAPES, Case, cases, shape_options
from rectexport.exporter.base.log import Log
from rectexport.exporter.base.options import ExportOptions
from rectexport.exporter.frontend.inputs import plan_inputs
from rectexport.exporter.frontend.source import Source
from rectexport.exporter.targets import identity, lower_for_targets
from rectexport.exporter.tracing.trace import Traced, trace
from rectexport.models.registry import create_model, model_entry
from rectexport.runtime.engines.tensorrt import versions
from rectexport.runtime.engines.tensorrt.building.builder import Model, build_engine
from rectexport.runtime.engines.tensorrt.options import BuildOptions
from rectexport.runtime.errors import RectexportError

#: Ampere (RTX 30) has every precision that is tried; parsing does not depend on it.
TARGETS = ((8, 6),)
BUILT, REFUSED, UNTRACED = "built", "refused", "not exported"


@dataclass
class Network:
    """One network of the zoo, traced once for each kind of shapes and each opset."""

    name: str
    folder: Path
    traces: dict[tuple[str, int], Traced | str] = field(default_factory=dict)
    built: dict[bytes, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        torch.manual_seed(0)
        self.image = model_entry(self.name).input_shape
        example = torch.randn(1, *self.image).numpy()
        model = create_model(self.name).eval()
        self.source = Source("module", model, self.name, input_names=[INPUT], example_inputs=(example,))

    def attempt(self, case: Case) -> dict[str, Any]:
        """The result of a case: outcome, and the engine's size or the message."""
        options = ExportOptions(target="tensorrt", rectify=case.form, guard=False, **PRECISIONS[case.precision])
        traced = self._traced(case.shapes, options.graph_opset)
        if isinstance(traced, str):
            return {"outcome": UNTRACED, "message": traced}
        begin = time.perf_counter()
        (target,) = lower_for_targets(traced, ["tensorrt"], options, Log())
        key = identity(target.model)
        found = {
            "shapes": "static" if case.shapes == "static" else self._kind(traced),
            "nodes": len(target.model.graph.node),
            "maps": sum(node.op_type == "Div" for node in target.model.graph.node),
            "lowered": round(time.perf_counter() - begin, 1),
        }
        if key not in self.built:  # without a rectified layer, the forms are one file
            self.built[key] = self._build(target.model, traced, case)
        return {**found, **self.built[key]}

    def _build(self, model: onnx.ModelProto, traced: Traced, case: Case) -> dict[str, Any]:
        path, begin = self.folder / "model.onnx", time.perf_counter()
        onnx.save(model, path)
        profile = {entry.name: entry.range for entry in traced.inputs}
        wanted = Model(path, case.precision, functions=case.form == "plugin")
        try:
            data = build_engine(wanted, BuildOptions((profile,)), versions.installed_rtx(), targets=TARGETS)
        except RectexportError as error:
            return {"outcome": REFUSED, "message": str(error).replace(str(path), self.name)}
        return {"outcome": BUILT, "bytes": len(data), "seconds": round(time.perf_counter() - begin, 1)}

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


def main() -> None:
    """Try what is not skipped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network")
    parser.add_argument("results", type=Path)
    parser.add_argument("--skip", nargs="*", default=())
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--forms", default=",".join(FORMS))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rectexport-rtx-") as folder:
        network = Network(asked.network, Path(folder))
        for case in open_cases(asked.shapes.split(","), asked.forms.split(","), asked.skip):
            _write(asked.results, {"key": case.key, "outcome": "begun"})
            try:
                result = network.attempt(case)
            except Exception as error:
                result = {"outcome": "failed", "message": f"{type(error).__name__}: {error}"}
            _write(asked.results, {"key": case.key, **result})


def open_cases(shapes: list[str], forms: list[str], done: list[str]) -> Iterator[Case]:
    """The cases that are not done."""
    return (case for case in cases(shapes, forms) if case.key not in done)


def _write(path: Path, line: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
