"""The choice of an engine, and the reasons against the others."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from rectexport.runtime.base.runner import BackendOptions
from rectexport.runtime.engines import backends
from rectexport.runtime.engines.backends import BACKENDS, Backend, choose_backend, open_backend
from rectexport.runtime.errors import BadInput, MissingDependency, UsageError
from rectexport.runtime.package.folder import Package
from tests.places import ROOT


def backend(name: str, absent: str | None = None, fails: Exception | None = None) -> Backend:
    """A backend that opens a runner named after it, unless it is absent or fails."""

    def open_it(package: Package, options: BackendOptions) -> Any:
        if fails:
            raise fails
        return SimpleNamespace(description=f"engine {name}", options=options)

    return Backend(name, lambda: absent, open_it)


@pytest.fixture
def package(exported: Path) -> Package:
    return Package.open(exported)


def test_no_engine_imports_the_table_of_engines() -> None:
    folder = ROOT / "runtime/engines"
    importers = [path for path in folder.rglob("*.py") if "engines.backends" in path.read_text(encoding="utf-8")]
    assert importers == []


def test_auto_tries_the_fastest_engine_first() -> None:
    assert [backend.name for backend in BACKENDS] == ["tensorrt", "cuda", "openvino", "onnxruntime", "torch"]


def test_auto_chooses_the_first_available_engine(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    table = (backend("a", "no a"), backend("b"), backend("c", "no c"))
    monkeypatch.setattr(backends, "BACKENDS", table)
    options = BackendOptions(threads=3)
    runner, choice = choose_backend(package, "auto", options)
    assert runner.options is options  # type: ignore[attr-defined]
    assert (choice.name, choice.description, choice.not_taken) == ("b", "engine b", {"a": "no a"})
    assert str(choice) == "b (engine b); not a: no a"
    assert open_backend(package).description == "engine b"


def test_auto_tries_the_next_engine_after_one_that_fails(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    table = (backend("a", fails=MissingDependency("libcudnn.so.9")), backend("b"))
    monkeypatch.setattr(backends, "BACKENDS", table)
    with pytest.warns(RuntimeWarning, match="backend a is installed but failed to load: libcudnn"):
        _, choice = choose_backend(package)
    assert (choice.name, choice.not_taken) == ("b", {"a": "libcudnn.so.9"})


def test_auto_gives_the_reason_against_every_engine(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "BACKENDS", (backend("a", "no a"), backend("torch")))
    with pytest.raises(MissingDependency, match=r"^no inference engine is available: a: no a$"):
        choose_backend(package)
    table = (backend("a", "no a"), backend("b", fails=BadInput("refused")), backend("c", "no c"))
    monkeypatch.setattr(backends, "BACKENDS", table)
    with pytest.warns(RuntimeWarning), pytest.raises(BadInput, match=r"^refused$"):
        choose_backend(package)


def test_a_named_engine_is_opened_or_refused(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    table = (backend("a"), backend("b"), backend("c", "no c"), backend("d", fails=BadInput("refused")))
    monkeypatch.setattr(backends, "BACKENDS", table)
    _, choice = choose_backend(package, "b")
    assert (choice.name, dict(choice.not_taken)) == ("b", {})
    with pytest.raises(MissingDependency, match=r"^backend c: no c$"):
        choose_backend(package, "c")
    with pytest.raises(BadInput, match=r"^refused$"):
        choose_backend(package, "d")
    with pytest.raises(UsageError, match=r"^unknown backend 'e', expected one of auto, a, b, c, d$"):
        choose_backend(package, "e")


def test_onnxruntime_runs_the_package(package: Package) -> None:
    runner, choice = choose_backend(package, "onnxruntime", BackendOptions(threads=1))
    assert choice.description.startswith("ONNX Runtime ") and choice.description.endswith(", CPU")
    assert runner.run(package.goldens()[0])


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_a_missing_engine_is_refused_with_the_extra_to_install(
    package: Package, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)  # type: ignore[arg-type]
    extra = {"onnxruntime": "cpu"}.get(name, name)
    with pytest.raises(MissingDependency, match=rf"^backend {name}: {name} is not installed .*'rectexport\[{extra}\]'"):
        choose_backend(package, name)


def test_cuda_needs_a_driver_and_a_provider(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends.cuda_libraries, "no_gpu", lambda device=0: "no driver")
    with pytest.raises(MissingDependency, match=r"^backend cuda: no driver$"):
        choose_backend(package, "cuda")
    monkeypatch.setattr(backends.cuda_libraries, "no_gpu", lambda device=0: None)
    monkeypatch.setattr(backends.cuda_libraries, "no_provider", lambda ort: "no provider")
    with pytest.raises(MissingDependency, match=r"^backend cuda: no provider$"):
        choose_backend(package, "cuda")


def test_tensorrt_is_imported_only_when_it_is_opened(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []
    part = "rectexport.runtime.engines.tensorrt"
    versions, runner = ModuleType(f"{part}.versions"), ModuleType(f"{part}.running.runner")
    versions.absence = lambda: None  # type: ignore[attr-defined]

    def open_runner(package: Package, options: BackendOptions) -> Any:
        opened.append((package, options))
        return SimpleNamespace(description="TensorRT")

    runner.open_runner = open_runner  # type: ignore[attr-defined]
    for module in (versions, runner, ModuleType(part), ModuleType(f"{part}.running")):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    options = BackendOptions(device=1)
    assert choose_backend(package, "tensorrt", options)[1].description == "TensorRT"
    assert opened == [(package, options)]
    versions.absence = lambda: "no libnvinfer"  # type: ignore[attr-defined]
    with pytest.raises(MissingDependency, match=r"^backend tensorrt: no libnvinfer$"):
        choose_backend(package, "tensorrt")


def test_torch_needs_a_module(package: Package) -> None:
    with pytest.raises(UsageError, match=r"^backend torch runs a PyTorch module .* pass the module as model=$"):
        choose_backend(package, "torch")
