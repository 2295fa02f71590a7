"""Several models in one command: a folder each, one's failure is its own, and the words of each command."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from rectexport.cli.batch import jobs_of
from rectexport.cli.commands import export
from rectexport.runtime.errors import UsageError

DIGITS = Path(__file__).resolve().parents[2] / "models/checkpoints/digits.pt"


def words_of(*words: str, models: int = 2) -> list[list[str]]:
    command = typer.main.get_command(export.app)
    return [job.words for job in jobs_of(words, command, [Path("out") / str(index) for index in range(models)])]


def test_each_model_gets_the_flags_and_a_folder_of_its_own() -> None:
    assert words_of("a.pt", "--opset", "18", "b.pt", "--fp16", "-o", "x", "--jobs=2") == [
        ["a.pt", "--opset", "18", "--fp16", "-o", "out/0"],
        ["b.pt", "--opset", "18", "--fp16", "-o", "out/1"],
    ]


def test_the_value_of_a_flag_is_no_model() -> None:
    (first, second) = words_of("--arch", "a.pt", "a.pt", "--input=x:1x1", "-ox", "--", "-b.pt")
    assert first == ["a.pt", "--arch", "a.pt", "--input=x:1x1", "-o", "out/0"]
    assert second == ["./-b.pt", "--arch", "a.pt", "--input=x:1x1", "-o", "out/1"]


def test_two_models_of_one_name_are_refused() -> None:
    with pytest.raises(UsageError, match="two of the models would be written to out"):
        jobs_of(["x/a.pt", "y/a.pt"], typer.main.get_command(export.app), [Path("out"), Path("out")])


def test_a_damaged_model_does_not_stop_the_others(tmp_path: Path) -> None:
    shutil.copy(DIGITS, tmp_path / "good.pt")
    (tmp_path / "bad.pt").write_bytes(b"no model")
    command = [sys.executable, "-m", "rectexport", "bad.pt", "good.pt", "missing.pt", "--jobs", "2", "--json"]
    ran = subprocess.run([*command, "--input", "x:1x1x8x8"], cwd=tmp_path, capture_output=True, text=True, check=False)
    found = json.loads(ran.stdout)
    assert (ran.returncode, found["passed"]) == (1, False)
    assert [(entry["model"], entry["exit_code"]) for entry in found["models"]] == [
        ("bad.pt", 1), ("good.pt", 0), ("missing.pt", 1)
    ]  # fmt: skip
    assert found["models"][1]["package"] == "out/good"
    assert [path.name for path in (tmp_path / "out").iterdir() if path.is_dir()] == ["good"]
    assert "good.pt: exported" in ran.stderr and "error: bad.pt" in ran.stderr
    script = (tmp_path / "out/good/reproduce.sh").read_text().splitlines()[-1]
    assert script.startswith("exec rectexport good.pt ") and "bad.pt" not in script


@pytest.mark.parametrize("flag", [("--source", "net.pt"), ("--inputs", "x.npz")])
def test_flags_of_one_model_are_refused_for_several(flag: tuple[str, str]) -> None:
    command = [sys.executable, "-m", "rectexport", "a.pt", "b.pt", *flag]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 2 and "for one MODEL" in ran.stderr
