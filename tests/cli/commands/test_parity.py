"""`rectexport parity`: good packages pass; planted faults are found and located; nothing else is written."""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from rectexport.cli.parity import keep as parity_keep
from rectexport.cli.parity import reference as parity_reference
from rectexport.cli.parity import setup as parity_setup
from rectexport.runtime.engines.backends import Choice
from rectexport.runtime.engines.onnxruntime_runner import OnnxRuntimeRunner
from rectexport.runtime.package.folder import Package
from tests.cli.conftest import Command, Ran

needs_matplotlib = pytest.mark.skipif(find_spec("matplotlib") is None, reason="heat maps need matplotlib")
RANGE = ("--min-shapes", "x:1x1x8x8", "--opt-shapes", "x:4x1x8x8", "--max-shapes", "x:6x1x8x8")


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two convolutions, the first times a map as rectification is: [batch, 1, 8, 8] -> [batch, 7]."""
    rng = np.random.default_rng(0)
    arrays = {
        "first": rng.standard_normal((3, 1, 3, 3)),
        "second": rng.standard_normal((7, 3, 3, 3)),
        "r": 1 + rng.random((1, 1, 8, 8)),
    }
    nodes = [
        helper.make_node("Conv", ["x", "first"], ["conv"], pads=[1, 1, 1, 1]),
        helper.make_node("Mul", ["conv", "r"], ["scaled"]),
        helper.make_node("Relu", ["scaled"], ["active"]),
        helper.make_node("Conv", ["active", "second"], ["features"], pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["features"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["logits"]),
    ]
    values = [("x", ["batch", 1, 8, 8]), ("logits", ["batch", 7])]
    x, logits = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in values)
    stored = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "net", [x], [logits], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path: Path = tmp_path_factory.mktemp("source") / "net.onnx"
    onnx.save(model, path)
    return path


@pytest.fixture(scope="session")
def made(source: Path, command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its package, of a dynamic batch."""
    out = tmp_path_factory.mktemp("made") / "net"
    assert command(source, "-o", out, *RANGE).code == 0
    return out


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heat maps take a second each; where a test does not look at them they are not drawn."""
    monkeypatch.setattr(parity_keep, "draw_heat_map", lambda path, *rest: path.write_bytes(b"a picture"))


@pytest.fixture
def package(made: Path, folder: Path) -> Path:
    """A copy of the package in an empty current folder, by its relative path."""
    shutil.copytree(made, folder / "net")
    return Path("net")


def change(package: Path, edit: Callable[[ModelProto], None]) -> None:
    """Edit the package's model, and make the manifest agree, as a faulty exporter would."""
    model = onnx.load(package / "model.onnx")
    edit(model)
    onnx.save(model, package / "model.onnx")
    manifest = json.loads((package / "manifest.json").read_text())
    manifest["files"]["model.onnx"] = hashlib.sha256((package / "model.onnx").read_bytes()).hexdigest()
    (package / "manifest.json").write_text(json.dumps(manifest))


def wrong_corner(model: ModelProto) -> None:
    """The map's upper right corner is off, and nothing else."""
    stored = next(entry for entry in model.graph.initializer if entry.dims == [1, 1, 8, 8])
    array = numpy_helper.to_array(stored).copy()
    array[..., 0, 7] *= 1.5
    stored.CopyFrom(numpy_helper.from_array(array, stored.name))


def after(tensor: str, *nodes: onnx.NodeProto) -> Callable[[ModelProto], None]:
    """Puts nodes behind a tensor; the last makes `changed`, which everything reads instead."""

    def edit(model: ModelProto) -> None:
        for node in model.graph.node:
            node.input[:] = ["changed" if name == tensor else name for name in node.input]
        place = next(index for index, node in enumerate(model.graph.node) if tensor in node.output)
        for node in reversed(nodes):
            model.graph.node.insert(place + 1, node)

    return edit


def document(ran: Ran) -> Any:
    return json.loads(ran.out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_a_good_package_passes_and_nothing_is_written(command: Command, package: Path) -> None:
    ran = command("parity", package)
    assert ran.code == 0 and not ran.err, ran.err
    assert ran.last.startswith("PASSED in ") and ran.last.endswith("again: rectexport parity net")
    for said in ("goldens", "example", "batch 5", "equal rows", "padding", "rebuilt session", "twice the tolerance"):
        assert said in ran.out
    assert [path.name for path in Path().iterdir()] == ["net"]
    Package.open(package).verify_files()


def test_the_document_has_the_fields_of_parity_json_and_more(command: Command, package: Path, source: Path) -> None:
    ran = command("parity", package, "--against", source, "--per-layer", "--json")
    assert ran.code == 0, ran.err
    found, stored = document(ran), json.loads((package / "parity.json").read_text())
    assert stored.keys() - {"proofs"} <= found.keys() and stored["cases"][0].keys() <= found["cases"][0].keys()
    assert found["passed"] is True and found["first_divergence"] is None
    assert "net.onnx in ONNX Runtime on the CPU, without graph optimizations" in found["reference"]
    assert {case["case"] for case in found["cases"]} >= {"goldens", "example", "max", "odd", "batch 2", "batch 5"}
    assert [layer["tensor"] for layer in found["cases"][1]["layers"]] == [
        "conv",
        "scaled",
        "active",
        "features",
        "pooled",
    ]
    assert set(found["cases"][1]["layers"][0]["regions"]) == {"corner", "edge", "interior"}
    checks = {entry["check"]: entry for entry in found["metamorphic"]}
    assert checks["second run"]["allowed_relative_l2"] == 0 and checks["second run"]["bit_equal"]
    assert checks["padding"]["allowed_relative_l2"] == 2e-5 and checks["padding"]["skipped"] is None
    assert any("inner tensors marked as outputs: marking changed" in note for note in found["notes"])


@needs_matplotlib
def test_a_bug_in_one_corner_is_located(command: Command, package: Path, source: Path) -> None:
    change(package, wrong_corner)
    ran = command("parity", package, "--against", source, "--json")
    found = document(ran)
    assert ran.code == found["exit_code"] == 3 and found["kind"] == "ParityError"
    layer = found["first_divergence"]
    assert layer["tensor"] == "scaled"
    assert max(layer["regions"], key=lambda name: layer["regions"][name]["relative_l2"]) == "corner"
    assert max(layer["regions"][name]["relative_l2"] for name in ("edge", "interior")) < 1e-6
    row, channel, *pixel = layer["worst"]["index"]
    assert pixel == [0, 7] and row < 4 and channel < 3
    assert layer["worst"]["actual"] == pytest.approx(1.5 * layer["worst"]["expected"], rel=1e-5)
    assert "first layer to diverge: scaled (tensor scaled), worst in region corner" in ran.err
    assert f"({row}, {channel}, 0, 7): expected " in ran.err
    assert sorted(path.name for path in Path("net.parity").iterdir()) == ["heat-map.png", "inputs.npz"]
    Package.open(package).verify_files()


@pytest.mark.usefixtures("undrawn")
def test_a_package_that_is_the_current_folder_is_left_alone(
    command: Command, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(package, wrong_corner)
    monkeypatch.chdir(package)
    before = sorted(Path().iterdir())
    assert command("parity", ".").code == 3
    assert sorted(Path().iterdir()) == before and Path("../net.parity/inputs.npz").is_file()


@pytest.mark.usefixtures("undrawn")
def test_the_printed_command_repeats_the_failure(command: Command, package: Path, source: Path) -> None:
    change(package, wrong_corner)
    ran = command("parity", package, "--against", source, "--input", "x:3x1x8x8", "-o", "kept", "--json")
    assert document(ran)["reproduce"].endswith("--per-layer")
    goldens = {case["case"]: case["failures"] for case in document(ran)["cases"]}
    assert list(goldens) == ["goldens", "example", "x:3x1x8x8"] and all(goldens.values())
    again = command(*shlex.split(document(ran)["reproduce"])[1:], "--json")
    assert again.code == 3
    assert document(again)["first_divergence"]["tensor"] == "scaled"


@pytest.mark.usefixtures("undrawn")
def test_goldens_reveal_a_fault_without_the_source(command: Command, package: Path) -> None:
    change(package, wrong_corner)
    ran = command("parity", package)
    assert ran.code == 3
    assert "goldens: logits: relative L2" in ran.out and "compare --against the model that was exported" in ran.out
    assert "example: " not in ran.out  # the package's own model has the same fault
    assert ran.last.startswith("FAILED after ") and ran.last.endswith("again: rectexport parity net --per-layer")


@pytest.mark.usefixtures("undrawn")
def test_a_fault_of_the_engine_is_located_without_the_source(
    command: Command, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def faulty(package: Package, name: str, options: object, prove: bool) -> OnnxRuntimeRunner:
        model = onnx.load(package.model_file)
        wrong_corner(model)
        return OnnxRuntimeRunner(model.SerializeToString())

    choice = Choice("onnxruntime", "a faulty engine")
    monkeypatch.setattr(parity_setup, "open_backend", faulty)
    monkeypatch.setattr(parity_setup, "choose_backend", lambda *given, **named: (faulty(*given, **named), choice))
    found = document(command("parity", package, "--json"))
    assert found["first_divergence"]["tensor"] == "scaled" and found["first_divergence"]["worst"]["index"][2:] == [0, 7]


@pytest.mark.usefixtures("undrawn")
def test_a_model_that_mixes_rows_of_a_batch_fails(command: Command, package: Path) -> None:
    mean = helper.make_node("ReduceMean", ["pooled", "rows"], ["batch_mean"], keepdims=1)
    edit = after("pooled", mean, helper.make_node("Sub", ["pooled", "batch_mean"], ["changed"]))
    change(package, lambda model: (edit(model), model.graph.initializer.append(_rows())))  # type: ignore[func-returns-value]
    found = document(command("parity", package, "--json"))
    failed = {check["check"] for check in found["metamorphic"] if check["failures"]}
    assert failed == {"batch size", "padding"}
    assert any("batch size at 3x1x8x8: batch 1 against 3: logits differs" in text for text in _texts(found))
    assert np.load("net.parity/inputs.npz")["input.x"].shape == (4, 1, 8, 8)  # the goldens failed first


def _rows() -> TensorProto:
    return numpy_helper.from_array(np.array([0], np.int64), "rows")


def _texts(found: Any) -> list[str]:
    return [
        f"{check['check']} at {check['at']}: {text}" for check in found["metamorphic"] for text in check["failures"]
    ]


@pytest.mark.usefixtures("undrawn")
def test_a_model_with_random_outputs_fails(command: Command, package: Path) -> None:
    """Even when the difference is below every tolerance."""
    noise = helper.make_node("RandomNormalLike", ["pooled"], ["noise"], scale=1e-6)
    change(package, after("pooled", noise, helper.make_node("Add", ["pooled", "noise"], ["changed"])))
    ran = command("parity", package, "--json")
    found = document(ran)
    assert ran.code == 3 and not any(case["failures"] for case in found["cases"])
    assert {check["check"] for check in found["metamorphic"] if check["failures"]} >= {"second run"}
    assert "--inputs net.parity/inputs.npz" in found["reproduce"]
    again = command(*shlex.split(found["reproduce"])[1:])
    assert again.code == 3 and "second run" in again.out


def test_checks_over_batch_sizes_are_skipped_for_a_fixed_batch(command: Command, source: Path, folder: Path) -> None:
    assert command(source, "-o", "fixed", "--input", "x:2x1x8x8").code == 0
    ran = command("parity", "fixed")
    assert ran.code == 0 and ran.out.count("skipped: fixed batch") == 4


@pytest.mark.usefixtures("undrawn")
def test_another_package_is_a_reference(command: Command, package: Path, source: Path) -> None:
    assert command(source, "-o", "half", "--fp16", *RANGE).code == 0
    ran = command("parity", package, "--against", "half", "--json")
    assert ran.code == 0 and document(ran)["tolerances"] == {"relative_l2": 5e-3}
    strict = command("parity", package, "--against", "half", "--tolerance", "1e-7")
    assert strict.code == 3 and "allowed 1e-07" in strict.out


def test_sizes_that_the_reference_does_not_take_are_skipped(command: Command, package: Path, source: Path) -> None:
    model = onnx.load(source)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    onnx.save(model, "fixed.onnx")
    ran = command("parity", package, "--against", "fixed.onnx")
    assert ran.code == 0 and "sizes were skipped: the reference does not take them" in ran.out
    np.save("x.npy", np.zeros((2, 1, 8, 8), np.float32))
    ran = command("parity", package, "--against", "fixed.onnx", "--inputs", "x.npy")
    assert ran.code == 1 and "nothing was compared: fixed.onnx in ONNX Runtime" in ran.err


def test_inner_tensors_are_compared_within_the_memory_limit(command: Command, package: Path) -> None:
    whole = document(command("parity", package, "--per-layer", "--input", "x:1x1x8x8", "--json"))
    parts = document(command("parity", package, "--per-layer", "--input", "x:1x1x8x8", "--json", "--memory", "30K"))
    compared = [[layer["tensor"] for layer in found["cases"][1]["layers"]] for found in (whole, parts)]
    assert compared[0] == compared[1] != []
    assert not any("--memory" in note for note in whole["notes"])
    assert any("exceed --memory even alone: " in note for note in parts["notes"])
    runs = [int(found["notes"][0].split()[0]) for found in (whole, parts)]
    assert runs[0] < runs[1]


def test_arrays_and_images_are_fed(command: Command, package: Path) -> None:
    np.savez("x.npz", x=np.ones((2, 1, 8, 8), np.float32))
    ran = command("parity", package, "--inputs", "x.npz")
    assert ran.code == 0 and "x.npz" in ran.out and "goldens" not in ran.out
    images = pytest.importorskip("PIL.Image")
    Path("photos").mkdir()
    for name in "abcde":
        images.fromarray(np.full((8, 8), ord(name), np.uint8)).save(f"photos/{name}.png")
    ran = command("parity", package, "--inputs", "photos", "--mean", "0.5", "--std", "0.25", "--json")
    assert [case["case"] for case in document(ran)["cases"]] == ["a.png … d.png", "e.png"]
    images.fromarray(np.zeros((9, 8), np.uint8)).save("photos/e.png")
    ran = command("parity", package, "--inputs", "photos")
    assert ran.code == 1 and "e.png: input x, axis 2: expected 8, got 9" in ran.err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("missing",), 1, "missing: no such package folder"),
        (("net", "--input", "x:9x1x8x8"), 1, "x:9x1x8x8: input x, axis 0: expected 1..6, got 9"),
        (("net", "--input", "y:1x1x8x8"), 2, "--input: no input 'y'"),
        (("net", "--input", "x:1x1x8x8", "--inputs", "a.npz"), 2, "give one of the two"),
        (("net", "--inputs", "a.npz"), 1, "a.npz: no such file"),
        (("net", "--memory", "much"), 2, "--memory 'much': expected a size such as 512M"),
        (("net", "--mean", "a"), 2, "--mean 'a'"),
        (("net", "--std", "0"), 2, "expected numbers other than 0"),
        (("net", "--backend", "abacus"), 2, "abacus"),
        (("net", "--arch", "resnet18"), 2, "only with --against and a checkpoint"),
        (("net", "--against", "other.onnx"), 1, "other.onnx: no such file (--against)"),
        (("net", "--against", "other.pt"), 1, "other.pt: no such file"),
        pytest.param(("net", "--heat-map", "net"), 1, "is a folder", marks=needs_matplotlib),
        (("net", "--heat-map", "net/map.png"), 2, "map.png: lies in a package"),
    ],
)
def test_a_mistake_is_one_line(command: Command, package: Path, words: tuple[str, ...], code: int, said: str) -> None:
    ran = command("parity", *words)
    assert ran.code == code and said in ran.err, ran.err
    assert "Traceback" not in ran.err and ran.last.startswith("FAILED after")
    assert [path.name for path in Path().iterdir()] == ["net"]


def test_a_changed_package_is_refused(command: Command, package: Path) -> None:
    (package / "goldens.npz").write_bytes(b"PK")
    ran = command("parity", package)
    assert ran.code == 1 and "where the manifest says" in ran.err


def test_a_model_with_other_inputs_is_refused(command: Command, package: Path, tiny: Path) -> None:
    model = onnx.load(tiny)
    model.graph.input.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, [1]))
    model.graph.input[0].name = model.graph.node[0].input[0] = "z"
    onnx.save(model, "other.onnx")
    ran = command("parity", package, "--against", "other.onnx")
    assert ran.code == 1 and "has inputs z, y, where the package has x" in ran.err


@pytest.mark.usefixtures("undrawn")
def test_where_onnx_is_not_installed(command: Command, package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a deployment machine: everything works but looking inside."""
    monkeypatch.setattr(parity_reference, "find_spec", lambda name: None)
    assert command("parity", package).code == 0
    change(package, wrong_corner)
    ran = command("parity", package)
    assert ran.code == 3 and "the first layer to diverge is not known: the onnx library is needed" in ran.out
    monkeypatch.setitem(sys.modules, "onnx", None)
    ran = command("parity", package, "--per-layer")
    assert ran.code == 5 and "pip install 'rectexport[export]'" in ran.err


def test_where_matplotlib_is_not_installed(command: Command, package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert command("parity", package).code == 0
    ran = command("parity", package, "--heat-map", "map.png")
    assert ran.code == 5 and "pip install 'rectexport[parity]'" in ran.err
    change(package, wrong_corner)
    ran = command("parity", package)
    assert ran.code == 3 and "no heat map: " in ran.out
    assert [path.name for path in Path("net.parity").iterdir()] == ["inputs.npz"]


def test_a_heat_map_is_drawn_where_asked(command: Command, package: Path) -> None:
    pytest.importorskip("matplotlib")
    ran = command("parity", package, "--heat-map", "maps/worst.png")
    assert ran.code == 0 and "heat map of output logits" in ran.out
    assert Path("maps/worst.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("undrawn")
def test_a_checkpoint_is_compared_in_pytorch_by_module_and_operator(command: Command, folder: Path) -> None:
    assert command("models", "save", "digits", "net.pt", "--option", "width=0.25").code == 0
    assert command("net.pt", "-o", "net").code == 0
    change(Path("net"), wrong_corner)
    ran = command("parity", "net", "--against", "net.pt", "--json")
    found = document(ran)
    assert ran.code == 3 and found["reference"] == "checkpoint of digits, PyTorch, float64"
    assert "net.pt is the file that the package was made from, by its sha256" in ran.err
    layer = found["first_divergence"]
    assert (layer["layer"], layer["operator"]) == ("stem.1", "Rectify")
    assert layer["worst"]["index"][2:] == [0, 7]
