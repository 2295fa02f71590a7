"""Engines of TensorRT for RTX are run where a GPU is that they are for. On the fake TensorRT."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rectexport.runtime.api import load
from rectexport.runtime.base.files import sha256
from rectexport.runtime.base.runner import BackendOptions
from rectexport.runtime.engines.onnxruntime_runner import OnnxRuntimeRunner
from rectexport.runtime.engines.tensorrt import versions
from rectexport.runtime.engines.tensorrt.building import rtx as building
from rectexport.runtime.engines.tensorrt.building.building import default_options, ensure_plan
from rectexport.runtime.engines.tensorrt.running.runner import open_runner
from rectexport.runtime.errors import BadInput, MissingDependency, ParityError
from rectexport.runtime.package.folder import Package
from tests.runtime.engines.tensorrt.machines import Machine, edit_manifest

pytest.importorskip("polygraphy")
TARGETS = ((8, 6), (8, 9))


@pytest.fixture
def rtx(machine: Machine, flexible: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A machine with an RTX 40, on which the package's engine was built; calling it leaves TensorRT for RTX alone."""
    module = machine.install("11.1.0")
    api, real = machine.api(), building.build_engine
    monkeypatch.setattr(
        building, "build_engine", lambda model, options, given, report, targets: real(model, options, api, report)
    )
    wanted = default_options(Package.open(flexible))
    building.ensure_rtx_engine(flexible, wanted, replace(api, version=(1, 7, 1), rtx=True), TARGETS)  # on the H100
    machine.gpu.capability, machine.gpu.version = (8, 9), 13000

    def alone() -> None:
        module.__version__ = "1.7.1.116"
        monkeypatch.setitem(sys.modules, "tensorrt_rtx", module)
        monkeypatch.setitem(sys.modules, "tensorrt", None)

    return alone


def image(*shape: int) -> Any:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def add_goldens(package: Path, shift: float) -> None:
    x = image(2, 1, 8, 8)
    y = OnnxRuntimeRunner(package / "model.onnx", threads=1).run({"x": x})["y"]
    np.savez(package / "goldens.npz", **{"input.x": x, "output.y": y + shift})
    digest = sha256(package / "goldens.npz")
    edit_manifest(package, lambda document: document["files"].update({"goldens.npz": digest}))


def test_an_engine_that_never_ran_is_compared_and_run(
    rtx: Callable[[], None], machine: Machine, flexible: Path
) -> None:
    add_goldens(flexible, 0.0)
    rtx()
    said: list[str] = []
    x = image(3, 1, 9, 9)
    with load(flexible, "tensorrt", progress=said.append) as session:
        assert session.backend.description == "TensorRT for RTX 1.7.1, NVIDIA H100 80GB HBM3"
        found = session.run({"x": x})["y"]
    np.testing.assert_allclose(found, OnnxRuntimeRunner(flexible / "model.onnx", threads=1).run({"x": x})["y"], 1e-5)
    assert "comparing the engine with PyTorch's answers: it has not run before" in said
    assert not machine.gpu.memory and not machine.gpu.handles


def test_one_that_disagrees_is_refused(rtx: Callable[[], None], machine: Machine, flexible: Path) -> None:
    add_goldens(flexible, 1.0)
    rtx()
    with pytest.raises(ParityError, match="the engine's output differs from PyTorch's"):
        open_runner(Package.open(flexible))
    assert not machine.gpu.memory and not machine.gpu.handles
    open_runner(Package.open(flexible), BackendOptions(allow_unproven=True)).close()


def test_tensorrt_itself_comes_first(rtx: Callable[[], None], machine: Machine, flexible: Path) -> None:
    """A plan for it is taken; without one, the engine for RTX."""
    module = machine.install("10.13.3")
    sys.modules["tensorrt_rtx"] = machine.install("11.1.0")
    sys.modules["tensorrt_rtx"].__version__ = "1.7.1.116"
    sys.modules["tensorrt"] = module
    found = open_runner(Package.open(flexible))
    assert found.description.startswith("TensorRT for RTX 1.7.1")
    found.close()
    machine.install("10.13.3")
    ensure_plan(flexible, default_options(Package.open(flexible)), versions.load())
    found = open_runner(Package.open(flexible))
    assert found.description.startswith("TensorRT 10.13.3")
    found.close()


def test_why_no_engine_fits(rtx: Callable[[], None], machine: Machine, flexible: Path) -> None:
    rtx()
    machine.gpu.capability = (12, 0)
    with pytest.raises(BadInput) as error:
        open_runner(Package.open(flexible))
    text = str(error.value)
    assert "holds no engine for TensorRT for RTX 1.7.1 and a GPU of compute capability 12.0 (model.rtx1.7.1." in text
    assert "it was built for compute capability 8.6, 8.9); build one: rectexport build" in text
    machine.gpu.capability = (8, 6)
    sys.modules["tensorrt_rtx"].__version__ = "1.8.0"
    with pytest.raises(BadInput, match=r"it was built by version 1\.7\.1, but this is 1\.8\.0"):
        open_runner(Package.open(flexible))


def test_one_is_built_where_that_is_allowed(
    rtx: Callable[[], None], machine: Machine, flexible: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = (flexible / "model.rtx1.7.1.sm86-89.plan").read_bytes()
    rtx()
    machine.gpu.capability = (12, 0)
    monkeypatch.setattr(building, "build_engine", lambda *_: data)
    open_runner(Package.open(flexible), BackendOptions(rebuild=True)).close()
    assert [entry["compute_capabilities"] for entry in building.engines_of(Package.open(flexible))][-1] == ["12.0"]


def test_a_changed_file_is_not_loaded(rtx: Callable[[], None], machine: Machine, flexible: Path) -> None:
    rtx()
    (flexible / "model.rtx1.7.1.sm86-89.plan").write_bytes(b"changed")
    before = machine.trt.deserialized
    with pytest.raises(BadInput, match=r"a plan is code, so it was not loaded; build it again: .* --rtx --rebuild"):
        open_runner(Package.open(flexible))
    assert machine.trt.deserialized == before


def test_an_old_driver_is_named(
    rtx: Callable[[], None], machine: Machine, flexible: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rtx()
    machine.gpu.version = 12080
    monkeypatch.setattr(versions, "version", lambda name: "1.7.1" if name == "tensorrt-rtx-cu13" else None)
    with pytest.raises(MissingDependency, match=r"TensorRT for RTX 1\.7\.1 is built for CUDA 13; update the driver"):
        open_runner(Package.open(flexible))
    assert "TensorRT for RTX 1.7.1 is built for CUDA 13" in str(versions.absence())
