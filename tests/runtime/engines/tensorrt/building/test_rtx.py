"""Engines of TensorRT for RTX in a package; the fake TensorRT builds them. The real one: tests/tensorrt_rtx."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rectexport.runtime.engines.tensorrt import cuda
from rectexport.runtime.engines.tensorrt.building import rtx
from rectexport.runtime.engines.tensorrt.building.building import default_options
from rectexport.runtime.engines.tensorrt.plans import plans_of
from rectexport.runtime.errors import BadInput, MissingDependency, ParityError, UsageError
from rectexport.runtime.package.folder import Package
from tests.runtime.engines.tensorrt.machines import Machine, edit_manifest, flexible, machine

__all__ = ["flexible", "machine"]
Ensure = Callable[..., rtx.RtxBuilt]
TARGETS = ((8, 6), (8, 9))
FILE = "model.rtx1.7.1.sm86-89.plan"


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The targets of each build."""
    return []


@pytest.fixture
def ensure(machine: Machine, flexible: Path, built: list[Any], monkeypatch: pytest.MonkeyPatch) -> Ensure:
    """ensure_rtx_engine, with the builder of the fake TensorRT."""
    pytest.importorskip("polygraphy")
    machine.install("11.1.0")
    api, real = machine.api(), rtx.build_engine

    def build(model: Any, options: Any, given: Any, report: Any, targets: Any) -> bytes:
        built.append(targets)
        return real(model, options, api, report)

    monkeypatch.setattr(rtx, "build_engine", build)

    def ensure(**options: Any) -> rtx.RtxBuilt:
        wanted = replace(default_options(Package.open(flexible)), **options.pop("options", {}))
        as_rtx = replace(api, version=(1, 7, 1), rtx=True)
        return rtx.ensure_rtx_engine(flexible, wanted, as_rtx, options.pop("targets", TARGETS), **options)

    return ensure


def add_goldens(package: Path, shift: float) -> None:
    import numpy as np

    from rectexport.runtime.base.files import sha256
    from rectexport.runtime.engines.onnxruntime_runner import OnnxRuntimeRunner

    x = np.random.default_rng(0).standard_normal((2, 1, 8, 8)).astype(np.float32)
    y = OnnxRuntimeRunner(package / "model.onnx", threads=1).run({"x": x})["y"]
    np.savez(package / "goldens.npz", **{"input.x": x, "output.y": y + shift})
    digest = sha256(package / "goldens.npz")
    edit_manifest(package, lambda document: document["files"].update({"goldens.npz": digest}))


def test_without_a_gpu_of_the_kind_it_says_that_it_has_not_run(
    ensure: Ensure, flexible: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = ensure()  # the machine has an H100
    assert found.built and found.entry["file"] == FILE and found.entry["parity"] is None
    assert "H100 80GB HBM3 (9.0) is not among the GPUs" in found.entry["not_run"]

    def absent() -> Any:
        raise MissingDependency("no driver")

    monkeypatch.setattr(cuda, "driver", absent)
    monkeypatch.setattr(rtx, "build_engine", lambda *_: b"an engine")
    assert ensure(rebuild=True).entry["not_run"] == "there is no GPU on the machine that built it: no driver"


def test_with_one_it_is_compared(ensure: Ensure, flexible: Path, machine: Machine) -> None:
    machine.gpu.capability = (8, 9)
    add_goldens(flexible, 0.0)
    found = ensure().entry
    assert found["not_run"] is None and found["parity"]["relative_l2"] <= found["parity"]["allowed"]
    add_goldens(flexible, 1.0)
    before = Package.open(flexible).manifest.data
    with pytest.raises(ParityError, match="the engine's output differs from PyTorch's"):
        ensure(rebuild=True)
    assert Package.open(flexible).manifest.data == before


def test_it_is_built_once_and_again_where_something_changed(ensure: Ensure, built: list[Any], flexible: Path) -> None:
    assert ensure().built and not ensure().built and built == [TARGETS]
    assert ensure(options={"tf32": True}).built
    (flexible / FILE).write_bytes(b"damaged")
    assert ensure(options={"tf32": True}).built
    assert ensure(targets=((12, 0),)).entry["file"] == "model.rtx1.7.1.sm120.plan"
    package = Package.open(flexible)
    assert [entry["file"] for entry in rtx.engines_of(package)] == [FILE, "model.rtx1.7.1.sm120.plan"]
    assert plans_of(package) == []
    package.verify_files()


def test_a_list_that_is_none(ensure: Ensure, flexible: Path) -> None:
    edit_manifest(flexible, lambda document: document.update(rtx_engines=[{"file": "../a.plan"}]))
    with pytest.raises(BadInput, match="rtx_engines: not a list of engines"):
        ensure()


def test_targets() -> None:
    assert rtx.parse_targets(["8.9", "8.6", "8.9"], "fp32", False) == TARGETS
    assert rtx.parse_targets([], "fp16", False) == rtx.TARGETS
    assert (7, 5) not in rtx.parse_targets([], "bf16", False) + rtx.parse_targets([], "fp32", True)
    with pytest.raises(UsageError, match=r"--compute-capability 9\.0: TensorRT for RTX builds for 7\.5"):
        rtx.parse_targets(["9.0"], "fp32", False)
