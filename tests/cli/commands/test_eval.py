"""`rectexport eval` on the command line: what it prints, its document and its exit codes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.cli.conftest import Command
from tests.places import DIGITS


@pytest.fixture(scope="session")
def made(command: Command, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("eval") / "net"
    assert command(tiny, "-o", out, "--min-shapes", "x:1x1x8x8", "--max-shapes", "x:16x1x8x8").code == 0
    return out


@pytest.fixture
def data(made: Path, folder: Path) -> Path:
    """The package in the current folder as `net`, a worse one as other.onnx, and 40 images labelled as `net` does."""
    shutil.copytree(made, folder / "net")
    model = onnx.load(made / "model.onnx")
    weight = model.graph.initializer[0]
    weight.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(weight), weight.name))
    onnx.save(model, folder / "other.onnx")
    import onnxruntime

    images = np.random.default_rng(0).normal(size=(40, 1, 8, 8)).astype(np.float32)
    session = onnxruntime.InferenceSession(made / "model.onnx", providers=["CPUExecutionProvider"])
    np.savez(folder / "data.npz", x=images, labels=session.run(None, {"x": images})[0].argmax(axis=1))
    return Path("data.npz")


def test_a_package_alone(command: Command, data: Path) -> None:
    ran = command("eval", "net", "--data", data, "--backend", "onnxruntime")
    assert ran.code == 0 and "100.00 %" in ran.out and "40 items of data.npz" in ran.out
    assert ran.last.startswith("PASSED in ") and "again: rectexport eval net --data data.npz" in ran.last
    assert "agreement" not in ran.out


@pytest.mark.parametrize("reference", ["other.onnx", "net"])
def test_a_reference_gives_differences(command: Command, data: Path, reference: str) -> None:
    words = ("eval", "net", "--data", data, "--backend", "onnxruntime", "--against", reference, "--max-drop", 0)
    ran = command(*words)
    assert ran.code == 0 and "95 % interval" in ran.out
    assert ("items change their class" in ran.out) == (reference == "other.onnx")
    assert ("more: --verbose lists all" in ran.out) == (reference == "other.onnx")


def test_a_certain_drop_is_exit_code_3_with_a_document(command: Command, data: Path) -> None:
    assert command("other.onnx", "-o", "worse", "--min-shapes", "x:1x1x8x8", "--max-shapes", "x:16x1x8x8").code == 0
    words = ("eval", "worse", "--data", data, "--against", "net", "--max-drop", 1, "--backend", "onnxruntime")
    ran = command(*words, "--json")
    assert ran.code == 3 and "with 95 % confidence more than the 1 allowed" in ran.err
    found = json.loads(ran.out)
    assert found["passed"] is False and found["engines"][0]["difference"]["high"] < -1
    assert len(found["engines"][0]["flips"]) == 40 - found["engines"][0]["agreed"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--metric", "f1"), 2, "--metric f1: expected one of top1"),
        (("--max-drop", "1"), 2, "--max-drop 1.0: needs a reference to drop from; give --against"),
        (("--arch", "digits"), 2, "only with --against and a checkpoint"),
        (("--std", "0"), 2, "expected numbers other than 0"),
        (("--metric", "top5"), 1, "top5 needs more than 5 classes, and the output has 4"),
        (("--backend", "onnxruntime,abacus"), 2, "unknown backend 'abacus'"),
        (("--against", "absent.onnx"), 1, "absent.onnx: no such file"),
    ],
)
def test_errors_name_the_flag(command: Command, data: Path, words: tuple[str, ...], code: int, said: str) -> None:
    ran = command("eval", "net", "--data", data, "--backend", "onnxruntime", *words)
    assert ran.code == code and said in ran.err, ran.err


def test_a_checkpoint_as_reference(command: Command, data: Path) -> None:
    ran = command("eval", "net", "--data", data, "--backend", "onnxruntime", "--against", DIGITS)
    assert ran.code == 0, ran.err
    assert "PyTorch, float64" in ran.out


def test_the_page_shows_the_worst_items(command: Command, data: Path) -> None:
    pytest.importorskip("jinja2")
    words = ("eval", "net", "--data", data, "--backend", "onnxruntime", "--against", "other.onnx")
    ran = command(*words, "--html", "eval.html")
    assert ran.code == 0, ran.err
    page = Path("eval.html").read_text()
    assert 5 < page.count("data:image/png;base64,") <= 24 and "becomes" in page
    inside = command(*words, "--html", Path("net") / "eval.html")
    assert inside.code == 2 and not (Path("net") / "eval.html").exists()
