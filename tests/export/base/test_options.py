"""Options of an export: one place for every default, and errors that name Python's parameters."""

from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import fields
from typing import Any

import pytest

from rectexport.exporter.api import export
from rectexport.exporter.base import options
from rectexport.exporter.base.options import ExportOptions, OptimizeOptions
from rectexport.exporter.graph import dialect
from rectexport.exporter.optimize import optimize
from rectexport.exporter.passes import RECTIFY_FORMS
from rectexport.runtime.errors import UsageError


def keywords(function: Any) -> dict[str, Any]:
    return {name: entry.default for name, entry in inspect.signature(function).parameters.items()}


def test_export_takes_every_option_with_its_default() -> None:
    found = keywords(export)
    found["answer"] = found.pop("output")  # beside output_names, and no folder
    names = {entry.name for entry in fields(ExportOptions)} - {"command"}  # for the command line's reproduce.sh
    assert names <= found.keys()
    assert {name: found[name] for name in names - {"atol", "rtol"}} == {
        name: getattr(ExportOptions, name) for name in names - {"atol", "rtol"}
    }


def test_optimize_takes_every_option_with_its_default() -> None:
    found = keywords(optimize)
    for entry in fields(OptimizeOptions):
        assert entry.name in found
        if entry.name != "shapes":
            assert found[entry.name] == getattr(OptimizeOptions, entry.name)


def test_forms_and_opsets_are_those_of_the_passes() -> None:
    assert options.RECTIFY_FORMS == RECTIFY_FORMS
    assert options.MIN_OPSET == dialect.LEAST_OPSET


@pytest.mark.parametrize(
    ("given", "opset"), [({}, 18), ({"fp16": True}, 18), ({"bf16": True}, 22), ({"bf16": True, "opset": 23}, 23)]
)
def test_the_opset_follows_the_precision(given: dict[str, Any], opset: int) -> None:
    asked = ExportOptions(**given)
    assert asked.graph_opset == asked.recorded()["opset"] == opset


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"opset": 5}, "opset=5: expected 18..23, what torch's exporter covers"),
        ({"rectify": "bend"}, "rectify='bend': expected one of auto, fold, graph, plugin"),
        (
            {"target": "tpu"},
            "target='tpu': expected one of onnxruntime, openvino, tensorrt, portable; several are joined by "
            "commas, and auto stands for the engines installed here",
        ),
        ({"fp16": True, "bf16": True}, "fp16=True and bf16=True: one precision at a time"),
    ],
)
def test_errors_name_the_parameter(given: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError) as raised:
        ExportOptions(**given)
    assert str(raised.value) == text


def test_options_import_no_heavy_library() -> None:
    script = "import sys, rectexport.exporter.base.options; print(*{'torch', 'onnx', 'numpy'} & sys.modules.keys())"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == ""
