"""`rectexport.load`, which opens packages on a deployment machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import rectexport
from rectexport.runtime import api
from rectexport.runtime.base.runner import BackendOptions, silent
from rectexport.runtime.engines.backends import Choice
from rectexport.runtime.engines.onnxruntime_runner import OnnxRuntimeRunner
from rectexport.runtime.errors import BadInput, UsageError
from rectexport.runtime.package.folder import Package


@pytest.mark.parametrize("kind", [str, Path])
def test_a_package_is_loaded(exported: Path, kind: type) -> None:
    assert rectexport.load is api.load
    with rectexport.load(kind(exported)) as session:
        assert isinstance(session, api.Session)
        assert isinstance(session.package, rectexport.Package)
        inputs, outputs = session.package.goldens()
        assert session(*inputs.values()).shape == next(iter(outputs.values())).shape


def test_options_reach_the_backend(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def record(package: Package, name: str, options: BackendOptions) -> tuple[OnnxRuntimeRunner, Choice]:
        seen.append((package.path, name, options))
        return OnnxRuntimeRunner(package.model_file), Choice("recorded", "here")

    monkeypatch.setattr(api, "choose_backend", record)
    said: list[str] = []
    api.load(exported, warm_up=False)
    session = api.load(
        exported,
        "cuda",
        device=1,
        threads=2,
        prefer_nhwc=True,
        cuda_graphs=True,
        layout="plain",
        model=3,
        progress=said.append,
    )
    assert [entry[:2] for entry in seen] == [(exported, "auto"), (exported, "cuda")]
    default, chosen = (replace(options, progress=silent) for _, _, options in seen)
    assert default == BackendOptions(progress=silent)
    assert chosen == BackendOptions(1, 2, True, True, model=3, layout="plain", progress=silent)
    assert session.backend.name == "recorded"
    assert said[0].startswith("checking ") and said[1] == "opened on here" and said[2].startswith("warming up at x 4x1")


def test_an_unknown_layout_is_refused(exported: Path) -> None:
    with pytest.raises(UsageError, match=r"^layout='nhwc': expected auto or plain$"):
        api.load(exported, "onnxruntime", layout="nhwc")


def test_the_plain_layout_is_compared_anew(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The export proved the engine in its own layout."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = []
    for layout in ("auto", "plain", "plain"):
        with api.load(exported, "onnxruntime", threads=1, layout=layout) as session:
            assert session.backend.verdict is not None and session.backend.verdict.agrees
            found.append(session.backend.verdict.basis)
    assert found[1:] == ["goldens", "cache"]


@pytest.mark.parametrize("name", ["model.onnx", "goldens.npz", "parity.json"])
def test_a_changed_file_never_reaches_the_engine(package: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "choose_backend", lambda *_, **__: pytest.fail("the engine saw it"))
    data = bytearray((package / name).read_bytes())
    data[-1] ^= 255
    (package / name).write_bytes(data)
    with pytest.raises(BadInput, match=rf"{name}: sha256 "):
        rectexport.load(package)


def test_a_folder_that_is_not_a_package_is_refused(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nowhere: no such package folder"):
        rectexport.load(tmp_path / "nowhere")
    with pytest.raises(BadInput, match=r"manifest\.json is missing"):
        rectexport.load(tmp_path)
    with pytest.raises(rectexport.RectexportError, match=r"model\.onnx: is a file, expected the folder of a package"):
        rectexport.load(exported / "model.onnx")
