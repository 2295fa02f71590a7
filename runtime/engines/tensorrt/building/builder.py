"""Builds a serialized engine from an ONNX file, with Polygraphy and TensorRT's API."""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rectexport.runtime.engines.tensorrt import cuda
from rectexport.runtime.engines.tensorrt.building.dla import check_dla, put_on_dla
from rectexport.runtime.engines.tensorrt.building.logger import LogMessages, explain, parser_error
from rectexport.runtime.engines.tensorrt.building.monitor import Report, interruptible, make_monitor
from rectexport.runtime.engines.tensorrt.building.registry import load_plugins
from rectexport.runtime.engines.tensorrt.options import BuildOptions
from rectexport.runtime.engines.tensorrt.profiles import Profile
from rectexport.runtime.engines.tensorrt.versions import Api, require_builder
from rectexport.runtime.errors import BadInput, Option, RectexportError, UsageError

Capability = tuple[int, int]

#: The first GPUs with bfloat16 and TF32 (Ampere).
_AMPERE = (8, 0)


@dataclass(frozen=True)
class Model:
    """An ONNX file, the precision of its graph, and the names of nodes that stay in float32 nevertheless.

    functions: the graph calls ONNX functions of its own. half_rest: what is not in int8 is float16.
    """

    path: Path
    precision: str = "fp32"
    kept: frozenset[str] = field(default_factory=frozenset)
    functions: bool = False
    half_rest: bool = False


def check_support(model: Model, options: BuildOptions, api: Api, capability: Capability) -> None:
    """Raise BadInput or UsageError for what this TensorRT or this GPU does not support, before a build of minutes."""
    if model.functions and not api.local_functions:
        raise BadInput(
            f"{model.path}: was exported with rectify plugin, which TensorRT {api.text} cannot read: it supports no "
            "ONNX functions, and the plugin needs 10.3; export again with ",
            Option("rectify", "auto"),
        )
    hardware = options.hardware_compatibility != "none"
    dla = options.dla_core is not None
    if api.rtx and (options.plugins or options.version_compatible or hardware or options.strip_plan or dla):
        raise UsageError(
            "--plugins, --version-compatible, --hardware-compatibility, --strip-plan, --dla-core: not in TensorRT for "
            "RTX; build without them"
        )
    if options.dla_core is not None:
        check_dla(model.path, model.precision, options, api)
    gpu = f"a GPU of compute capability {capability[0]}.{capability[1]}"
    if model.precision == "bf16" and not api.bfloat16:
        raise BadInput(
            f"{model.path}: is bfloat16, which TensorRT {api.text} does not support; export with --fp16, or use 10"
        )
    if model.precision == "bf16" and capability < _AMPERE:
        raise BadInput(f"{model.path}: is bfloat16, which {gpu} lacks (8.0 and later have it); export with --fp16")
    if options.tf32 and capability < _AMPERE:
        raise UsageError(f"--tf32: {gpu} lacks TF32 (8.0 and later have it); build without it")
    if options.tf32 and model.precision != "fp32":
        raise UsageError(f"--tf32: is for float32 packages, but this one is {model.precision}")
    if api.hardware(options.hardware_compatibility) is None:
        raise UsageError(
            f"--hardware-compatibility {options.hardware_compatibility}: not in TensorRT {api.text}; use ampere+"
        )
    if options.hardware_compatibility == "ampere+" and capability < _AMPERE:
        raise UsageError(f"--hardware-compatibility ampere+: cannot be built on {gpu}")
    if options.strip_plan and not (api.builder_flag("STRIP_PLAN") and hasattr(api.module, "OnnxParserRefitter")):
        raise UsageError(
            f"--strip-plan: TensorRT {api.text} cannot restore the weights of a stripped plan; 10.1 or later can"
        )


def build_engine(
    model: Model,
    options: BuildOptions,
    api: Api,
    report: Report = lambda text: None,
    targets: Sequence[Capability] = (),
) -> bytes:
    """Build an engine and return its plan; this takes minutes. `report` is called with the name of each phase.

    targets: the compute capabilities to build for with TensorRT for RTX, which then needs no GPU; otherwise it is built
    for this machine's GPU.

    Raises MissingDependency (Polygraphy, driver), BadInput for a model that TensorRT refuses, DeviceError when the
    GPU's memory does not suffice, UsageError for options that this version or GPU does not support.
    """
    require_builder()
    check_support(model, options, api, min(targets) if targets else cuda.driver().compute_capability)
    cancelled = threading.Event()

    def work() -> bytes:
        with nullcontext() if targets else cuda.driver().active():  # each thread has its own current context
            builder, network, parser = _parse(model, options, api, said)
            report("building the engine")
            monitor = make_monitor(api, report, cancelled)
            return _serialize((builder, network, parser), model, options, api, monitor, targets)

    with LogMessages(api) as said:
        try:
            return interruptible(work, cancelled)
        except RectexportError:
            raise
        except Exception as error:  # TensorRT raises TypeError, RuntimeError and PolygraphyException
            raise explain(str(model.path), api, [*said.warnings, str(error), *said.errors]) from None


def count_layers(model: Model, options: BuildOptions, api: Api) -> int:
    """Parse an ONNX file without building: how many layers TensorRT's network has. Raises BadInput if it refuses it."""
    with LogMessages(api) as said:
        return int(_parse(model, options, api, said)[1].num_layers)


def _parse(model: Model, options: BuildOptions, api: Api, said: LogMessages) -> tuple[Any, Any, Any]:
    trt, logger = api.module, said.logger
    builder = trt.Builder(logger)  # before the plugins: it makes `logger` the registry's, which says what is wrong
    load_plugins(options.plugins, api, said)
    network = builder.create_network(api.network_flags(options.strongly_typed(api)))
    parser = trt.OnnxParser(network, logger)
    for flag in _parser_flags(options, api):
        parser.set_flag(flag)
    if not parser.parse_from_file(os.fspath(model.path)):
        raise parser_error(model.path, api, parser, said.errors)
    if not options.strongly_typed(api):
        _keep_float32(network, model.kept, api)
    return builder, network, parser


def _parser_flags(options: BuildOptions, api: Api) -> list[Any]:
    """Flags of the parser, as trtexec sets them."""
    names = []
    if options.plugins:
        names.append("ENABLE_PLUGIN_OVERRIDE")  # from 10.15; else an ONNX function is preferred to a plugin
    if options.version_compatible or options.hardware_compatibility != "none":
        names.append("NATIVE_INSTANCENORM")  # such plans cannot have the plugin that 8.6 uses; 10 has it always on
    return [flag for flag in map(api.parser_flag, names) if flag is not None]


def _keep_float32(network: Any, kept: Collection[str], api: Api) -> None:
    """Force the layers of these nodes to float32: without strong typing, the types in the graph are only hints."""
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.name in kept:
            layer.precision = api.module.float32
            for output in range(layer.num_outputs):
                layer.set_output_type(output, api.module.float32)


def _serialize(
    parts: tuple[Any, Any, Any],
    model: Model,
    options: BuildOptions,
    api: Api,
    monitor: Any,
    targets: Sequence[Capability],
) -> bytes:
    from polygraphy import config as settings
    from polygraphy.logger import G_LOGGER

    settings.USE_TENSORRT_RTX = api.rtx  # read when its TensorRT parts are first imported

    with G_LOGGER.verbosity(G_LOGGER.CRITICAL + 1):  # our logger keeps TensorRT's errors
        from polygraphy.backend.trt import EngineBytesFromNetwork

        cache = None if options.timing_cache is None else os.fspath(options.timing_cache)
        create = _config_rtx(options, api, monitor, targets) if api.rtx else _config(model, options, api, monitor)

        def configure(builder: Any, network: Any) -> Any:
            config = create(builder, network)
            if not api.strongly_typed:
                api.set_preview(config, "PROFILE_SHARING_0806")  # several contexts per profile; always on since 10
            if api.rtx and not options.tf32:  # Polygraphy clears it for TensorRT alone
                config.clear_flag(api.module.BuilderFlag.TF32)
            if options.plugins:
                api.set_preview(config, "ALIASED_PLUGIN_IO_10_03")  # the plugin works in place
            if options.dla_core is not None:
                put_on_dla(builder, network, config, model.path, options, api)
            return config

        return bytes(EngineBytesFromNetwork(parts, configure, save_timing_cache=cache)())


def _config(model: Model, options: BuildOptions, api: Api, monitor: Any) -> Any:
    from polygraphy.backend.trt import CreateConfig

    weak, level = not options.strongly_typed(api), options.hardware_compatibility
    return CreateConfig(
        **_common(options, api, monitor),
        tf32=options.tf32,
        fp16=weak and (model.precision == "fp16" or model.half_rest),
        int8=weak and model.precision == "int8",  # the scales are those of the Q/DQ nodes
        precision_constraints="obey" if weak and model.kept else None,
        hardware_compatibility_level=None if level == "none" else api.hardware(level),
        version_compatible=options.version_compatible,
    )


def _config_rtx(options: BuildOptions, api: Api, monitor: Any, targets: Sequence[Capability]) -> Any:
    from polygraphy.backend.tensorrt_rtx import CreateConfigRTX

    return CreateConfigRTX(
        **_common(options, api, monitor), compute_capabilities=list(targets) or None, use_gpu=not targets
    )


def _common(options: BuildOptions, api: Api, monitor: Any) -> dict[str, Any]:
    """Settings of both kinds of TensorRT."""
    trt, cache = api.module, options.timing_cache
    return {
        "profiles": [_polygraphy(profile) for profile in options.profiles],
        "load_timing_cache": os.fspath(cache) if cache and cache.exists() else None,
        "memory_pool_limits": None if options.workspace is None else {trt.MemoryPoolType.WORKSPACE: options.workspace},
        "strip_plan": options.strip_plan,
        "builder_optimization_level": options.optimization_level,
        "progress_monitor": monitor,
        "profiling_verbosity": trt.ProfilingVerbosity.DETAILED,  # lets the inspector show precisions, at no cost
    }


def _polygraphy(profile: Profile) -> Any:
    from polygraphy.backend.trt import Profile as Shapes

    shapes = Shapes()
    for name, bounds in profile.items():
        shapes.add(name, bounds.min, bounds.opt, bounds.max)
    return shapes
