"""Plans for a search, with a made-up TensorRT: built once, with a profile for each batch."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rectexport.runtime.engines.tensorrt.profiles import make_profiles
from rectexport.runtime.errors import BadInput, MissingDependency
from rectexport.runtime.package.folder import Package
from rectexport.runtime.tuning.plan import work
from tests.runtime.engines.tensorrt.machines import Machine

pytest.importorskip("polygraphy")


def test_every_batch_has_a_profile(machine: Machine, flexible: Path) -> None:
    answer = work({"package": str(flexible), "batches": [1, 4]})
    assert answer["profiles"] == ["x:1x1x4x4..1x1x8x8..1x1x16x16", "x:2x1x4x4..4x1x8x8..8x1x16x16"]
    package = Package.open(flexible)
    package.verify_files()
    assert answer["file"] in package.manifest.files
    assert len(make_profiles(package.manifest.inputs, answer["profiles"])) == 2


def test_a_plan_that_fits_is_taken_as_it_is(machine: Machine, flexible: Path) -> None:
    first = work({"package": str(flexible), "batches": [1]})
    assert work({"package": str(flexible), "batches": [8]}) == first
    assert len(machine.trt.builds) == 1
    machine.install("11.1.0")
    assert work({"package": str(flexible), "batches": [8]})["file"] != first["file"]
    assert len(machine.trt.builds) == 2


def test_what_tensorrt_refuses_is_an_error(machine: Machine, flexible: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.trt.refused_operator = "Relu"
    with pytest.raises(BadInput, match=r"node /head/odd \(Relu\): TensorRT 10.13.3 does not support it"):
        work({"package": str(flexible), "batches": [1]})
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingDependency, match="TensorRT cannot be imported here"):
        work({"package": str(flexible), "batches": [1]})
