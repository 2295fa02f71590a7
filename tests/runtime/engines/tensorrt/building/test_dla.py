"""Building for a Jetson's DLA: settings, and what is refused before the build. On the fake TensorRT."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rectexport.runtime.engines.tensorrt.building.builder import Model, build_engine
from rectexport.runtime.engines.tensorrt.building.building import default_options, ensure_plan
from rectexport.runtime.engines.tensorrt.options import BuildOptions
from rectexport.runtime.engines.tensorrt.plans import plans_of
from rectexport.runtime.engines.tensorrt.profiles import make_profiles
from rectexport.runtime.engines.tensorrt.running.runner import open_runner
from rectexport.runtime.errors import BadInput, RectexportError, UsageError
from rectexport.runtime.package.folder import Package
from rectexport.runtime.package.schema import manifest_faults
from tests.cli.conftest import command
from tests.runtime.engines.tensorrt.fake_tensorrt import BINDINGS
from tests.runtime.engines.tensorrt.machines import Machine, edit_manifest

__all__ = ["command"]
pytest.importorskip("polygraphy")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
ONE_SIZE = "x:1x1x8x8"
Build = Callable[..., dict[str, Any]]


@pytest.fixture
def jetson(machine: Machine) -> Machine:
    """JetPack 6.1 on an Orin with two DLA cores; the network has two layers."""
    machine.install("10.3.0")
    machine.trt.dla_cores = 2
    machine.trt.layer_names = ("conv", "relu")
    return machine


@pytest.fixture
def fixed(flexible: Path) -> Path:
    """The package with a free batch, and one size of image."""
    import onnx

    model = onnx.load(flexible / "model.onnx")
    for value in (*model.graph.input, *model.graph.output):
        for dimension in value.type.tensor_type.shape.dim[2:]:
            dimension.dim_value = 8
    onnx.save(model, flexible / "model.onnx")
    return flexible


@pytest.fixture
def build(jetson: Machine, fixed: Path) -> Build:
    """Builds a float16 file for core 0; returns what TensorRT received."""

    def build(model: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
        profiles = make_profiles(Package.open(fixed).manifest.inputs, [options.pop("profile", ONE_SIZE)])
        wanted = BuildOptions(**{"profiles": profiles, "dla_core": 0, **options})
        build_engine(Model(fixed / "model.onnx", **{"precision": "fp16", **(model or {})}), wanted, jetson.api())
        return jetson.trt.builds[-1]

    return build


@pytest.mark.parametrize(("version", "flags"), [("8.6.1", ["FP16"]), ("10.3.0", ["FP16"]), ("11.4.1", [])])
def test_layers_go_to_the_dla(jetson: Machine, build: Build, version: str, flags: list[str]) -> None:
    """Up to 10.7 in weakly typed networks, as trtexec --useDLACore --fp16 builds them; 11 has no others."""
    jetson.install("11.1.0" if version == "11.4.1" else version).__version__ = version
    told = build()
    assert (told["device"], told["dla"], told["flags"], told["typed"]) == ("DLA", 0, flags, not flags)
    jetson.trt.not_on_dla = ("relu",)
    told = build(dla_core=1, allow_gpu_fallback=True)
    assert (told["dla"], told["flags"]) == (1, [*flags, "GPU_FALLBACK"])


def test_the_gpu_is_the_default(jetson: Machine, build: Build) -> None:
    told = build(dla_core=None)
    assert (told["device"], told["dla"], told["flags"], told["typed"]) == ("GPU", -1, [], True)


@pytest.mark.parametrize("version", BINDINGS)
def test_the_names_are_in_every_versions_bindings(version: str) -> None:
    classes, enumerations = BINDINGS[version]["classes"], BINDINGS[version]["enumerations"]
    assert {"num_DLA_cores", "max_DLA_batch_size"} <= set(classes["Builder"])
    assert {"DLA_core", "default_device_type"} <= set(classes["IBuilderConfig"])
    assert classes["IBuilderConfig"]["can_run_on_DLA"] == ["layer"] and "DLA_core" in classes["Runtime"]
    assert "DLA" in enumerations["DeviceType"] and "GPU_FALLBACK" in enumerations["BuilderFlag"]
    assert "CONSTANT" in enumerations["LayerType"]


def refused(build: Build, *arguments: Any, **options: Any) -> str:
    with pytest.raises(RectexportError) as error:
        build(*arguments, **options)
    assert isinstance(error.value, BadInput | UsageError)
    return str(error.value)


@pytest.mark.parametrize(("precision", "way_out"), [("fp32", "fp16=True"), ("bf16", "fp16=True")])
def test_other_precisions_are_refused(build: Build, precision: str, way_out: str) -> None:
    text = refused(build, {"precision": precision})
    assert f"is {precision}, and a DLA computes float16 and int8 alone; export with {way_out}" in text


def test_int8_needs_a_dla_that_reads_its_nodes(jetson: Machine, build: Build) -> None:
    assert "with TensorRT 10.3.0 a DLA takes its scales from a calibrator alone" in refused(
        build, {"precision": "int8"}
    )
    jetson.install("11.1.0").__version__ = "11.4.1"
    assert build({"precision": "int8"})["device"] == "DLA"


@pytest.mark.parametrize(("version", "has"), [("10.7.0", True), ("10.8.0", False), ("11.4.0", False), ("11.4.1", True)])
def test_versions_without_a_dla_are_refused(jetson: Machine, build: Build, version: str, has: bool) -> None:
    jetson.install("11.1.0" if version.startswith("11") else "10.13.3").__version__ = version
    if has:
        assert build()["device"] == "DLA"
    else:
        assert f"TensorRT {version} cannot build for a DLA: 8.6 to 10.7 can (JetPack 6)" in refused(build)


def test_free_sizes_are_refused(jetson: Machine, build: Build, fixed: Path) -> None:
    text = refused(build, profile="x:1x1x8x8..2x1x8x8..4x1x8x8")
    assert "a DLA takes one size, and a profile is x 1x1x8x8 .. 4x1x8x8" in text
    assert build(profile=text.rpartition("--profile ")[2])["profiles"] == [{"x": [(2, 1, 8, 8)] * 3}]


def test_a_free_height_is_refused(jetson: Machine, build: Build, fixed: Path) -> None:
    import onnx

    model = onnx.load(fixed / "model.onnx")
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "h"
    onnx.save(model, fixed / "model.onnx")
    assert "input x is -1x1x-1x8, and a DLA takes a free size in the batch at most" in refused(build)


def test_a_core_that_is_not_there_is_refused(jetson: Machine, build: Build) -> None:
    assert "this machine has 2 DLA cores, 0 to 1; take one of them" in refused(build, dla_core=2)
    jetson.trt.dla_cores = 0
    assert "--dla-core 0: this machine has no DLA; build without it" in refused(build)


def test_layers_that_it_lacks_are_named(jetson: Machine, build: Build) -> None:
    jetson.trt.not_on_dla = ("relu",)
    text = refused(build)
    assert "1 of 2 layers cannot run on a DLA with TensorRT 10.3.0: relu (CONVOLUTION)" in text
    assert "build with --allow-gpu-fallback" in text and not jetson.trt.builds
    jetson.trt.not_on_dla = ("conv", "relu")
    assert "2 of 2 layers" in (text := refused(build, allow_gpu_fallback=True)) and "build without --dla-core" in text


def test_a_fallback_from_nothing_is_refused(build: Build) -> None:
    assert "--allow-gpu-fallback: is for layers that a DLA lacks" in refused(
        build, dla_core=None, allow_gpu_fallback=True
    )


def test_a_plan_is_kept_and_run(jetson: Machine, fixed: Path) -> None:
    """Without CUDA graphs, which do not go together with a DLA."""

    def half(document: dict[str, Any]) -> None:
        from rectexport.runtime.base.files import sha256

        document["files"]["model.onnx"] = sha256(fixed / "model.onnx")
        document["options"] = {"precision": "fp16"}

    edit_manifest(fixed, half)
    inputs = Package.open(fixed).manifest.inputs
    wanted = BuildOptions(make_profiles(inputs, ["x:2x1x8x8"]), dla_core=1, allow_gpu_fallback=True)
    built = ensure_plan(fixed, wanted, jetson.api())
    assert built.plan.entry["options"]["dla_core"] == 1
    assert "--fp16" in built.plan.entry["trtexec"] and "--stronglyTyped" not in built.plan.entry["trtexec"]
    assert built.plan.entry["trtexec"].endswith("--useDLACore=1 --allowGPUFallback")
    package = Package.open(fixed)
    assert not [fault for fault in manifest_faults(package.manifest.data) if "plans" in fault]
    assert default_options(package) == wanted and ensure_plan(fixed, wanted, jetson.api()).layers is None
    runner = open_runner(package)
    assert runner.description == "TensorRT 10.3.0, DLA core 1"
    for _ in range(3):
        runner.run({"x": np.ones((2, 1, 8, 8), np.float32)})
    assert jetson.gpu.launches == 0
    runner.close()
    edit_manifest(fixed, lambda document: document["options"].update(precision="fp32"))  # as the fake engine computes
    assert ensure_plan(fixed, replace(wanted, dla_core=None, allow_gpu_fallback=False), jetson.api()).layers is not None
    assert [plan.dla_core for plan in plans_of(Package.open(fixed))] == [None]


def test_the_command(command: Callable[..., Any], jetson: Machine, flexible: Path) -> None:
    ran = command("build", flexible, "--trt", "--dla-core", "0", "--allow-gpu-fallback")
    assert ran.code == 1 and "is fp32, and a DLA computes float16 and int8 alone; export with --fp16" in ran.err
    ran = command("build", flexible, "--rtx", "--dla-core", "0")
    assert ran.code == 2 and "--dla-core is for --trt: TensorRT for RTX lacks it" in ran.err
    document = json.loads((flexible / "manifest.json").read_text())
    assert "plans" not in document
