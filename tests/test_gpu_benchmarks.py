"""`make gpu-test` and `make gpu-bench` with a fake GPU, and on a machine without one."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import bench, plan, test
from rectexport.runtime.base.files import sha256
from rectexport.runtime.package.folder import Package
from tests.runtime.engines.tensorrt.machines import Machine, edit_manifest, flexible, machine

__all__ = ["flexible", "machine"]


@pytest.fixture
def prepared(flexible: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with goldens, and two forms of one ONNX file; records go to a separate folder."""
    import numpy as np

    from rectexport.runtime.engines.onnxruntime_runner import OnnxRuntimeRunner

    folder = tmp_path / "gpu"
    folder.mkdir()
    x = np.random.default_rng(0).standard_normal((2, 1, 8, 8)).astype(np.float32)
    y = OnnxRuntimeRunner(flexible / "model.onnx", threads=1).run({"x": x})["y"]
    shutil.copytree(flexible, folder / "net")
    write_goldens(folder / "net", x, y)
    shutil.copy(flexible / "model.onnx", folder / "form.onnx")
    form = {"group": "A chain", "base": "plain", "precision": "fp32", "batches": [1, 8], "input": "x"}
    form |= {"shape": [1, 8, 8], "kept": [], "path": "form.onnx"}
    document = {
        "packages": [{"name": "net-fp32", "precision": "fp32", "path": "net"}],
        "forms": [{**form, "form": name} for name in ("plain", "other")],
    }
    (folder / plan.LIST).write_text(json.dumps(document))
    monkeypatch.setattr(plan.write_record, "__defaults__", (tmp_path / "records",))
    monkeypatch.setattr(bench, "WARM_UP_MS", 3.0)
    monkeypatch.setattr(bench, "ROUND_MS", 1.0)
    monkeypatch.setattr(bench, "ROUNDS", 3)
    monkeypatch.setattr(bench, "kernel", lambda deadline: plan.Section("The rectification kernel", ("",)))
    return folder


def write_goldens(package: Path, x: Any, y: Any) -> None:
    import numpy as np

    np.savez(package / "goldens.npz", **{"input.x": x, "output.y": y})
    digest = sha256(package / "goldens.npz")
    edit_manifest(package, lambda document: document["files"].update({"goldens.npz": digest}))


def run(monkeypatch: pytest.MonkeyPatch, module: Any, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["gpu", *map(str, words)])
    try:
        module.main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_test_and_bench_write_one_record(
    machine: Machine, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    pytest.importorskip("polygraphy")
    assert run(monkeypatch, test, "--folder", prepared) == 0
    assert "| net-fp32 | TensorRT 10.13.3, NVIDIA H100 80GB HBM3 |" in capsys.readouterr().out
    assert not list((prepared / "net").glob("*.plan"))  # what was prepared stays as it was
    assert run(monkeypatch, bench, "--folder", prepared) == 0
    assert run(monkeypatch, bench, "--folder", prepared) == 0
    (record,) = (tmp_path / "records").iterdir()
    assert record.name.endswith("-nvidia-h100-80gb-hbm3.md")
    text = record.read_text()
    assert text.startswith("# NVIDIA H100 80GB HBM3, ")
    assert text.count("## Outputs compared with the goldens") == text.count("## Latency: A chain") == 1
    for row in ("| plain | fp32 | 1 | 0.250 | 0.250 |", "| other | fp32 | 8 | 0.250 | 0.250 | 0.250 | 0.250 | 1.000 ±"):
        assert row in text
    assert "<summary>other, fp32: 1 layers</summary>" in text and "CaskConvolution fp32: conv" in text


def test_wrong_outputs_fail(machine: Machine, prepared: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    pytest.importorskip("polygraphy")
    edit_manifest(prepared / "net", lambda document: document.update(tolerances={"relative_l2": 0.0}))

    feeds, wanted = Package.open(prepared / "net").goldens()
    write_goldens(prepared / "net", feeds["x"], wanted["y"] + 1)
    assert run(monkeypatch, test, "--folder", prepared) == 1
    assert "FAILED: " in (told := capsys.readouterr().out) and "the engine's output differs from PyTorch's: y" in told


@pytest.mark.parametrize("module", [test, bench])
def test_missing_parts_are_skipped_and_no_record_is_written(
    module: Any, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    for folder in (prepared, tmp_path / "nothing"):
        assert run(monkeypatch, module, "--folder", folder) == 0
        said = capsys.readouterr().out
        assert "- TensorRT: skipped: TensorRT cannot be imported here" in said
        assert said.rstrip().endswith("no record: nothing was run")
    assert "run make gpu-packages" in said
    assert not (tmp_path / "records").exists()


def test_runs_after_the_time_limit_are_skipped(
    machine: Machine, prepared: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    assert run(monkeypatch, bench, "--folder", prepared, "--seconds", 0) == 0
    assert "- other fp32, batch 1/8: skipped: out of time" in capsys.readouterr().out
