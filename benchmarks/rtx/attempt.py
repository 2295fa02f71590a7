"""Export one network in every form for TensorRT, and parse and build each file; a process of its own.

    python -m benchmarks.rtx.attempt NETWORK parse|build KEY [KEY ...]

Before each case it prints a line of JSON with the outcome "begun", the result behind it, and before a build what was
parsed: whoever reads them knows in which case a process ended or takes too long.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import torch

from benchmarks.rtx.cases import INPUT, PRECISIONS, Case, shape_options
from benchmarks.rtx.outcomes import BEGUN, BUILT, FAILED, PARSED, REFUSED, UNTRACED
from rectexport.exporter.base.log import Log
from rectexport.exporter.base.options import ExportOptions
from rectexport.exporter.frontend.inputs import plan_inputs
from rectexport.exporter.frontend.source import Source
from rectexport.exporter.graph.dialect import RECTIFICATION_MAPS, RECTIFIES, used_operators
from rectexport.exporter.targets import identity, lower_for_targets
from rectexport.exporter.tracing.trace import Traced, trace
from rectexport.models.registry import create_model, model_entry
from rectexport.runtime.engines.tensorrt import versions
from rectexport.runtime.engines.tensorrt.building.builder import Model, build_engine, count_layers
from rectexport.runtime.engines.tensorrt.options import BuildOptions
from rectexport.runtime.errors import RectexportError

#: Ampere (RTX 30) has every precision that is tried; parsing does not depend on it.
TARGETS = ((8, 6),)
#: Of the builder: the engines are not run, so how fast they would be does not matter.
LEAST_EFFORT = 0
#: Operators of the dialect that --rectify is about; a network without them is one file in all forms.
RECTIFIED = {*RECTIFIES.values(), *RECTIFICATION_MAPS.values(), "MaskedCount", "MaskedRectify"}


@dataclass
class Network:
    """One network of the zoo, traced once for each kind of shapes and each opset.

    parsed: called with the result of the parser before a build, which may take long.
    one_file: kind of shapes and precision -> the result of all forms, where they are one file.
    """

    name: str
    folder: Path
    build: bool = True
    parsed: Callable[[dict[str, Any]], None] = lambda result: None
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
        (target,) = lower_for_targets(traced, ["tensorrt"], options, Log())
        found = {
            "shapes": "static" if case.shapes == "static" else self._kind(traced),
            "model": identity(target.model).hex()[:12],
            "nodes": len(target.model.graph.node),
        }
        found |= self._try(target.model, traced, case, found)
        if not RECTIFIED & set(used_operators(traced.model)):
            self.one_file[known] = found
        return found

    def _try(self, model: onnx.ModelProto, traced: Traced, case: Case, found: dict[str, Any]) -> dict[str, Any]:
        path, api = self.folder / "model.onnx", versions.installed_rtx()
        onnx.save(model, path)
        profile = {entry.name: entry.range for entry in traced.inputs}
        wanted = Model(path, case.precision, functions=case.form == "plugin")
        options = BuildOptions((profile,), optimization_level=LEAST_EFFORT)
        try:
            parsed = {"outcome": PARSED, "layers": count_layers(wanted, options, api)}
            if not self.build:
                return parsed
            self.parsed({**found, **parsed})
            data = build_engine(wanted, options, api, targets=TARGETS)
        except RectexportError as error:
            return {"outcome": REFUSED, "message": str(error).replace(str(path), self.name)}
        return {**parsed, "outcome": BUILT, "bytes": len(data)}

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
    """Try the cases, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network")
    parser.add_argument("stage", choices=("parse", "build"))
    parser.add_argument("keys", nargs="+")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rectexport-rtx-") as folder:
        network = Network(asked.network, Path(folder), build=asked.stage == "build")
        for key in asked.keys:
            _say({"key": key, "outcome": BEGUN})
            network.parsed = partial(_parsed, key)
            try:
                result = network.attempt(Case(*key.split()))
            except Exception as error:
                result = {"outcome": FAILED, "message": f"{type(error).__name__}: {error}"}
            _say({"key": key, **result})


def _parsed(key: str, result: dict[str, Any]) -> None:
    _say({"key": key, **result})


def _say(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
