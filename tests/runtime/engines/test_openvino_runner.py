"""OpenVINO behind the Runner protocol."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rectexport.runtime.api import load
from rectexport.runtime.base.runner import BackendOptions
from rectexport.runtime.engines import openvino_runner
from rectexport.runtime.engines.backends import open_backend
from rectexport.runtime.engines.openvino_runner import OpenVinoRunner
from rectexport.runtime.errors import BadInput
from rectexport.runtime.package.folder import Package


@pytest.fixture
def package(exported: Path) -> Package:
    return Package.open(exported)


def test_openvino_answers_like_the_goldens(package: Package) -> None:
    pytest.importorskip("openvino")
    inputs, expected = package.goldens()
    runner = OpenVinoRunner(package.model_file, threads=1)
    assert runner.description.startswith("OpenVINO 20") and runner.description.endswith(", CPU")
    assert [(spec.name, spec.dtype) for spec in runner.inputs] == [
        (entry.name, entry.dtype) for entry in package.manifest.inputs
    ]
    first = runner.run(inputs)
    kept = {name: array.copy() for name, array in first.items()}
    runner.run({name: np.asfortranarray(array[::-1]) for name, array in inputs.items()})
    for name, array in first.items():
        assert array.flags.writeable
        np.testing.assert_array_equal(array, kept[name])  # a later run does not write into it
        np.testing.assert_allclose(array, expected[name], rtol=1e-4, atol=1e-5)
    with pytest.raises(BadInput, match=r"^OpenVINO could not run with x float32\[4, 3, 8, 8\]: "):
        runner.run({"x": np.zeros((4, 3, 8, 8), np.float32)})
    runner.run(inputs)
    runner.close()
    with pytest.raises(BadInput, match="the model was closed"):
        runner.run(inputs)


def test_openvino_threads_get_their_own_results(package: Package) -> None:
    pytest.importorskip("openvino")
    (image,) = package.goldens()[0].values()
    images = [np.roll(image, shift, axis=2) for shift in range(8)] * 3
    with load(package.path, "openvino") as session, ThreadPoolExecutor(8) as pool:
        alone = [session(each) for each in images]
        for got, wanted in zip(pool.map(session, images), alone, strict=True):
            np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Exception from a.cpp:1:\nCheck 'false' failed at b.cpp:2:\nThe sizes differ.\n\n", "The sizes differ."),
        ("Exception from a.cpp:1:\n-- Pad with a message:\nno\nno\n-- It failed: Pad", "no; It failed: Pad"),
        ("Exception from a.cpp:1:", "Exception from a.cpp:1:"),
        ("", "RuntimeError"),
        ("x" * 999, "x" * 500),
    ],
)  # fmt: skip
def test_what_a_message_says_is_kept(package: Package, monkeypatch: pytest.MonkeyPatch, text: str, said: str) -> None:
    openvino = pytest.importorskip("openvino")

    class Core:
        def compile_model(self, *_: object) -> None:
            raise RuntimeError(text)

    monkeypatch.setattr(openvino, "Core", Core)
    with pytest.raises(BadInput) as refused:
        OpenVinoRunner(package.model_file)
    assert str(refused.value).endswith(f" refuses it: {said}")


def test_openvino_settings_and_refusals(package: Package, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    seen: list[Any] = []
    compiled: list[Any] = []

    def compile_model(path: str, device: str, settings: Any) -> Any:
        seen.append(settings)
        compiled.append(openvino.Core().compile_model(path, device, settings))
        return compiled[-1]

    fake = SimpleNamespace(Core=lambda: SimpleNamespace(compile_model=compile_model), __version__=openvino.__version__)
    monkeypatch.setattr(openvino_runner, "require", lambda module: fake)
    open_backend(package, "openvino")
    open_backend(package, "openvino", BackendOptions(threads=2))
    plain = openvino_runner.SETTINGS
    assert plain["INFERENCE_PRECISION_HINT"] == "f32"
    assert seen == [plain, {**plain, "INFERENCE_NUM_THREADS": 2}]
    assert not any(model.get_property("ENABLE_CPU_PINNING") for model in compiled)
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\x08\x07" * 50)
    with pytest.raises(BadInput, match=r"broken\.onnx: OpenVINO \S+, CPU refuses it: "):
        OpenVinoRunner(broken)
    spec = openvino_runner.TensorSpec("x", "float64", (1,))
    named = OpenVinoRunner(package.model_file, outputs=["another"])
    assert [spec.name for spec in named.outputs] == ["another"] == list(named.run(package.goldens()[0]))
    monkeypatch.setattr(openvino_runner, "_spec", lambda port: spec)
    with pytest.raises(BadInput, match="an input is float64, which OpenVINO computes in float32"):
        OpenVinoRunner(package.model_file)
