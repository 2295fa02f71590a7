"""The made-up TensorRT against the real bindings of each version: it has no method or parameter that they lack.

The other tests run the runtime on it, so the runtime uses no such name either.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rectexport.runtime.engines.tensorrt.building.building import default_options, ensure_plan
from rectexport.runtime.engines.tensorrt.building.logger import LogMessages
from rectexport.runtime.engines.tensorrt.versions import HARDWARE
from rectexport.runtime.package.folder import Package
from tests.runtime.engines.tensorrt.fake_tensorrt import BINDINGS, VERSIONS
from tests.runtime.engines.tensorrt.machines import Machine

pytest.importorskip("polygraphy")
#: What a fake class keeps for tests.
OWN = {"cache", "compute", "enabled", "loaded", "pools", "previews", "profiles"}


def fakes(machine: Machine, package: Path) -> Iterator[tuple[str, Any]]:
    """An object of each made-up class, under the real class's name."""
    trt = machine.api().module
    built = ensure_plan(package, default_options(Package.open(package)), machine.api())
    plan = (package / built.plan.file).read_bytes()
    machine.trt.layer_names = ("conv",)
    with LogMessages(machine.api()) as said:
        builder, runtime = trt.Builder(said.logger), trt.Runtime(said.logger)
        network, config = builder.create_network(machine.api().network_flags()), builder.create_builder_config()
        parser, engine = trt.OnnxParser(network, said.logger), runtime.deserialize_cuda_engine(plan)
        parser.parse_from_file(str(package / "model.onnx"))
        yield from {"Builder": builder, "Runtime": runtime, "INetworkDefinition": network}.items()
        yield from {"IBuilderConfig": config, "OnnxParser": parser, "ICudaEngine": engine}.items()
        yield "IOptimizationProfile", builder.create_optimization_profile()
        yield "ITimingCache", config.create_timing_cache(b"")
        yield "ILayer", network.get_layer(0)
        yield "IPluginRegistry", trt.get_plugin_registry()
        yield "IExecutionContext", engine.create_execution_context()
        yield "EngineInspector", engine.create_engine_inspector()
        machine.trt.refused_operator = "Odd"
        parser.parse_from_file(str(package / "model.onnx"))
        yield "ParserError", parser.get_error(0)
        if hasattr(trt, "OnnxParserRefitter"):
            refitter = trt.Refitter(engine, said.logger)
            yield "Refitter", refitter
            yield "OnnxParserRefitter", trt.OnnxParserRefitter(refitter, said.logger)


def test_methods_and_parameters_are_real(every_version: Machine, flexible: Path) -> None:
    table = BINDINGS[every_version.api().text]["classes"]
    wrong = []
    for name, made in fakes(every_version, flexible):
        for key in sorted({key for key in vars(type(made)) if not key.startswith("_")} - OWN):
            value = getattr(type(made), key)
            if key not in table[name]:
                wrong.append(f"{name}.{key}")
            elif inspect.isfunction(value):
                names = list(inspect.signature(value).parameters)[1:]
                if names != (table[name][key] or [])[: len(names)]:
                    wrong.append(f"{name}.{key}({', '.join(names)}), really ({', '.join(table[name][key] or [])})")
    assert not wrong


@pytest.mark.parametrize("version", VERSIONS)
def test_names_that_versions_decide_on(machine: Machine, version: str) -> None:
    """versions.py asks for these; what it finds is what that release has."""
    machine.install(version)
    api, table = machine.api(), BINDINGS[version]
    assert api.bfloat16 == ("bfloat16" in table["types"])
    assert api.progress == ("IProgressMonitor" in table["classes"])
    flag = "STRONGLY_TYPED" if api.strongly_typed else "EXPLICIT_BATCH"
    assert api.network_flags() == 1 << table["enumerations"]["NetworkDefinitionCreationFlag"][flag]
    levels = table["enumerations"]["HardwareCompatibilityLevel"]
    assert [api.hardware(name) is not None for name in HARDWARE] == [name in levels for name in HARDWARE.values()]
    assert {"load_library", "deregister_library"} <= set(table["classes"]["IPluginRegistry"])
    assert {"get_plugin_registry", "init_libnvinfer_plugins"} == set(table["functions"])
