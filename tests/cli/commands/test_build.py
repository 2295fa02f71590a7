"""`rectexport build` and `rectexport MODEL --trt`, with a fake TensorRT and GPU, and without."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rectexport.runtime.package.folder import Package
from tests.runtime.engines.tensorrt.machines import Machine, edit_manifest, flexible, machine

__all__ = ["flexible", "machine"]
Command = Callable[..., Any]
PLAN = "model.nvidia-h100-80gb-hbm3.sm90.trt10.13.3.plan"


@pytest.fixture
def without_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)


def test_a_plan_is_built_and_found_again(command: Command, machine: Machine, flexible: Path) -> None:
    pytest.importorskip("polygraphy")
    ran = command("build", flexible, "--trt", "--profile", "x:1x1x8x8", "--workspace", "1G")
    assert (ran.code, ran.err) == (0, "")
    for text in (
        f"{flexible / PLAN} built: fp32,",
        "for NVIDIA H100 80GB HBM3 (9.0), TensorRT 10.13.3, CUDA 12.8",
        "profile 0: x 1x1x8x8",
        "1 of 1 convolutions run in fp32 (100%)",
        f"the same with trtexec: trtexec --onnx=model.onnx --saveEngine={PLAN} --stronglyTyped --noTF32",
        f"to time it: trtexec --loadEngine={PLAN}",
    ):
        assert text in ran.out
    assert re.fullmatch(r"PASSED in \d+\.\d s · again: rectexport build \S+ --trt .*--workspace 1G", ran.last)
    again = command("build", flexible, "--trt", "--profile", "x:1x1x8x8", "--json")
    document = json.loads(again.out)
    assert document["passed"] and document["plan"]["built"] is False and document["plan"]["file"] == PLAN
    assert "already there" in again.err


@pytest.mark.parametrize(
    ("kind", "said"),
    [("PluginV3", "1 layers run in a plugin"), ("kgen", "no layer runs in a plugin: rectification is")],
)
def test_the_plugin_layers_of_the_engine_are_counted(
    command: Command, machine: Machine, flexible: Path, kind: str, said: str
) -> None:
    pytest.importorskip("polygraphy")
    edit_manifest(flexible, lambda document: document.update(options={"rectify": "plugin"}))
    machine.trt.inspector = json.dumps({"Layers": [{"Name": "Rectify", "LayerType": kind, "Inputs": []}]})
    ran = command("build", flexible, "--trt")
    assert ran.code == 0 and said in ran.out


def test_a_broken_plan_can_be_built_anew(command: Command, machine: Machine, flexible: Path) -> None:
    pytest.importorskip("polygraphy")
    assert command("build", flexible, "--trt").code == 0
    (flexible / PLAN).write_bytes(b"tampered")
    ran = command("build", flexible, "--trt", "--rebuild")
    assert ran.code == 0 and f"{PLAN} built" in ran.out


def test_a_missing_tensorrt_is_named(command: Command, without_tensorrt: None, flexible: Path) -> None:
    ran = command("build", flexible, "--trt")
    assert ran.code == 5 and "TensorRT cannot be imported here" in ran.err
    assert ran.last.startswith("FAILED after") and not (flexible / ".lock").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "say what to build: rectexport build"),
        (("--trt", "--workspace", "much"), "--workspace 'much': expected a size"),
        (("--trt", "--profile", "x:99x1x8x8"), "exceeds the range that the package was"),
        (("--trt", "--hardware-compatibility", "all"), "expected one of none, ampere+, same-compute-capability"),
    ],
)
def test_wrong_usage(command: Command, machine: Machine, flexible: Path, words: tuple[str, ...], message: str) -> None:
    ran = command("build", flexible, *words)
    assert ran.code == 2 and message in ran.err.replace("\n", " ")


def test_no_package(command: Command, machine: Machine, tmp_path: Path) -> None:
    ran = command("build", tmp_path, "--trt")
    assert ran.code == 1 and "not a package: manifest.json is missing" in ran.err
    assert not list(tmp_path.iterdir())


def test_a_failed_build_leaves_the_package_as_it_was(command: Command, machine: Machine, flexible: Path) -> None:
    pytest.importorskip("polygraphy")
    before = (flexible / "manifest.json").read_bytes()
    machine.trt.build_errors = ("Error Code 2: OutOfMemory",)
    ran = command("build", flexible, "--trt")
    assert ran.code == 1 and "out of GPU memory" in ran.err
    assert (flexible / "manifest.json").read_bytes() == before
    assert not [path for path in flexible.iterdir() if "plan" in path.name]


def test_export_and_engine_in_one(command: Command, machine: Machine, tiny: Path, folder: Path) -> None:
    pytest.importorskip("polygraphy")
    shapes = ("--min-shapes", "x:1x1x8x8", "--max-shapes", "x:8x1x8x8")
    ran = command(tiny, "-o", "net", "--trt", *shapes, "--json")
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    assert document["plan"]["built"] and document["plan"]["options"]["profiles"][0]["x"]["max"] == [8, 1, 8, 8]
    manifest = json.loads((folder / "net/manifest.json").read_text())
    assert manifest["options"]["target"] == "tensorrt" and manifest["plans"][0]["file"] == PLAN
    assert ".lock" not in ran.err


def test_a_package_whose_engine_fails_is_kept(command: Command, machine: Machine, tiny: Path, folder: Path) -> None:
    pytest.importorskip("polygraphy")
    machine.trt.refused_operator = "Conv"
    ran = command(tiny, "-o", "net", "--trt", "--input", "x:1x1x8x8")
    assert ran.code == 1
    assert "The package net is complete, but has no plan: rectexport build net --trt" in ran.err.replace("\n", " ")
    assert (folder / "net/manifest.json").is_file()


def test_the_package_is_kept_where_tensorrt_is_missing(
    command: Command, without_tensorrt: None, tiny: Path, folder: Path
) -> None:
    shapes = ("--min-shapes", "x:1x1x8x8", "--max-shapes", "x:8x1x8x8")
    ran = command(tiny, "-o", "net", "--trt", *shapes, "--tf32", "--workspace", "1G")
    assert ran.code == 5 and "TensorRT cannot be imported here" in ran.err
    again = "rectexport build net --trt --tf32 --workspace 1G"
    assert f"is complete, but has no engine; on the machine with the GPU: {again}" in ran.err
    assert Package.open(folder / "net").manifest.data["options"]["target"] == "tensorrt"


def test_a_value_that_does_not_parse_is_found_before_the_export(
    command: Command, machine: Machine, tiny: Path, folder: Path
) -> None:
    ran = command(tiny, "-o", "net", "--trt", "--workspace", "much")
    assert ran.code == 2 and "--workspace 'much': expected a size" in ran.err
    assert not (folder / "net").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--fp16", "--bf16"), "--fp16 and --bf16: one precision at a time"),
        (("--tf32",), "--tf32 is for an engine; add --trt"),
        (("--profile", "x:1x1x8x8"), "--profile is for an engine; add --trt"),
        (("--workspace", "1G"), "--workspace is for an engine; add --trt"),
        (("--strip-plan",), "--strip-plan is for an engine; add --trt"),
    ],
)
def test_options_without_effect_fail(command: Command, tiny: Path, folder: Path, words: Any, message: str) -> None:
    ran = command(tiny, *words)
    assert ran.code == 2 and message in ran.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--trt", "--rtx"), "say what to build"),
        (("--trt", "--compute-capability", "8.6"), "--compute-capability is for --rtx"),
        (("--rtx", "--strip-plan"), "--strip-plan is for --trt: TensorRT for RTX lacks it"),
        (("--rtx", "--compute-capability", "9.0"), "--compute-capability 9.0: TensorRT for RTX builds for"),
    ],
)
def test_flags_of_the_other_kind_of_engine(
    command: Command, flexible: Path, words: tuple[str, ...], message: str
) -> None:
    ran = command("build", flexible, *words)
    assert ran.code == 2 and message in ran.err


def test_a_missing_tensorrt_for_rtx_keeps_the_package(
    command: Command, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    ran = command(digits, "--rtx", "--fp16", "--compute-capability", "8.9", "-o", tmp_path / "net")
    assert ran.code == 5 and "TensorRT for RTX cannot be imported here" in ran.err
    assert f"rectexport build {tmp_path / 'net'} --rtx --compute-capability 8.9" in ran.err.replace("\n", " ")
    assert Package.open(tmp_path / "net").manifest.data["options"]["target"] == "tensorrt"
