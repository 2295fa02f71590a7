"""The equivalent trtexec command."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rectexport.runtime.base.shapes import ShapeRange
from rectexport.runtime.engines.tensorrt.options import BuildOptions
from rectexport.runtime.engines.tensorrt.trtexec import build_command, load_command
from tests.runtime.engines.tensorrt.machines import Machine

STATIC = {"x": ShapeRange((1, 3), (1, 3), (1, 3))}
RANGE = {"x": ShapeRange((1, 3), (2, 3), (8, 3)), "y": ShapeRange((1,), (1,), (1,))}


@pytest.mark.parametrize(
    ("version", "precision", "middle"),
    [
        ("8.6.1", "fp32", "--noTF32"),
        ("8.6.1", "fp16", "--fp16 --noTF32"),
        ("10.13.3", "fp16", "--stronglyTyped --noTF32"),
        ("11.1.0", "bf16", "--noTF32"),
    ],
)
def test_precision(machine: Machine, version: str, precision: str, middle: str) -> None:
    machine.install(version)
    command = build_command("model.onnx", "a.plan", BuildOptions((STATIC,)), precision, machine.api())
    assert command == f"trtexec --onnx=model.onnx --saveEngine=a.plan {middle}"


def test_everything(machine: Machine, tmp_path: Path) -> None:
    library = tmp_path / "my plugin.so"
    library.touch()
    options = BuildOptions((RANGE,), True, 1 << 30, Path("cache"), True, "ampere+", True, (library,))
    command = build_command("m.onnx", "a.plan", options, "fp32", machine.api())
    for word in (
        "--minShapes=x:1x3,y:1 --optShapes=x:2x3,y:1 --maxShapes=x:8x3,y:1",
        "--memPoolSize=workspace:1024 --versionCompatible --hardwareCompatibilityLevel=ampere+ --stripWeights",
        f"--timingCacheFile=cache '--dynamicPlugins={library}'",
    ):
        assert word in command
    assert "--noTF32" not in command and "--enablePluginOverride" not in command
    same = replace(options, hardware_compatibility="same-compute-capability")
    assert "--hardwareCompatibilityLevel=sameComputeCapability" in build_command("m", "p", same, "fp32", machine.api())


def test_plugins_from_10_15_on(machine: Machine, tmp_path: Path) -> None:
    library = tmp_path / "plugin.so"
    library.touch()
    machine.install("11.1.0")
    words = [
        build_command("m", "p", BuildOptions((STATIC,), plugins=plugins), "fp32", machine.api())
        for plugins in ((), (library,))
    ]
    assert ["--enablePluginOverride" in command for command in words] == [False, True]


def test_several_profiles(machine: Machine) -> None:
    command = build_command("m", "p", BuildOptions((STATIC, RANGE)), "fp32", machine.api())
    assert (
        "--profile=0 --minShapes=x:1x3 --optShapes=x:1x3 --maxShapes=x:1x3 --profile=1 --minShapes=x:1x3,y:1" in command
    )


@pytest.mark.parametrize(("profile", "shapes"), [(STATIC, ""), (RANGE, " --shapes=x:2x3,y:1")])
def test_loading(profile: Any, shapes: str) -> None:
    assert load_command("a.plan", profile) == f"trtexec --loadEngine=a.plan{shapes}"
    assert load_command("a.plan", STATIC, ["lib.so"]) == "trtexec --loadEngine=a.plan --dynamicPlugins=lib.so"
