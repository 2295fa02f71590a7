"""`make gpu-kit` and `make gpu`: the whole call on a CPU; what a kill or a deadline leaves; a fake TensorRT."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import driver, kit
from benchmarks.gpu.bench import Bench
from benchmarks.gpu.record import Record, markdown, read
from benchmarks.gpu.steps import STEPS, Step, engines
from rectexport.runtime.package.folder import Package
from tests.runtime.engines.tensorrt.machines import Machine, edit_manifest, flexible, machine

__all__ = ["flexible", "machine"]
TABLES = {
    *("Machine", "Libraries", "The kernel beside copies", "The driver layer", "cuDNN graphs", "Answers of the engines"),
    "The price of rectification in PyTorch",
}


@pytest.mark.slow
def test_a_dry_run_of_the_kit(tmp_path: Path) -> None:
    """From the kit alone: the repository is not on the path."""
    kit.write(tmp_path / "kit", offline=True)
    assert not list((tmp_path / "kit" / "source").glob("models/**/*.py"))
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "OUT")}
    command = [sys.executable, str(tmp_path / "kit" / "run.py"), "--dry"]
    ran = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (page,) = (tmp_path / "kit" / "record").glob("*-dry.md")
    text, document = page.read_text(), json.loads(page.with_suffix(".json").read_text())
    findings = document["findings"]
    assert {line["step"]: line["text"] for line in findings if line["kind"] == "end"} == {
        step.name: "done" for step in STEPS
    }
    assert {line["table"] for line in findings if line["kind"] == "row"} == TABLES
    assert all(f"- **{step.title}**: done" in text for step in STEPS)
    assert text.rindex("- **") < text.index("## Machine")  # tables last
    forms = {line["columns"]["form"] for line in findings if line.get("table", "").startswith("The price")}
    assert forms >= {"rectified, Triton, graph", "rectified, eager", "plain, compiled"}


def test_a_step_is_stopped_at_its_deadline_and_keeps_its_findings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One step that hangs with a child of its own, one that crashes, one for which no time is left."""
    writes = "from benchmarks.gpu.record import Record; from pathlib import Path; "
    writes += f"Record(Path({str(tmp_path / 'findings.jsonl')!r}), 'slow').row('Found', value='1|2'); "
    bodies = {
        "slow": f"{writes}import subprocess; subprocess.run(['sleep', '60'])",
        "broken": "import os; print('the last words'); os.abort()",
    }
    real = subprocess.Popen
    begun = []

    def process(command: list[str], **options: Any) -> Any:
        begun.append(real([sys.executable, "-c", bodies[command[3]]], **options))
        return begun[-1]

    monkeypatch.setattr(driver, "STEPS", [Step("slow", "", "Slow", 1.0), Step("broken", "", "Broken", 60)])
    monkeypatch.setattr(driver, "LEAST", 0.5)
    monkeypatch.setattr(subprocess, "Popen", process)
    words = ["--sources", "s", "--work", tmp_path / "work", "--out", tmp_path / "out"]
    words += ["--findings", tmp_path / "findings.jsonl", "--dry", "--only", "slow,broken"]
    monkeypatch.setattr(sys, "argv", ["driver", *map(str, words)])
    with pytest.raises(SystemExit, match="1"):
        driver.main()
    (page,) = (tmp_path / "out").glob("*.md")
    text = page.read_text()
    assert "- **Slow**: stopped after 1 s" in text and "| 1\\|2 |" in text
    assert "- **Broken**: failed" in text and "its process ended with -6: the last words" in text
    assert "FAILED: broken" in capsys.readouterr().out and all(entry.poll() is not None for entry in begun)
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--seconds", "0"])
    with pytest.raises(SystemExit, match="0"):
        driver.main()
    assert "- **Slow**: out of time, not begun" in page.read_text()


def test_a_line_that_a_kill_cut_off_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "findings.jsonl"
    Record(path, "one").note("whole")
    with path.open("a") as stream:
        stream.write('{"step": "one", "ki')
    assert [line["text"] for line in read(path)] == ["whole"]
    assert "- **One**: not run\n  - whole" in markdown("title", {"one": "One"}, read(path))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(Record(tmp_path / "findings.jsonl", "engines"), True, tmp_path, tmp_path)


@pytest.fixture
def package(flexible: Path) -> Package:
    """With goldens, in a batch of its own."""
    np = pytest.importorskip("numpy")
    from rectexport.runtime.base.files import sha256
    from rectexport.runtime.engines.onnxruntime_runner import OnnxRuntimeRunner

    x = np.random.default_rng(0).standard_normal((2, 1, 8, 8)).astype(np.float32)
    y = OnnxRuntimeRunner(flexible / "model.onnx", threads=1).run({"x": x})["y"]
    np.savez(flexible / "goldens.npz", **{"input.x": x, "output.y": y})
    digest = sha256(flexible / "goldens.npz")
    edit_manifest(flexible, lambda document: document["files"].update({"goldens.npz": digest}))
    return Package.open(flexible)


def rows(bench: Bench, kind: str = "row") -> list[Any]:
    return [line.get("columns", line.get("text")) for line in read(bench.record.path) if line["kind"] == kind]


def test_tensorrts_answers(machine: Machine, bench: Bench, package: Package) -> None:
    pytest.importorskip("polygraphy")
    opened = dict(engines._engines(bench))
    engines._check(bench, "net", "tensorrt", package, "fp32", opened["tensorrt"])
    assert rows(bench)[0]["verdict"] == "agrees" and not rows(bench, "fail")
    edit_manifest(package.path, lambda document: document.update(plans=[]))
    engines._check(bench, "net", "tensorrt", Package.open(package.path), "fp32", lambda _: Wrong())
    assert rows(bench)[1]["verdict"] == "DIFFERS"
    assert "net on tensorrt: relative L2" in rows(bench, "fail")[0]


class Wrong:
    """A runner whose answers are zeros."""

    def run(self, feeds: Any) -> Any:
        return {"y": 0 * feeds["x"].repeat(2, axis=1)}

    def close(self) -> None: ...


def test_tensorrts_latency(machine: Machine, bench: Bench, package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("polygraphy")
    sizes = {"shape": ["n", 1, 8, 8]}
    edit_manifest(package.path, lambda document: document["inputs"][0].update(sizes))
    engines.race(bench, {"plain": Package.open(package.path), "rectified": Package.open(package.path)}, (1, 4))
    found = rows(bench)
    assert [(row["batch"], row["engine"]) for row in found[:2]] == [(1, "plain, eager"), (1, "plain, graph")]
    assert len(found) == 8 and all(row["to plain"].startswith("1.000") for row in found)


def test_the_record_of_a_gpu(tmp_path: Path) -> None:
    path = driver.write(tmp_path, "NVIDIA H200", [])
    assert path.name.endswith("-nvidia-h200.md") and path.read_text().startswith("# NVIDIA H200, ")
    assert {entry.suffix for entry in tmp_path.iterdir()} == {".md", ".json"}


def test_a_process_of_a_step_says_what_failed(tmp_path: Path) -> None:
    step = Step("machine", "machine.run", "Machine", 60)
    asked = Namespace(sources=tmp_path, work=tmp_path, dry=False)
    driver.run(step, 60, tmp_path / "findings.jsonl", asked)
    kinds = {line["kind"]: line["text"] for line in read(tmp_path / "findings.jsonl") if "text" in line}
    if "fail" not in kinds:
        pytest.skip("there is a GPU here")
    assert "nvidia-smi" in kinds["fail"] and kinds["end"] == "failed"
