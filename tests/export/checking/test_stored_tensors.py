"""Inner tensors of the ONNX file that a package is compared with."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest

from rectexport.exporter.checking.stored_tensors import StoredTensors
from tests.export.helper import build, normal


def stored(folder: Path, parity: str | None = None) -> StoredTensors:
    model = build("(float[N,2] given) => (float[N,2] y)", "a = Neg(given) y = Relu(a)")
    onnx.save(model, folder / "net.onnx")
    if parity is not None:
        (folder / "parity.json").write_text(parity)
    reference: Any = SimpleNamespace(model=folder / "net.onnx", feeds=lambda feeds: {"given": feeds["x"]})
    package: Any = SimpleNamespace(path=folder)
    return StoredTensors(reference, package)


def test_tensors_are_computed_from_the_packages_inputs(tmp_path: Path) -> None:
    found = stored(tmp_path)
    assert found.inner_names() == {"a", "y"} and found.traced is None
    x = normal(3, 2)
    (tensor,) = found.tensors({"x": x}, ["a"]).values()
    np.testing.assert_array_equal(tensor, -x)


def test_modules_are_those_that_the_export_recorded(tmp_path: Path) -> None:
    cases = [{"layers": [{"tensor": "a", "layer": "stem.0"}]}]
    found = stored(tmp_path, json.dumps({"cases": cases}))
    assert (found.layer("a"), found.layer("y")) == ("stem.0", "y")


@pytest.mark.parametrize("text", [None, "", "[]", '{"cases": 1}', '{"cases": [{"layers": [{}]}]}', '{"cases": [1]}'])
def test_without_a_record_a_tensor_goes_by_its_name(tmp_path: Path, text: str | None) -> None:
    assert stored(tmp_path, text).layer("a") == "a"
