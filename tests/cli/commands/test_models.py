"""`rectexport models`: list, show, save."""

import json
from pathlib import Path

import pytest
import torch

from rectexport.cli.main import main
from rectexport.models.checkpoint import build, read_checkpoint
from rectexport.models.registry import model_names


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["models", *words])
    printed = capsys.readouterr()
    return int(ended.value.code or 0), printed.out, printed.err


def test_list_names_every_network(capsys) -> None:
    code, out, _ = run(capsys)
    listed = {line.split()[0] for line in out.splitlines() if line.startswith("  ")}
    assert code == 0
    assert listed == set(model_names())
    assert "25.56 M  3x224x224   rectified" in out


def test_json_of_the_list_and_of_one(capsys) -> None:
    code, out, _ = run(capsys, "--json")
    rows = json.loads(out)["models"]
    assert code == 0 and [row["name"] for row in rows] == model_names()
    code, out, err = run(capsys, "show", "digits", "--json")
    assert code == 0 and json.loads(out)["parameters"] == next(r["parameters"] for r in rows if r["name"] == "digits")
    assert "multiply-adds" in err


def test_show_counts_with_options(capsys) -> None:
    code, out, _ = run(capsys, "show", "resnet50")
    assert code == 0
    assert "25,557,032" in out
    assert "rectified layers  17" in out
    _, plain, _ = run(capsys, "show", "resnet50", "--option", "conv=plain", "--num-classes", "10")
    assert "rectified layers  0" in plain
    assert "classes           10" in plain


def test_saved_checkpoint_is_seeded_and_loads(capsys, tmp_path: Path) -> None:
    files = [tmp_path / "a.pt", tmp_path / "b.pt", tmp_path / "c.pt"]
    for file, seed in zip(files, ("3", "3", "4"), strict=True):
        code, out, _ = run(capsys, "save", "digits", str(file), "--seed", seed, "--option", "width=0.5")
        assert code == 0
        assert "digits, seed" in out
        assert out.splitlines()[-1].startswith("PASSED in ")
    first, same, other = (build(read_checkpoint(file)).state_dict() for file in files)
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("show", "resnet5"), 2, "did you mean 'resnet50'"),
        (("show", "digits", "--option", "widt=1"), 2, "no option 'widt'"),
        (("show", "digits", "--option", "width"), 2, "expected NAME=VALUE"),
        (("show", "digits", "--option", "conv=round"), 2, "conv"),
        (("save", "digits", "/tmp"), 1, "is a folder; expected the name of a file"),
    ],
)
def test_mistakes_are_one_line_each(capsys, words: tuple[str, ...], code: int, message: str) -> None:
    ended, out, err = run(capsys, *words)
    assert ended == code
    assert message in err
    assert out == ""
    error, failed = err.strip().splitlines()
    assert error.startswith("error: ") and failed.startswith("FAILED after ")
