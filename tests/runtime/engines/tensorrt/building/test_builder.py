"""Builds a plan from ONNX: the options that each version gets, and the error of each failure."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rectexport.runtime.engines.tensorrt.building import builder
from rectexport.runtime.engines.tensorrt.building.builder import Model, build_engine
from rectexport.runtime.engines.tensorrt.options import BuildOptions
from rectexport.runtime.engines.tensorrt.profiles import make_profiles
from rectexport.runtime.errors import BadInput, DeviceError, MissingDependency, RectexportError, UsageError
from rectexport.runtime.package.folder import Package
from tests.runtime.engines.tensorrt.machines import Machine

pytest.importorskip("polygraphy")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def build(machine: Machine, flexible: Path) -> Callable[..., dict[str, Any]]:
    """Builds with options; returns what TensorRT received."""
    package = Package.open(flexible)

    def build(model: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
        chosen = BuildOptions(**{"profiles": make_profiles(package.manifest.inputs), **options})
        build_engine(Model(package.model_file, **(model or {})), chosen, machine.api())
        return machine.trt.builds[-1]

    return build


def test_every_version_builds(every_version: Machine, build: Callable[..., Any], capfd: Any) -> None:
    told = build()
    version = every_version.api().version
    assert told["typed"] == (version >= (10,))
    assert told["flags"] == []  # not even TF32
    assert told["profiles"] == [{"x": [[1, 1, 4, 4], [2, 1, 8, 8], [8, 1, 16, 16]]}] or told["profiles"] == [
        {"x": [(1, 1, 4, 4), (2, 1, 8, 8), (8, 1, 16, 16)]}
    ]
    assert told["verbosity"] == "DETAILED"
    assert told["previews"] == (["PROFILE_SHARING_0806"] if version < (10,) else [])
    assert capfd.readouterr() == ("", "")  # neither TensorRT nor Polygraphy speaks


def test_half_precision_is_a_flag_before_10_only(every_version: Machine, build: Callable[..., Any]) -> None:
    every_version.trt.layer_names = ("conv", "rectify_scale.z")
    told = build({"precision": "fp16", "kept": frozenset({"rectify_scale.z"})})
    conv, scale = every_version.trt.layers
    if every_version.api().strongly_typed:
        assert told["flags"] == [] and not hasattr(scale, "precision")
    else:
        assert told["flags"] == ["FP16", "OBEY_PRECISION_CONSTRAINTS"]
        assert scale.precision.name == "float32" and scale.types[0].name == "float32"
        assert not conv.precision_is_set


@pytest.mark.parametrize(("half_rest", "flags"), [(False, ["INT8"]), (True, ["FP16", "INT8"])])
def test_int8_is_a_flag_before_10_only(
    every_version: Machine, build: Callable[..., Any], half_rest: bool, flags: list[str]
) -> None:
    told = build({"precision": "int8", "half_rest": half_rest})
    assert told["flags"] == ([] if every_version.api().strongly_typed else flags)


def test_options_reach_tensorrt(build: Callable[..., Any], flexible: Path, tmp_path: Path) -> None:
    profiles = make_profiles(Package.open(flexible).manifest.inputs, ["x:1x1x8x8", "x:1x1x4x4..2x1x8x8..8x1x8x8"])
    plugin, cache = tmp_path / "plugin.so", tmp_path / "cache"
    plugin.touch()
    told = build(
        profiles=profiles,
        tf32=True,
        workspace=4 << 30,
        version_compatible=True,
        hardware_compatibility="ampere+",
        strip_plan=True,
        plugins=(plugin,),
        timing_cache=cache,
    )
    assert told["flags"] == ["STRIP_PLAN", "TF32", "VERSION_COMPATIBLE"]
    assert told["pools"] == {"WORKSPACE": 4 << 30}
    assert told["hardware"] == "AMPERE_PLUS"
    assert [profile["x"][2] for profile in told["profiles"]] == [(1, 1, 8, 8), (8, 1, 8, 8)]
    assert told["previews"] == ["ALIASED_PLUGIN_IO_10_03"]
    assert cache.read_bytes() == b"cache of 10.13.3" and told["cache"] == ""
    assert build(timing_cache=cache)["cache"] == "cache of 10.13.3"


def failure(build: Callable[..., Any], **options: Any) -> RectexportError:
    with pytest.raises(RectexportError) as raised:
        build(**options)
    return raised.value


def test_an_operator_that_is_not_supported(every_version: Machine, build: Callable[..., Any]) -> None:
    every_version.trt.refused_operator = "Odd"
    error = failure(build)
    assert isinstance(error, BadInput)
    named = every_version.api().strongly_typed  # older parsers give a number only
    assert f"model.onnx, node {'/head/odd (Odd)' if named else 'number 3'}: TensorRT" in str(error)
    said = 'creator && "Plugin not found, are the plugin name, version, and namespace correct?" (plugin Odd)'
    assert f"does not support it: {said}. Export with another opset or rectify form" in str(error)


@pytest.mark.parametrize(
    ("said", "kind", "message"),
    [
        ("[virtualMemoryBuffer.cpp::resizePhysical::140] Error Code 2: OutOfMemory", DeviceError, "out of GPU memory"),
        (
            "Requested amount of GPU memory (4096 bytes) could not be allocated: out of memory",
            DeviceError,
            "workspace limit",
        ),
        ("10: Could not find any implementation for node conv.", DeviceError, "found no way to run a layer (10: Could"),
        ("CUDA initialization failure with error: 35", MissingDependency, "the NVIDIA driver is too old for TensorRT"),
        ("CUDA initialization failure with error: 100", MissingDependency, "no GPU: TensorRT 10.13.3 finds none"),
        ("4: [network.cpp::validate] x has dynamic shape\nand more", BadInput, "TensorRT 10.13.3 refuses: and more"),
    ],
)
def test_known_failures(machine: Machine, build: Callable[..., Any], said: str, kind: type, message: str) -> None:
    machine.trt.build_errors = (said,)
    error = failure(build)
    assert type(error) is kind and message in str(error), error
    assert error.exit_code == (5 if kind is MissingDependency else 1)


def test_a_builder_that_cannot_be_created(machine: Machine, build: Callable[..., Any]) -> None:
    machine.trt.builder_fails = "CUDA initialization failure with error: 35. Please check your CUDA installation"
    assert "the NVIDIA driver is too old for TensorRT 10.13.3" in str(failure(build))


def test_a_plugin_that_does_not_load(machine: Machine, build: Callable[..., Any], tmp_path: Path) -> None:
    library = tmp_path / "mine.so"
    assert "mine.so: no such plugin library" in str(failure(build, plugins=(library,)))
    library.touch()
    machine.trt.plugin_loads = False
    assert "mine.so: TensorRT 10.13.3 cannot load this plugin library" in str(failure(build, plugins=(library,)))


def test_plugins_take_precedence_over_functions(
    every_version: Machine, build: Callable[..., Any], tmp_path: Path
) -> None:
    library = tmp_path / "mine.so"
    library.touch()
    build()
    assert every_version.trt.parser_flags == []
    build(plugins=(library,))
    needed = every_version.api().version >= (10, 15)  # before, a plugin takes precedence anyway
    assert every_version.trt.parser_flags == ["ENABLE_PLUGIN_OVERRIDE"] * needed


@pytest.mark.parametrize("options", [{"version_compatible": True}, {"hardware_compatibility": "ampere+"}])
def test_compatible_plans_normalize_instances_without_a_plugin(
    every_version: Machine, build: Callable[..., Any], options: dict[str, Any]
) -> None:
    build(**options)
    assert every_version.trt.parser_flags == ["NATIVE_INSTANCENORM"]


def test_functions_are_refused_where_the_parser_knows_none(every_version: Machine, build: Callable[..., Any]) -> None:
    if every_version.api().version >= (9,):
        build({"functions": True})
        return
    with pytest.raises(BadInput, match=r"exported with rectify plugin, which TensorRT 8\.6\.1 cannot read: .*rectify="):
        build({"functions": True})


@pytest.mark.parametrize(
    ("version", "capability", "precision", "options", "message"),
    [
        ("8.6.1", (9, 0), "bf16", {}, "is bfloat16, which TensorRT 8.6.1 does not support"),
        ("10.13.3", (7, 5), "bf16", {}, "compute capability 7.5 lacks"),
        ("10.13.3", (7, 5), "fp32", {"tf32": True}, "--tf32: a GPU of compute capability 7.5 lacks TF32"),
        ("10.13.3", (9, 0), "fp16", {"tf32": True}, "--tf32: is for float32 packages, but this one is fp16"),
        ("8.6.1", (9, 0), "fp32", {"hardware_compatibility": "same-compute-capability"}, "not in TensorRT 8.6.1"),
        ("10.13.3", (7, 5), "fp32", {"hardware_compatibility": "ampere+"}, "cannot be built on a GPU of compute"),
        ("10.13.3", (9, 0), "fp32", {"hardware_compatibility": "any"}, "expected one of none, ampere+"),
        ("8.6.1", (9, 0), "fp32", {"strip_plan": True}, "--strip-plan: TensorRT 8.6.1 cannot restore the weights"),
    ],
)
def test_unsupported_options_are_refused_before_the_build(
    machine: Machine,
    build: Callable[..., Any],
    version: str,
    capability: tuple[int, int],
    precision: str,
    options: dict[str, Any],
    message: str,
) -> None:
    machine.install(version)
    machine.gpu.capability = capability
    with pytest.raises((BadInput, UsageError)) as refused:
        build({"precision": precision}, **options)
    assert message in str(refused.value)
    assert not machine.trt.builds


def test_phases_are_reported(machine: Machine, flexible: Path) -> None:
    package, said = Package.open(flexible), []
    options = BuildOptions(make_profiles(package.manifest.inputs))
    build_engine(Model(package.model_file), options, machine.api(), said.append)
    assert said == ["building the engine", "Building Engine", *(f"Building Engine {n}/3" for n in (1, 2, 3))]


def test_an_interrupt_stops_the_build(machine: Machine, build: Callable[..., Any]) -> None:
    """Ctrl-C while TensorRT works in its own thread: the build ends at its next step, without a plan."""
    stopped = threading.Event()
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a shell's background

    def work() -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        time.sleep(0.3)
        stopped.set()

    machine.trt.build = work
    try:
        with pytest.raises(KeyboardInterrupt):
            build()
    finally:
        signal.signal(signal.SIGINT, previous)
    assert stopped.is_set() and not machine.trt.builds


def test_a_missing_polygraphy_is_named(
    machine: Machine, build: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "polygraphy", None)
    assert "polygraphy cannot be imported here" in str(failure(build)) and builder.require_builder
