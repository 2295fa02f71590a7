"""`rectexport report`, and exports with --report."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rectexport.runtime.package.folder import Package

pytest.importorskip("jinja2")
pytest.importorskip("onnxruntime")
Command = Callable[..., Any]


@pytest.fixture(scope="module")
def reported(command: Command, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package with a report in it."""
    out = tmp_path_factory.mktemp("packages") / "tiny"
    ran = command(tiny, "-o", out, "--input", "x:2x1x8x8", "--report")
    assert ran.code == 0, ran.err
    return out


def test_an_export_with_a_report(reported: Path) -> None:
    """It is a file like any other: listed, hashed, and about the package under its own name."""
    package = Package.open(reported)
    assert "report.html" in package.manifest.files
    package.verify_files()
    text = (reported / "report.html").read_text(encoding="utf-8")
    assert "<h1>tiny</h1>" in text and "ONNX file" in text
    value = json.loads((reported / "parity.json").read_text())["cases"][0]["outputs"]["logits"]["relative_l2"]
    assert f'<data value="{value}">' in text


def test_report(command: Command, reported: Path, folder: Path) -> None:
    ran = command("report", reported)
    assert ran.code == 0, ran.err
    assert re.fullmatch(rf"PASSED in \d+\.\d s · again: rectexport report {reported}", ran.last)
    made = (folder / "report.html").read_text(encoding="utf-8")
    inside = (reported / "report.html").read_text(encoding="utf-8")
    assert made != inside  # the one inside cannot list itself
    assert re.sub(r"<tr>\s*<th[^>]*><code>report\.html</code>.*?</tr>\s*", "", made, flags=re.DOTALL) == inside


def test_json(command: Command, reported: Path, folder: Path) -> None:
    ran = command("report", reported, "-o", "a/page.html", "--json")
    document = json.loads(ran.out)
    assert document["passed"] is True and document["report"] == "a/page.html"
    assert (folder / "a" / "page.html").is_file() and "PASSED" in ran.err


def test_two_packages(command: Command, reported: Path, folder: Path) -> None:
    other = Path(shutil.copytree(reported, folder / "other"))
    ran = command("report", reported, "--against", other, "-o", "page.html")
    assert ran.code == 0, ran.err
    text = (folder / "page.html").read_text(encoding="utf-8")
    assert "<h1>tiny <small>against</small> other</h1>" in text and "Facts that differ, 0 of" in text
    (other / "parity.json").write_text("{}")
    assert command("report", reported, "--against", other).code == 1


def test_an_evaluation_gives_accuracy_and_a_real_input(command: Command, reported: Path, folder: Path) -> None:
    np.savez(folder / "data.npz", x=np.random.default_rng(0).random((4, 1, 8, 8), np.float32), labels=np.arange(4))
    ran = command("eval", reported, "--data", "data.npz", "--json")
    assert ran.code == 0, ran.err
    (folder / "eval.json").write_text(ran.out)
    assert command("report", reported, "--eval", "eval.json").code == 0
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "One real input with its answer: item 0 of data.npz, label 0" in text
    assert "data:image/png;base64," in text and "<dt>accuracy</dt>" in text


def test_a_damaged_package_is_refused(command: Command, reported: Path, folder: Path) -> None:
    copy = Path(shutil.copytree(reported, folder / "copy"))
    (copy / "parity.json").write_text("{}")
    ran = command("report", copy)
    assert ran.code == 1 and "parity.json: sha256" in ran.err and ran.last.startswith("FAILED")
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nowhere"], 1, "nowhere: no such package folder"),
        (["PKG", "--latency", "none.json"], 1, "none.json: no such file"),
        (["PKG", "--parity", "PKG/manifest.json"], 1, "manifest.json: expected a parity document"),
        (["PKG", "-o", "PKG/report.html"], 2, "report.html: lies in a package"),
        ([], 2, "Missing argument"),
    ],
)
def test_a_mistake_writes_nothing(
    command: Command, reported: Path, folder: Path, words: list[str], code: int, said: str
) -> None:
    ran = command("report", *(word.replace("PKG", str(reported)) for word in words))
    assert ran.code == code and said in " ".join(ran.err.split())
    assert list(folder.iterdir()) == []
    Package.open(reported).verify_files()


def test_without_jinja2_nothing_is_exported(
    command: Command, tiny: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "jinja2", None)
    ran = command(tiny, "-o", "out", "--input", "x:2x1x8x8", "--report")
    assert ran.code == 5 and "pip install 'rectexport[report]'" in ran.err
    assert list(folder.iterdir()) == []
