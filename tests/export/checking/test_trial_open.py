"""An engine that would end the export while it reads a model is named, and the export goes on."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import ModelProto

pytest.importorskip("openvino")

from rectexport.exporter.checking.engines import EngineCheck
from rectexport.exporter.checking.trial_open import killed_by
from rectexport.runtime.engines.proving import engine_version
from rectexport.runtime.package.proofs import REFUSES
from tests.export.helper import build

#: OpenVINO refuses this mode of Resize.
RESIZE = 'r = Resize<coordinate_transformation_mode="half_pixel_symmetric", mode="linear">(x, , s)'
SCALES = "s = Constant<value_floats=[1.0, 1.0, 0.5, 1.0]>()\n h = Constant<value_float=1.3>()"


def resized(tmp_path: Path, after: str) -> tuple[ModelProto, Path]:
    model = build("(float[1,1,8,9] x) => (float[1,1,4,9] y)", f"{SCALES}\n{RESIZE}\n{after}")
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    return model, path


def test_a_crash_is_a_refusal(tmp_path: Path) -> None:
    """Once this fails, OpenVINO is mended and trial_open can go."""
    model, path = resized(tmp_path, "y = Clip(r, , h)")
    check = EngineCheck("openvino", "float32")
    check.open(path, model)
    proof = check.proof()
    assert proof.verdict == REFUSES and check.runner is None
    assert proof.reason == "model.onnx: it ended the process by SIGSEGV while it read the model"


def test_a_refusal_in_words_stays_one(tmp_path: Path) -> None:
    model, path = resized(tmp_path, "y = Relu(r)")
    assert killed_by("openvino", engine_version("openvino"), model, path) == ""
    check = EngineCheck("openvino", "float32")
    check.open(path, model)
    assert "half_pixel_symmetric" in check.proof().reason


@pytest.mark.parametrize(("engine", "body"), [("openvino", "y = Relu(x)"), ("onnxruntime", f"{SCALES}\n{RESIZE}")])
def test_other_models_start_no_process(engine: str, body: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "run", fail)
    result = "y" if body.startswith("y") else "r"
    model = build(f"(float[1,1,8,9] x) => (float[A,B,C,D] {result})", body)
    assert killed_by(engine, engine_version(engine), model, tmp_path / "model.onnx") == ""
