"""`rectexport build --rtx` and `rectexport MODEL --rtx` with the real builder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rectexport.runtime.engines.tensorrt.building.rtx import engines_of
from rectexport.runtime.engines.tensorrt.versions import Api
from rectexport.runtime.package.folder import Package
from rectexport.runtime.package.schema import manifest_faults
from tests.cli.conftest import command
from tests.places import ROOT
from tests.runtime.engines.tensorrt.machines import flexible

__all__ = ["command", "flexible"]
Command = Callable[..., Any]
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def test_an_engine_is_built_and_found_again(command: Command, api: Api, flexible: Path) -> None:
    ran = command("build", flexible, "--rtx", "--compute-capability", "8.9", "--compute-capability", "8.6")
    assert (ran.code, ran.err) == (0, "")
    assert "for RTX GPUs of compute capability 8.6, 8.9, TensorRT for RTX" in ran.out
    assert "not compared with PyTorch: there is no GPU on the machine that built it" in ran.out
    (entry,) = engines_of(Package.open(flexible))
    data = (flexible / entry["file"]).read_bytes()
    assert entry["sha256"] == hashlib.sha256(data).hexdigest() == Package.open(flexible).manifest.files[entry["file"]]
    again = command("build", flexible, "--rtx", "--compute-capability", "8.9", "--compute-capability", "8.6", "--json")
    assert json.loads(again.out)["plan"]["built"] is False
    other = command("build", flexible, "--rtx", "--compute-capability", "8.6", "--compute-capability", "8.9", "--tf32")
    assert other.code == 0 and len(engines_of(Package.open(flexible))) == 1


def test_an_export_with_an_engine(command: Command, api: Api, tmp_path: Path) -> None:
    model = ROOT / "models" / "checkpoints" / "digits.pt"
    ran = command(model, "--rtx", "--fp16", "-o", tmp_path / "net")
    assert ran.code == 0, ran.err
    package = Package.open(tmp_path / "net")
    (entry,) = engines_of(package)
    assert (entry["precision"], entry["compute_capabilities"]) == ("fp16", ["7.5", "8.6", "8.9", "12.0"])
    assert list(manifest_faults(package.manifest.data)) == []
    package.verify_files()
