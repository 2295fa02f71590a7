"""One export from end to end: forms, failures, and that a package appears whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto

import rectexport
from rectexport.exporter import pipeline, targets
from rectexport.exporter.base.log import Log
from rectexport.exporter.base.options import ExportOptions
from rectexport.exporter.frontend.inputs import ShapeOptions
from rectexport.exporter.frontend.source import Source
from rectexport.exporter.passes import Pass, PassPipeline, PassResult, inline
from rectexport.exporter.pipeline import describe_export, run_export
from rectexport.exporter.writing import package_writer
from rectexport.runtime.errors import BadInput, ParityError, UsageError
from rectexport.runtime.package.folder import Package
from tests.export.helper import build, normal
from tests.export.nets import Chain, Small, exported, image, seeded, source

pytestmark = pytest.mark.usefixtures("shared_traces")
RANGE = ShapeOptions(min=["x:1x2x5x5"], opt=["x:2x2x8x8"], max=["x:4x2x19x16"])


def operators(package: Package) -> list[str]:
    return [node.op_type for node in onnx.load(package.model_file).graph.node]


def agrees(package: Package, net: torch.nn.Module, *shapes: tuple[int, ...]) -> None:
    """The loaded package computes what torch computes, at each shape."""
    with rectexport.load(package.path) as session:
        for seed, shape in enumerate(shapes):
            x = image(*shape, seed=seed)
            with torch.no_grad():
                np.testing.assert_allclose(session(x.numpy()), net(x).numpy(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("form", ["auto", "fold", "graph"])
def test_forms_with_static_sizes(form: str, tmp_path: Path) -> None:
    net = seeded(Small())
    result = exported(source(net, image(2, 2, 8, 9)), tmp_path / "p", rectify=form)
    agrees(result.package, net, (2, 2, 8, 9))
    fired = {entry.name for entry in result.passes if entry.fired}
    assert fired & {"rectify_fold", "rectify_graph"} == {"rectify_graph" if form == "graph" else "rectify_fold"}
    assert result.package.manifest.data["options"]["rectify"] == form


@pytest.mark.parametrize("form", ["auto", "graph"])
def test_forms_with_dynamic_sizes(form: str, tmp_path: Path) -> None:
    net = seeded(Small())
    result = exported(source(net, image(2, 2, 8, 8)), tmp_path / "p", RANGE, rectify=form)
    agrees(result.package, net, (1, 2, 5, 5), (2, 2, 8, 8), (4, 2, 19, 16), (3, 2, 7, 13))
    assert "Shape" in operators(result.package)
    before, after = result.nodes
    assert before < after  # one node of the dialect is many standard ones


def test_fold_with_a_dynamic_batch(tmp_path: Path) -> None:
    net = seeded(Small())
    flags = ShapeOptions(min=["1x2x8x8"], max=["4x2x8x8"])
    result = exported(source(net, image(2, 2, 8, 8)), tmp_path / "p", flags, rectify="fold")
    agrees(result.package, net, (1, 2, 8, 8), (4, 2, 8, 8))
    assert "Shape" not in operators(result.package)


def test_fold_refuses_dynamic_sizes(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="rectify='fold': H, W are dynamic, so r is no constant; use rectify='auto' or"):
        exported(source(seeded(Small()), image(2, 2, 8, 8)), tmp_path / "p", RANGE, rectify="fold")
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rectify": "sum"}, "rectify='sum': expected one of auto, fold, graph"),
        ({"target": "abacus"}, "target='abacus': expected one of "),
        ({"opset": 17}, r"opset=17: expected 18\.\.23"),
        ({"opset": 24}, r"opset=24: expected 18\.\.23"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ExportOptions(**options)


@pytest.mark.parametrize("flag", ["atol", "rtol"])
def test_a_bound_for_no_output(flag: str, tmp_path: Path) -> None:
    """A misspelled name would bound nothing."""
    with pytest.raises(UsageError, match=f"{flag} logits: no such output; the model has output"):
        exported(source(seeded(Small()), image(2, 2, 8, 8)), tmp_path / "p", **{flag: {"": 1.0, "logits": 1e-4}})
    assert not (tmp_path / "p").exists()


def test_bounds_are_recorded(tmp_path: Path) -> None:
    result = exported(source(seeded(Small()), image(2, 2, 8, 8)), tmp_path / "p", atol={"output": 0.5}, rtol={"": 0.25})
    expected = {"relative_l2": 1e-5, "atol:output": 0.5, "rtol": 0.25}
    assert result.package.manifest.tolerances == expected
    assert result.parity.as_dict()["tolerances"] == expected


def test_the_tolerance_of_the_checkpoint_counts(tmp_path: Path) -> None:
    net = source(seeded(Small()), image(2, 2, 8, 8))
    net.tolerances = {"relative_l2": 1e-12}
    with pytest.raises(ParityError, match="allowed 1e-12"):
        exported(net, tmp_path / "p")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a package in it that another export is to replace."""
    folder = tmp_path_factory.mktemp("old")
    exported(source(seeded(Chain(), 1), image(1, 2, 6, 6)), folder / "package")
    return folder


def stop(error: type[BaseException]) -> Callable[..., Any]:
    def raise_it(*given: Any, **named: Any) -> Any:
        raise error("stopped")

    return raise_it


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize(
    ("module", "function"),
    [
        (pipeline, "trace"),
        (targets, "run_passes"),
        (package_writer, "write_model"),
        (targets, "check_parity"),
        (package_writer, "write_goldens"),
        (package_writer, "write_manifest"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_interrupted_export_leaves_the_old_package(
    module: Any, function: str, error: type[BaseException], old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(old)
    monkeypatch.setattr(module, function, stop(error))
    with pytest.raises(error):
        exported(source(seeded(Chain()), image(1, 2, 6, 6)), old / "package", guard=False)
    assert contents(old) == before
    assert [path.name for path in old.iterdir()] == ["package"]
    Package.open(old / "package").verify_files()


def test_an_unreadable_package_does_not_replace_the_old_one(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(old)
    right = package_writer._tensor
    monkeypatch.setattr(package_writer, "_tensor", lambda *given: {**right(*given), "dtype": "object"})
    with pytest.raises(BadInput, match=r"manifest\.json: outputs\[0\]\.dtype"):
        exported(source(seeded(Chain()), image(1, 2, 6, 6)), old / "package")
    assert contents(old) == before


def test_a_failed_parity_check_keeps_the_old_package(old: Path) -> None:
    before = contents(old)
    with pytest.raises(ParityError):
        exported(source(seeded(Chain()), image(1, 2, 6, 6)), old / "package", atol={"": 1e-30})
    kept = old / "package.failed.npz"
    assert kept.is_file()
    kept.unlink()
    assert contents(old) == before


def test_a_new_package_replaces_the_old_one(tmp_path: Path) -> None:
    first = exported(source(seeded(Chain(), 1), image(1, 2, 6, 6)), tmp_path / "p").package
    (tmp_path / "p" / "notes.txt").write_text("mine")
    second = exported(source(seeded(Chain()), image(1, 2, 6, 6)), tmp_path / "p").package
    assert first.manifest.files["model.onnx"] != second.manifest.files["model.onnx"]
    assert not (tmp_path / "p" / "notes.txt").exists()
    second.verify_files()


def test_a_folder_of_others_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(BadInput, match=r"mine: already holds other files \(no manifest\.json of rectexport\)"):
        exported(source(seeded(Chain()), image(1, 2, 6, 6)), tmp_path / "mine")
    assert contents(tmp_path) == {"mine/notes.txt": b"mine"}


def test_what_is_logged(tmp_path: Path) -> None:
    log = Log()
    result = run_export(source(seeded(Small()), image(2, 2, 8, 8)), RANGE, tmp_path / "p", ExportOptions(), log)
    assert [name for name, _ in log.steps] == ["trace", "passes", "parity", "package"]
    assert all(seconds >= 0 for _, seconds in log.steps)
    text = (tmp_path / "p" / "export.log").read_text(encoding="utf-8")
    before, after = result.nodes
    assert f"  Small: {before} nodes, opset 18\n" in text
    assert "  x 1x2x5x5 .. 4x2x19x16 float32\n" in text
    assert "  batch_norm: fired 1\n" in text
    assert "  rectify_fold: fired 0, refused 2 (H, W dynamic)\n" in text
    assert f"; {before} nodes before, {after} after\n" in text
    assert "\npython 3." in text


def test_dry_run_says_what_would_be_done(tmp_path: Path) -> None:
    net = source(seeded(Small()), image(2, 2, 8, 8))
    lines = describe_export(net, RANGE, tmp_path / "p", ExportOptions(rectify="graph", fp16=True, opset=20))
    assert [lines[0], lines[2]] == ["input x 1x2x5x5 .. 4x2x19x16 float32", f"would write {tmp_path / 'p'}"]
    assert lines[1].startswith("opset 20, fp16, for onnxruntime, passes: raise, rectify_unbiased, masked_ones, ")
    assert lines[1].endswith(", rectify_graph, masked_counts, boundary_pad, inline, cleanup, float16")
    assert "rectify_fold" not in lines[1]
    assert list(tmp_path.iterdir()) == []
    static = describe_export(net, ShapeOptions(), tmp_path / "p", ExportOptions())
    assert static[0] == "input x 2x2x8x8 float32"
    with pytest.raises(UsageError):
        describe_export(net, ShapeOptions(min=["y:1"]), tmp_path / "p", ExportOptions())


WINDOW = "kernel_shape=[3,3], strides=[1,1], pads=[1,1,1,1], dilations=[1,1], numerator=9"


def test_an_onnx_file_with_dialect_nodes(tmp_path: Path) -> None:
    body = f"y = Conv<pads=[1,1,1,1]>(x, w)\n z = rectexport.Rectify<{WINDOW}, empty_bias=1>(y, x, b)"
    model = build("(float[N,2,5,6] x) => (float[N,3,5,6] z)", body, w=normal(3, 2, 3, 3), b=normal(3))
    before = model.SerializeToString()
    given = Source("onnx", model, "ONNX file", None, ["x"], (normal(2, 2, 5, 6),))
    result = exported(given, tmp_path / "p", target="portable")
    assert operators(result.package) == ["Conv", "Mul", "Add"]
    assert result.parity.reference == "ONNX Runtime on the source file, as stored"
    assert [layer.tensor for layer in result.parity.cases[0].layers] == ["y", "z"]
    assert model.SerializeToString() == before


class Spelled(torch.nn.Module):
    """C2sp and CReLU as people write them without a library."""

    def __init__(self) -> None:
        super().__init__()
        self.even = torch.nn.Conv2d(4, 4, 2)
        self.reader = torch.nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        sides = ((1, 0, 1, 0), (0, 1, 1, 0), (1, 0, 0, 1), (0, 1, 0, 1))
        padded = [torch.nn.functional.pad(part, side) for part, side in zip(x.chunk(4, 1), sides, strict=True)]
        y = self.even(torch.cat(padded, 1))
        return self.reader(torch.relu(torch.cat([y, -y], 1)))


def test_rectification_written_out_in_code_is_raised(tmp_path: Path) -> None:
    net = seeded(Spelled())
    result = exported(source(net, image(2, 4, 8, 7)), tmp_path / "p", target="portable")
    agrees(result.package, net, (2, 4, 8, 7))
    first = result.passes[0]
    assert first.name == "raise" and {entry.partition(":")[0] for entry in first.fired} >= {
        "raise_symmetric_pad",
        "raise_crelu",
    }


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:The .grad attribute:UserWarning")
def test_torchscript(tmp_path: Path) -> None:
    """Our layers leave a script as their arithmetic; no inner tensors have names there."""
    net = seeded(Small())
    made: Any = torch.jit.trace(net, image(2, 2, 8, 8))
    given = Source("torchscript", made, "TorchScript", None, ["x"])
    result = exported(given, tmp_path / "p", RANGE)
    agrees(result.package, net, (1, 2, 5, 5), (3, 2, 7, 13))
    assert result.parity.reference == "PyTorch, float32"
    assert not any(case.layers for case in result.parity.cases)
    assert result.package.manifest.data["source"]["kind"] == "torch.jit.ScriptModule"


@pytest.mark.parametrize(
    ("shapes", "fed"),
    [(ShapeOptions(), [(2, 2, 8, 8)]), (RANGE, [(1, 2, 5, 5), (1, 2, 11, 13)])],
    ids=["static", "dynamic"],
)
def test_what_the_guard_feeds(
    shapes: ShapeOptions, fed: list[tuple[int, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The example, or where sizes vary the smallest and odd ones."""
    seen = []
    right = targets.Watch

    def record(model: Any, feeds: Any) -> Any:
        seen.extend(feed["x"].shape for feed in feeds)
        return right(model, feeds)

    monkeypatch.setattr(targets, "Watch", record)
    exported(source(seeded(Small()), image(2, 2, 8, 8)), tmp_path / "p", shapes)
    assert seen == fed


def test_an_export_fails_where_the_guard_leaves_no_model_that_engines_run(tmp_path: Path) -> None:
    def wrong(model: ModelProto) -> tuple[ModelProto, PassResult]:
        inlined, result = inline.run(model)
        inlined.graph.node[-1].op_type = "Neg"
        del inlined.graph.node[-1].input[1:]
        return inlined, result

    passes = PassPipeline.default().without("inline").before("cleanup", Pass("inline_badly", wrong))
    with pytest.raises(ParityError, match="the passes inline_badly change the outputs and were skipped"):
        run_export(
            source(seeded(Small()), image(2, 2, 8, 8)), RANGE, tmp_path / "p", ExportOptions(passes=passes), Log()
        )
    assert not contents(tmp_path)


def test_no_guard_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("graph.guard", "targets"):
        monkeypatch.setattr(f"rectexport.exporter.{module}.Watch", stop(AssertionError))
    result = exported(source(seeded(Chain()), image(1, 2, 6, 6)), tmp_path / "p", guard=False)
    assert result.package.manifest.data["options"]["guard"] is False


class Halves(torch.nn.Module):
    """tensor_split gives the first half one row more where the height is odd."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = torch.tensor_split(x, 2, dim=2)
        return first.mean((2, 3)) - second.mean((2, 3))


def test_what_a_trace_took_as_fixed_is_explained(tmp_path: Path) -> None:
    free = ShapeOptions(min=["x:1x2x4x6"], opt=["x:1x2x8x6"], max=["x:1x2x16x6"])
    with pytest.raises(ParityError, match=r"At the usual sizes it agrees.*--multiple-of x:1x1x2x1"):
        exported(source(Halves(), image(1, 2, 8, 6)), tmp_path / "all", free)
    stepped = replace(free, multiple=["x:1x1x2x1"])
    assert exported(source(Halves(), image(1, 2, 8, 6)), tmp_path / "even", stepped).parity.passed
