"""`rectexport MODEL`: its help, flags, exit codes, output and files."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rectexport
from rectexport.cli.commands import export

Command = Callable[..., Any]

FLAGS = (
    *("--model", "--model-args", "--arch", "--weights", "--rectified", "--plain"),
    *("--trust-pickle", "--rectify-model", "--inputs"),
    *("--input", "--min-shapes", "--minShapes", "--opt-shapes", "--optShapes", "--max-shapes", "--maxShapes"),
    *("--out", "--opset", "--rectify", "--target", "--fp16", "--bf16", "--report"),
    *("--trt", "--profile", "--tf32", "--workspace", "--timing-cache", "--version-compatible"),
    *("--hardware-compatibility", "--strip-plan", "--plugins", "--layers", "--rtx", "--compute-capability"),
    *("--dla-core", "--allow-gpu-fallback", "--tensorrt-version"),
    *("--int8", "--calibrate", "--calibration-method", "--calibration-images", "--labels", "--mean", "--std"),
    *("--keep-float", "--min-snr", "--float-budget", "--portable-int8", "--force", "--int8-placement", "--source"),
    *("--multiple-of", "--image-input", "--output", "--output-names", "--trace-timeout"),
    *("--atol", "--rtol", "--no-guard"),
    *("--dry-run", "--jobs", "--quiet", "--verbose", "--json", "--help"),
)
FILES = {
    *("export.log", "goldens.npz", "manifest.json", "model.onnx", "origins.json", "parity.json", "reproduce.sh"),
    "rewrites.json",
}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def stopping(error: BaseException) -> Callable[..., Any]:
    """A stand-in for a step; it raises the error."""

    def step(*_: object, **__: object) -> None:
        raise error

    return step


# The page of help.


@pytest.fixture(scope="module")
def page(command: Command) -> str:
    ran = command("export", "--help")
    assert (ran.code, ran.err) == (0, "")
    return str(ran.out)


def test_help_fits_a_terminal(page: str) -> None:
    assert max(map(len, page.splitlines())) == 80
    assert "…" not in page  # nothing is cut off
    assert "Traceback" not in page and "<bool>" not in page and "[default: (" not in page


@pytest.mark.parametrize("flag", FLAGS)
def test_help_has_every_flag(page: str, flag: str) -> None:
    assert re.search(rf"(?<![\w-]){flag}(?![\w-])", page)


def test_the_list_above_has_every_flag() -> None:
    import typer.main

    flags = typer.main.get_command(export.app).params
    options = [word for option in flags for word in (*option.opts, *option.secondary_opts)]
    assert sorted(word for word in options if word.startswith("--")) == sorted(set(FLAGS) - {"--help"})
    assert "-o" in options


def test_help_says_what_the_command_does_and_returns(page: str) -> None:
    for text in ("MODEL", "verified ONNX package", "Examples", "rectexport net.pt", "Exit codes"):
        assert text in page
    flat = " ".join(page.split())
    assert "3 outputs differ from the reference" in flat
    titles = ["Arguments", "Model", "Inputs", "Output", "int8", "Engine", "TensorRT", "Checks", "Run"]
    assert re.findall(r"╭─ ([\w ]+?) ─", page) == titles


def test_version(command: Command) -> None:
    ran = command("--version")
    assert (ran.code, ran.out, ran.err) == (0, f"rectexport {rectexport.__version__}\n", "")


# A package that passes.


@pytest.fixture(scope="module")
def passed(command: Command, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A successful export, and its folder."""
    out = tmp_path_factory.mktemp("passed") / "net"
    return command(tiny, "-o", out, "--input", "x:2x1x8x8"), out


def test_an_export_shows_its_steps_and_its_tables(passed: tuple[Any, Path], tiny: Path) -> None:
    ran, out = passed
    assert (ran.code, ran.err) == (0, "")
    assert re.findall(r"^(\w+) +\d+\.\d\d s$", ran.out, re.MULTILINE) == [
        "import",
        "load",
        "trace",
        "passes",
        "parity",
        "package",
    ]
    assert f"  {tiny}: ONNX file\n" in ran.out
    for text in (
        "Parity with",
        "example 2x1x8x8",
        "logits",
        "By region",
        "corner",
        "edge",
        "interior",
        f"Files in {out}:",
    ):
        assert text in ran.out
    assert set(re.findall(r"^  ([\w.]+) +\d+\.\d KiB$", ran.out, re.MULTILINE)) == FILES
    assert re.fullmatch(
        rf"PASSED in \d+\.\d s on onnxruntime [\d.]+(, openvino [\d.]+)? · again: rectexport {tiny} -o {out} "
        "--input x:2x1x8x8",
        ran.last,
    )


def test_the_steps_add_up_to_the_total(passed: tuple[Any, Path]) -> None:
    ran, _ = passed
    steps = sum(float(seconds) for seconds in re.findall(r"^\w+ +(\d+\.\d\d) s$", ran.out, re.MULTILINE))
    (shown,) = re.findall(r"PASSED in (\d+\.\d) s", ran.out)
    assert steps <= float(shown) + 0.06 and float(shown) - steps <= max(0.05 * float(shown), 0.3)


def test_passes_are_one_line_and_details_with_verbose(command: Command, tiny: Path, folder: Path) -> None:
    brief = command(tiny, "-o", "net", "--input", "x:2x1x8x8")
    assert "  19 passes: nothing to rewrite; 3 nodes before, 3 after" in brief.out.splitlines()
    assert "batch_norm: fired" not in brief.out
    full = command(tiny, "-o", "net", "--input", "x:2x1x8x8", "--verbose")
    assert "  batch_norm: fired 0" in full.out.splitlines()
    assert "  batch_norm: fired 0" in (folder / "net/export.log").read_text().splitlines()


def test_quiet_prints_the_last_line_only(command: Command, tiny: Path, folder: Path) -> None:
    ran = command(tiny, "-o", "net", "--input", "x:2x1x8x8", "--quiet")
    assert ran.code == 0 and ran.out == f"{ran.last}\n" and ran.last.startswith("PASSED in ") and not ran.err
    assert command(tiny, "--dry-run", "-q", "--input", "x:2x1x8x8").out.startswith("dry run: nothing was written")


def test_the_package_is_whole_and_answers(passed: tuple[Any, Path]) -> None:
    _, out = passed
    assert set(names(out)) == FILES
    assert names(out.parent) == ["net"]
    with rectexport.load(out) as session:
        inputs, expected = session.package.goldens()
        np.testing.assert_allclose(session(*inputs.values()), expected["logits"], atol=1e-5)


def test_the_folder_is_named_after_the_model(command: Command, tiny: Path, folder: Path) -> None:
    shutil.copy(tiny, folder / "some.net.onnx")
    ran = command("some.net.onnx", "--input", "2x1x8x8")
    assert ran.code == 0
    assert names(folder / "out") == ["some.net"]
    assert set(names(folder / "out/some.net")) == FILES


def test_a_second_export_replaces_the_first(command: Command, tiny: Path, folder: Path) -> None:
    for batch in (2, 3):
        assert command(tiny, "--out", "net", "--input", f"x:{batch}x1x8x8").code == 0
    assert names(folder) == ["net"]
    bounds = rectexport.Package.open("net").manifest.inputs[0].range
    assert bounds is not None and bounds.opt == (3, 1, 8, 8)


@pytest.mark.parametrize(
    "shapes",
    [
        ["--minShapes", "x:1x1x8x8", "--optShapes", "x:2x1x8x8", "--maxShapes", "x:5x1x8x8"],
        ["--min-shapes", "x:[1,1,8,8]", "--opt-shapes", "x:[2,1,8,8]", "--max-shapes", "x:[5,1,8,8]"],
        ["--min-shapes=1x1x8x8", "--input=2x1x8x8", "--max-shapes=5x1x8x8"],
    ],
    ids=["trtexec", "polygraphy", "unnamed"],
)
def test_all_spellings_of_dynamic_shapes_mean_the_same(
    command: Command, tiny: Path, folder: Path, shapes: list[str]
) -> None:
    ran = command(tiny, "-o", "net", *shapes)
    assert ran.code == 0, ran.err
    for label in ("opt 2x1x8x8", "min 1x1x8x8", "max 5x1x8x8", "odd 3x1x8x8"):
        assert label in ran.out
    (entry,) = rectexport.Package.open("net").manifest.inputs
    assert isinstance(entry.shape[0], str)
    bounds = entry.range
    assert bounds is not None
    assert [side[0] for side in (bounds.min, bounds.opt, bounds.max)] == [1, 2, 5]
    assert bounds.dynamic_axes == (0,)


def test_options_reach_the_export(command: Command, tiny: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rectexport.exporter import pipeline
    from rectexport.exporter.frontend import load

    seen: dict[str, Any] = {}

    def look(source: Any, shapes: Any, out: Path, options: Any, log: Any) -> None:
        seen.update(shapes=shapes, out=out, options=options)
        raise KeyboardInterrupt

    original = load.load_source
    monkeypatch.setattr(
        load, "load_source", lambda path, asked: seen.update(load=asked) or original(path, load.LoadOptions())
    )
    monkeypatch.setattr(pipeline, "run_export", look)
    Path("a.npz").touch()
    command(
        *(tiny, "--arch", "resnet18", "--trust-pickle", "--rectify-model", "--inputs", "a.npz"),
        *("--input", "a:1", "--min-shapes", "b:1", "--opt-shapes", "c:1", "--max-shapes", "d:1"),
        *("--opset", "20", "--rectify", "graph", "--fp16", "--atol", "1e-3", "--rtol", "logits:2,3", "--no-guard"),
    )
    assert (seen["load"].arch, seen["load"].trust_pickle) == ("resnet18", True)
    shapes, options = seen["shapes"], seen["options"]
    assert shapes.load == Path("a.npz")
    assert [list(side) for side in (shapes.input, shapes.min, shapes.opt, shapes.max)] == [
        ["a:1"],
        ["b:1"],
        ["c:1"],
        ["d:1"],
    ]
    assert seen["out"] == Path("out/tiny")
    assert (options.graph_opset, options.rectify, options.fp16, options.guard) == (20, "graph", True, False)
    assert (options.atol, options.rtol) == ({"": 1e-3}, {"logits": 2.0, "": 3.0})
    command(tiny)
    options = seen["options"]
    assert (options.graph_opset, options.rectify, options.fp16, options.guard) == (18, "auto", False, True)
    assert (options.atol, options.rtol) == ({}, {})
    assert (seen["load"].arch, seen["load"].trust_pickle) == (None, False)


NET = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, width):
        super().__init__(nn.Conv2d(1, width, 3, padding=1), nn.ReLU())
"""


def test_a_network_of_ones_own(command: Command, folder: Path) -> None:
    import torch

    Path("mynets.py").write_text(NET)
    own = ("--model", "mynets.py:Net", "--model-args", "width=3", "--input", "x:1x1x6x6")
    weight = {"0.weight": torch.ones(3, 1, 3, 3), "0.bias": torch.zeros(3)}
    averaged = {key: 2 * value for key, value in weight.items()}
    torch.save({"state_dict": {f"net.{key}": value for key, value in weight.items()}, "ema": averaged}, "run.ckpt")
    ran = command("run.ckpt", *own, "--weights", "ema")
    assert ran.code == 0, ran.err
    taken = "averaged weights ema taken; the file also has state_dict.net (--weights chooses)"
    assert f"  {taken}" in ran.out and f"; {taken} · again: " in ran.last
    assert "run.ckpt: weights of Net of mynets.py" in ran.out
    with rectexport.load("out/run", backend="onnxruntime") as session:
        assert session(np.ones((1, 1, 6, 6), np.float32))[0, 0, 2, 2] == 18
    against = ("--against", "run.ckpt", *own[:4], "--backend", "onnxruntime")
    assert command("parity", "out/run", *against, "--weights", "ema").code == 0
    assert command("parity", "out/run", *against, "--weights", "raw").code == 3
    ran = command(*own, "--json")
    assert ran.code == 0 and "no file of weights was given" in json.loads(ran.out)["remarks"][0]
    assert {"Net", "run"} <= set(names(folder / "out"))


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["tiny.onnx", "--model", "a.py:A", "--arch", "digits"], 2, "--arch digits and --model: give one of them"),
        (["tiny.onnx", "--model-args", "width=8"], 2, "--model-args: are for --model"),
        (["tiny.onnx", "--plain"], 2, "--plain: says what the weights of --arch are"),
        (["--input", "x:1x1x6x6"], 2, "give MODEL, or --model with a network of your own"),
        (["--model", "absent.py:Net"], 1, "--model absent.py:Net: absent.py: no such file in"),
    ],
)
def test_networks_that_are_not_named_well(
    command: Command, tiny: Path, folder: Path, words: list[str], code: int, said: str
) -> None:
    shutil.copy(tiny, "tiny.onnx")
    ran = command("export", *words)
    assert ran.code == code and said in ran.err, ran.err
    assert "Traceback" not in ran.err


# --dry-run, --json and reproduce.sh.


def test_a_dry_run_writes_nothing(command: Command, tiny: Path, folder: Path) -> None:
    ran = command(tiny, "--dry-run", "-o", "some/net", "--min-shapes", "x:1x1x8x8", "--opt-shapes", "x:4x1x8x8")
    assert (ran.code, ran.err) == (0, "")
    for text in (
        "input x 1x1x8x8 .. 4x1x8x8 float32",
        "opset 18, fp32, for onnxruntime, passes: raise, rectify_unbiased, masked_ones, masked_narrow, batch_norm",
        "would write some/net",
    ):
        assert f"  {text}" in ran.out
    assert re.fullmatch(r"dry run: nothing was written · \d+\.\d s", ran.last)
    assert names(folder) == []


def test_a_dry_run_fails_as_the_run_would(command: Command, tiny: Path, folder: Path) -> None:
    ran = command(tiny, "--dry-run", "--input", "y:1x1x8x8")
    assert ran.code == 2
    assert "--input: no input 'y'; the model has x" in ran.err


def test_json_of_an_export(command: Command, tiny: Path, folder: Path) -> None:
    ran = command("--json", tiny, "-o", "net", "--input", "x:2x1x8x8")
    assert ran.code == 0
    document = json.loads(ran.out)
    assert document["passed"] is True
    assert document["package"] == "net"
    assert document["nodes"] == [3, 3]
    assert 0 < document["seconds"] < 600
    assert document["passes"][0] == {"name": "raise", "fired": [], "refused": []}
    assert document["parity"]["passed"] is True
    assert document["parity"] == json.loads((folder / "net/parity.json").read_text())
    assert "Parity with" in ran.err
    assert ran.last.startswith("PASSED in ")


def test_json_of_a_dry_run(command: Command, tiny: Path, folder: Path) -> None:
    ran = command(tiny, "--dry-run", "--json", "--input", "x:2x1x8x8")
    document = json.loads(ran.out)
    assert document["dry_run"] is True
    assert document["plan"][0] == "input x 2x1x8x8 float32"
    assert document["plan"][-1] == "would write out/tiny"
    assert "dry run: nothing was written" in ran.err
    assert names(folder) == []


@pytest.mark.parametrize(
    ("words", "code", "kind", "said"),
    [
        (["nowhere.pt"], 1, "BadInput", "nowhere.pt: no such file"),
        (["MODEL", "--opset", "99"], 2, "UsageError", "--opset 99: expected 18..23"),
        (["MODEL", "--sideways"], 2, "UsageError", "No such option"),
        (["MODEL", "--opset", "new"], 2, "UsageError", "--opset"),
    ],
)
def test_json_of_a_failure(
    command: Command, tiny: Path, folder: Path, words: list[str], code: int, kind: str, said: str
) -> None:
    ran = command(*[tiny if word == "MODEL" else word for word in words], "--json")
    document = json.loads(ran.out)
    assert (ran.code, document["exit_code"], document["passed"], document["kind"]) == (code, code, False, kind)
    assert said in document["error"]
    assert said in ran.err
    assert all(word in document["error"] for word in words[1:2])  # the option, quoted or not: click's versions differ


@pytest.mark.parametrize(("error", "code"), [(RuntimeError("a bug"), 1), (KeyboardInterrupt(), 130)])
def test_json_of_an_unexpected_error(
    command: Command, tiny: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    monkeypatch.setattr(export, "_run", stopping(error))
    ran = command(tiny, "--json")
    document = json.loads(ran.out)
    assert (ran.code, document["exit_code"], document["kind"]) == (code, code, type(error).__name__)


def test_the_script_in_the_package_makes_it_again(passed: tuple[Any, Path], tmp_path: Path) -> None:
    _, out = passed
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    script = out / "reproduce.sh"
    assert os.access(script, os.X_OK)
    ran = subprocess.run(
        [script, "again"], cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert names(tmp_path) == ["again"]
    assert (tmp_path / "again/model.onnx").read_bytes() == (out / "model.onnx").read_bytes()
    assert (tmp_path / "again/reproduce.sh").read_bytes() == script.read_bytes()


@pytest.mark.parametrize("words", [["-o", "net"], ["--out", "net"], ["--out=net"], ["-onet"], []])
def test_the_script_takes_its_own_folder(words: list[str]) -> None:
    command = ["rectexport", "a b.pt", *words, "--opset", "18", "--opt-shapes", "x:1"]
    assert export._without_out(command) == ["rectexport", "a b.pt", "--opset", "18", "--opt-shapes", "x:1"]


# What goes wrong.


def failed(ran: Any, code: int, words: list[object]) -> str:
    """Checks how a failure ends; returns what was said of its cause."""
    assert ran.code == code, ran.err
    cause, last = ran.err.rstrip("\n").rpartition("error: ")[2].split("\n")
    said = " ".join(f"'{word}'" if re.search(r"[^\w@%+=:,./-]", str(word)) else str(word) for word in words)
    assert re.fullmatch(rf"FAILED after \d+\.\d s · again: {re.escape(f'rectexport {said}')}", last)
    assert "FAILED" not in ran.out and "PASSED" not in ran.out + ran.err
    return str(cause)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nowhere.onnx"], 1, "nowhere.onnx: no such file"),
        (["tine.onnx"], 1, "tine.onnx: no such file; did you mean tiny.onnx?"),
        (["no/where.onnx"], 1, "no/where.onnx: no such file, nor a folder no"),
        (["."], 1, ".: is a folder, expected a model file"),
        (["empty.pt"], 1, "empty.pt: the file is empty"),
        (["text.pt"], 1, "text.pt: "),
        (["tiny.onnx", "--arch", "resnet5O"], 1, "--arch resnet5O: unknown; nearest: resnet50"),
        (["tiny.onnx", "--opset", "17"], 2, "--opset 17: expected 18..23"),
        (["tiny.onnx", "--rectify", "bend"], 2, "--rectify bend: expected one of auto, fold, graph"),
        (["tiny.onnx", "--input", "x:1xaxb"], 2, "--input 'x:1xaxb': expected NAME:1x3x224x224"),
        (["tiny.onnx", "--minShapes", "x:0x1"], 2, "--min-shapes 'x:0x1': every dimension must lie in 1.."),
        (["tiny.onnx", "--input", "y:1x1x8x8"], 2, "--input: no input 'y'; the model has x"),
        (["tiny.onnx", "--atol", "tight"], 2, "--atol 'tight': expected a number >= 0, or OUTPUT:NUMBER"),
        (["tiny.onnx", "--rtol", "-1"], 2, "--rtol '-1': expected a number >= 0, or OUTPUT:NUMBER"),
        (["tiny.onnx", "--inputs", "no.npz"], 1, "no.npz: no such file (--inputs)"),
        (["tiny.onnx", "--inputs", "/dev/zero"], 1, "/dev/zero: is a device, expected a regular file (--inputs)"),
        (["/dev/zero"], 1, "/dev/zero: is a device, expected a regular file"),
        (["tiny.onnx", "--input", "x:1x1x8x8", "-o", "mine"], 1, "mine: already holds other files"),
        (["tiny.onnx", "--input", "x:1x1x8x8", "-o", "text.pt"], 1, "text.pt: is a file, not a folder"),
        (
            ["tiny.onnx", "--input", "x:1x1x8x8", "-o", "text.pt/a"],
            1,
            "text.pt/a: cannot be written here: text.pt is a file",
        ),
        (["[/bold].pt"], 1, "[/bold].pt: no such file"),
    ],
)
def test_a_mistake_is_named_and_nothing_is_written(
    command: Command, tiny: Path, folder: Path, words: list[str], code: int, said: str
) -> None:
    shutil.copy(tiny, folder)
    (folder / "empty.pt").touch()
    (folder / "text.pt").write_text("no model")
    (folder / "mine").mkdir()
    (folder / "mine/photo.jpg").touch()
    before = names(folder)
    assert failed(command(*words), code, words).startswith(said)
    assert names(folder) == before
    assert names(folder / "mine") == ["photo.jpg"]


@pytest.mark.parametrize("words", [["--sideways"], ["net.pt", "--jobs", "0"], ["net.pt", "--opset", "new"]])
def test_wrong_usage_exits_with_2(command: Command, words: list[str]) -> None:
    ran = command(*words)
    assert (ran.code, ran.out) == (2, "")
    assert "Try 'rectexport export --help' for help." in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize("extra", [[], ["--json"]])
def test_a_package_that_disagrees_is_not_written(
    command: Command, tiny: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, extra: list[str]
) -> None:
    """A wrong weight in the graph: exit 3, the layer is named, the tensors are kept, and the old package stays."""
    from onnx import numpy_helper

    from rectexport.exporter import targets

    finished = targets._Lowering._finished

    def spoil(*arguments: Any) -> Any:
        model, results = finished(*arguments)
        model = copy.deepcopy(model)  # it may still be the source itself
        (weight,) = (entry for entry in model.graph.initializer if entry.dims == [4, 1, 3, 3])
        weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1.01), weight.name))
        return model, results

    words = [tiny, "-o", "net", "--input", "x:2x1x8x8"]
    assert command(*words).code == 0
    before = {path.name: path.read_bytes() for path in Path("net").iterdir()}
    monkeypatch.setattr(targets._Lowering, "_finished", spoil)
    ran = command(*words, *extra)
    cause = failed(ran, 3, [*words, *extra])
    assert cause.startswith("the package disagrees with ")
    assert "logits: relative L2 1.0e-02, allowed 1e-05" in cause
    assert "first layer to diverge: " in cause and "worst in region" in cause
    assert cause.endswith("Inputs and both outputs are kept in net.failed.npz; nothing was written to net")
    assert names(folder) == ["net", "net.failed.npz"]
    assert {path.name: path.read_bytes() for path in Path("net").iterdir()} == before
    with np.load("net.failed.npz") as kept:
        assert sorted(kept.files) == ["actual.logits", "expected.logits", "input.x"]
        np.testing.assert_allclose(kept["actual.logits"], kept["expected.logits"] * 1.01, rtol=1e-5)
    if extra:
        assert json.loads(ran.out) == {"passed": False, "error": cause, "kind": "ParityError", "exit_code": 3}


def test_an_unreachable_tolerance_fails(digits: Path, tmp_path: Path) -> None:
    """float32 cannot agree with float64 to the last bit. In a process of its own: not even PyTorch's warnings show."""
    words = [sys.executable, "-m", "rectexport", str(digits), "-o", "net", "--atol", "0"]
    ran = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 3
    assert "checkpoint of digits" in ran.stdout
    cause, last = ran.stderr.splitlines()
    assert "output: 40 of 40 elements outside atol 0, rtol 0" in cause
    assert re.fullmatch(rf"FAILED after \d+\.\d s · again: rectexport {digits} -o net --atol 0", last)
    assert names(tmp_path) == ["net.failed.npz"]


@pytest.mark.parametrize(
    ("library", "extra"), [("torch", "export"), ("onnx_graphsurgeon", "export"), ("onnxruntime", "cpu")]
)
def test_a_missing_library_is_named(
    command: Command, tiny: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, library: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    cause = failed(command(tiny), 5, [tiny])
    assert cause.startswith(f"{library} cannot be imported here (")
    assert cause.endswith(f"install it with: pip install 'rectexport[{extra}]'")
    assert names(folder) == []


ABSENT = """
import sys
for name in ("torch", "onnx", "onnxruntime"):
    sys.modules[name] = None
"""


def test_a_machine_without_the_exporters(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(ABSENT)
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path}
    (tmp_path / "net.pt").write_text("a model")
    words = [sys.executable, "-m", "rectexport"]
    ran = subprocess.run([*words, "net.pt"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ran.returncode == 5
    assert ran.stdout == ""
    assert ran.stderr.splitlines()[0].endswith("install it with: pip install 'rectexport[export]'")
    helped = subprocess.run([*words, "--help"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert helped.returncode == 0


@pytest.mark.parametrize("step", ["trace", "lower_for_targets", "compare_models", "_write"])
def test_an_interrupt_leaves_nothing(
    command: Command, tiny: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    from rectexport.exporter import pipeline

    words = [tiny, "-o", "net", "--input", "x:2x1x8x8"]
    monkeypatch.setattr(pipeline, step, stopping(KeyboardInterrupt()))
    assert failed(command(*words), 130, words) == "interrupted; nothing was written"
    assert names(folder) == []


def test_a_real_interrupt_while_tracing(digits: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "rectexport", str(digits), "-o", str(tmp_path / "net")]
    running = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 120
        while not names(tmp_path) and running.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert re.fullmatch(r"\.net\..*\.partial", names(tmp_path)[0])
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=120)
    finally:
        running.kill()
    assert running.returncode == 130
    assert err.splitlines()[0] == "error: interrupted; nothing was written"
    assert names(tmp_path) == []


def test_an_interrupt_that_a_library_swallows_counts(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def step(progress: Any, *_: object) -> None:
        progress.started("trace")
        with contextlib.suppress(BaseException):
            signal.raise_signal(signal.SIGINT)
        progress.finished("trace", 0.1)

    monkeypatch.setattr(export, "_run", step)
    ran = command("net.pt")
    assert ran.code == 130
    assert ran.err.startswith("error: interrupted; nothing was written")


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyboardInterrupt()])
def test_the_spinner_stops(command: Command, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Else the terminal is left without a cursor."""
    seen = []

    def step(progress: Any, *_: object) -> None:
        progress.started("load")
        seen.append((progress, progress._status))
        raise error

    monkeypatch.setattr(export, "_run", step)
    assert command("net.pt").code in (1, 130)
    ((progress, status),) = seen
    assert status is not None and progress._status is None


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("a bug\nin detail"), "internal error, please report it: RuntimeError: a bug (RECTEXPORT_DEBUG=1"),
        (OSError(28, "No space left on device"), "OSError: [Errno 28] No space left on device"),
    ],
)
def test_an_unexpected_error_is_one_line(
    command: Command, tiny: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    from rectexport.exporter import pipeline

    monkeypatch.delenv("RECTEXPORT_DEBUG", raising=False)
    monkeypatch.setattr(pipeline, "compare_models", stopping(error))
    words = [tiny, "-o", "net", "--input", "x:2x1x8x8"]
    assert failed(command(*words), 1, words).startswith(said)
    assert names(folder) == []
    monkeypatch.setenv("RECTEXPORT_DEBUG", "1")
    with pytest.raises(type(error)):
        command(*words)
    assert names(folder) == []
    missing = command("nowhere.pt")  # a user's mistake has no traceback even then
    assert (missing.code, missing.err.count("\n")) == (1, 2)
