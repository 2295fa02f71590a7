"""ONNX Runtime behind the Runner protocol, and its errors for files and feeds that it refuses."""

from __future__ import annotations

import json
import platform
import warnings
from pathlib import Path

import numpy as np
import pytest

from rectexport.runtime.base.runner import TensorSpec
from rectexport.runtime.engines import onnxruntime_runner
from rectexport.runtime.engines.onnxruntime_runner import OnnxRuntimeRunner
from rectexport.runtime.errors import BadInput, MissingDependency
from rectexport.runtime.layouts import LAYOUTS
from rectexport.runtime.package.folder import Package


@pytest.fixture(scope="module")
def runner(exported: Path) -> OnnxRuntimeRunner:
    return OnnxRuntimeRunner(exported / "model.onnx", threads=1)


def test_inputs_and_outputs_are_those_of_the_manifest(runner: OnnxRuntimeRunner, exported: Path) -> None:
    manifest = Package.open(exported).manifest
    for specs, entries in ((runner.inputs, manifest.inputs), (runner.outputs, manifest.outputs)):
        assert list(specs) == [TensorSpec(entry.name, entry.dtype, entry.shape) for entry in entries]


@pytest.mark.parametrize("optimize", [True, False])
@pytest.mark.parametrize("as_bytes", [True, False])
def test_it_runs_files_and_bytes(exported: Path, as_bytes: bool, optimize: bool) -> None:
    path = exported / "model.onnx"
    inputs, expected = Package.open(exported).goldens()
    runner = OnnxRuntimeRunner(path.read_bytes() if as_bytes else path, threads=1, optimize=optimize)
    outputs = runner.run(inputs)
    assert list(outputs) == list(expected)
    for name, array in outputs.items():
        assert array.dtype == expected[name].dtype
        np.testing.assert_allclose(array, expected[name], rtol=1e-4, atol=1e-5)


def test_options_reach_the_engine(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    seen = []
    session = onnxruntime.InferenceSession

    def record(model: object, options: object, providers: object, disabled_optimizers: object) -> object:
        seen.append((options.intra_op_num_threads, options.graph_optimization_level, providers))
        return session(model, options, providers=providers, disabled_optimizers=disabled_optimizers)

    monkeypatch.setattr(onnxruntime, "InferenceSession", record)
    OnnxRuntimeRunner(exported / "model.onnx", threads=3)
    OnnxRuntimeRunner(exported / "model.onnx", optimize=False)
    level = onnxruntime.GraphOptimizationLevel
    assert seen == [
        (3, level.ORT_ENABLE_ALL, ["CPUExecutionProvider"]),
        (0, level.ORT_DISABLE_ALL, ["CPUExecutionProvider"]),
    ]


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the blocked layout is for x86-64")
def test_the_plain_layout_has_no_reorders_and_the_same_answers(exported: Path, tmp_path: Path) -> None:
    inputs, expected = Package.open(exported).goldens()
    operators = {}
    for layout in LAYOUTS:
        runner = OnnxRuntimeRunner(exported / "model.onnx", threads=1, layout=layout, profile=tmp_path / layout)
        for name, array in runner.run(inputs).items():
            np.testing.assert_allclose(array, expected[name], rtol=1e-4, atol=1e-5)
        events = json.loads(runner.end_profiling().read_text())
        operators[layout] = {event.get("args", {}).get("op_name") for event in events}
        assert runner.description.endswith({"auto": ", CPU", "plain": ", CPU, plain layout"}[layout])
    assert "ReorderInput" in operators["auto"] or "ReorderOutput" in operators["auto"]
    assert not {"ReorderInput", "ReorderOutput"} & operators["plain"]


@pytest.mark.parametrize("data", [b"", b"garbage", b"\x08\x07" * 50])
def test_a_file_that_is_not_a_model_is_refused_in_one_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(data)
    for model, name in ((path, str(path)), (data, "model")):
        with pytest.raises(BadInput) as refused:
            OnnxRuntimeRunner(model)
        message = str(refused.value)
        assert message.startswith(f"{name}: ONNX Runtime ") and " refuses it: " in message
        assert "\n" not in message and len(message) < 1000


@pytest.mark.parametrize(
    ("text", "said"), [("first\nsecond", "first"), ("x" * 999, "x" * 500), ("", "RuntimeError"), ("\n", "RuntimeError")]
)
def test_errors_show_only_the_engines_first_line(monkeypatch: pytest.MonkeyPatch, text: str, said: str) -> None:
    import onnxruntime

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(text)

    monkeypatch.setattr(onnxruntime, "InferenceSession", fail)
    with pytest.raises(BadInput) as refused:
        OnnxRuntimeRunner(b"model")
    assert str(refused.value) == f"model: ONNX Runtime {onnxruntime.__version__} refuses it: {said}"


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"nowhere\.onnx: ONNX Runtime .* refuses it: "):
        OnnxRuntimeRunner(tmp_path / "nowhere.onnx")


@pytest.mark.parametrize(
    ("feeds", "shown"),
    [
        ({"x": np.zeros((4, 1, 9, 8), np.float32)}, "x float32[4, 1, 9, 8]"),
        ({"x": np.zeros((4, 1, 8, 8), np.float64)}, "x float64[4, 1, 8, 8]"),
        ({"y": np.zeros(3, np.int64)}, "y int64[3]"),
    ],
)
def test_errors_show_the_feeds(runner: OnnxRuntimeRunner, feeds: dict[str, np.ndarray], shown: str) -> None:
    with pytest.raises(BadInput) as refused:
        runner.run(feeds)
    assert str(refused.value).startswith(f"ONNX Runtime could not run with {shown}: ")


def test_a_closed_runner_raises(exported: Path) -> None:
    inputs, _ = Package.open(exported).goldens()
    runner = OnnxRuntimeRunner(exported / "model.onnx")
    runner.close()
    runner.close()
    with pytest.raises(BadInput, match="the model was closed; load it again"):
        runner.run(inputs)


def test_two_builds_of_onnxruntime_are_warned_about(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime_runner, "onnxruntime_conflict", lambda: "both are installed")
    with pytest.warns(RuntimeWarning, match="both are installed"):
        OnnxRuntimeRunner(exported / "model.onnx")
    monkeypatch.setattr(onnxruntime_runner, "onnxruntime_conflict", lambda: None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        OnnxRuntimeRunner(exported / "model.onnx")


def test_without_onnxruntime_the_extra_is_named(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(MissingDependency, match=r"rectexport\[cpu\]"):
        OnnxRuntimeRunner(exported / "model.onnx")
