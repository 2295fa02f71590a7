"""`rectexport.load`: the way in on a deployment machine."""

from __future__ import annotations

from pathlib import Path

import pytest

import rectexport
from rectexport.runtime import api
from rectexport.runtime.errors import BadInput
from rectexport.runtime.onnxruntime_runner import OnnxRuntimeRunner


@pytest.mark.parametrize("kind", [str, Path])
def test_a_package_is_loaded(exported: Path, kind: type) -> None:
    assert rectexport.load is api.load
    with rectexport.load(kind(exported)) as session:
        assert isinstance(session, api.Session)
        assert isinstance(session.package, rectexport.Package)
        inputs, outputs = session.package.goldens()
        assert session(*inputs.values()).shape == next(iter(outputs.values())).shape


def test_threads_reach_the_runner(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def record(model: Path, *, threads: int) -> OnnxRuntimeRunner:
        seen.append((model, threads))
        return OnnxRuntimeRunner(model, threads=threads)

    monkeypatch.setattr(api, "OnnxRuntimeRunner", record)
    api.load(exported)
    api.load(exported, threads=2)
    assert seen == [(exported / "model.onnx", 0), (exported / "model.onnx", 2)]


@pytest.mark.parametrize("name", ["model.onnx", "goldens.npz", "parity.json"])
def test_a_changed_file_never_reaches_the_engine(package: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "OnnxRuntimeRunner", lambda *_, **__: pytest.fail("the engine saw it"))
    data = bytearray((package / name).read_bytes())
    data[-1] ^= 255
    (package / name).write_bytes(data)
    with pytest.raises(BadInput, match=rf"{name}: sha256 "):
        rectexport.load(package)


def test_what_is_no_package_is_refused(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nowhere: no such package folder"):
        rectexport.load(tmp_path / "nowhere")
    with pytest.raises(BadInput, match=r"manifest\.json is missing"):
        rectexport.load(tmp_path)
    with pytest.raises(rectexport.RectexportError, match=r"model\.onnx: is a file, expected the folder of a package"):
        rectexport.load(exported / "model.onnx")
