"""Building for a deep learning accelerator (DLA) of a Jetson: what it takes, and the settings that put layers on it.

A DLA computes float16 and int8 at fixed sizes. TensorRT itself knows which layers of a network it can run there, and is
asked before the build, which takes minutes. With --allow-gpu-fallback the other layers run on the GPU.

Sources: NvInfer.h of 8.6, 10.3 and 11.1; "Working with DLA" in the documentation of TensorRT up to 11.4.1; trtexec.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rectexport.runtime.base.shapes import format_shape
from rectexport.runtime.engines.tensorrt.options import BuildOptions
from rectexport.runtime.engines.tensorrt.profiles import describe
from rectexport.runtime.engines.tensorrt.versions import Api
from rectexport.runtime.errors import BadInput, Option, UsageError

#: The precisions of a DLA.
PRECISIONS = ("fp16", "int8")
#: How many layers a message names.
_NAMED = 3


def check_dla(path: Path, precision: str, options: BuildOptions, api: Api) -> None:
    """Raise BadInput or UsageError for what no DLA of this TensorRT takes, without a look at the network."""
    if not api.dla:
        raise UsageError(
            f"--dla-core {options.dla_core}: TensorRT {api.text} cannot build for a DLA: 8.6 to 10.7 can (JetPack 6), "
            "and 11.4.1 and later (JetPack 7.2.2); build without it"
        )
    if precision not in PRECISIONS:
        raise BadInput(
            f"{path}: is {precision}, and a DLA computes float16 and int8 alone; export with ", Option("fp16", True)
        )
    if precision == "int8" and not options.strongly_typed(api):
        raise BadInput(
            f"{path}: is int8 with Q/DQ nodes, and with TensorRT {api.text} a DLA takes its scales from a calibrator "
            "alone; export with ",
            Option("fp16", True),
        )
    for profile in options.profiles:
        if any(bounds.dynamic_axes for bounds in profile.values()):
            fixed = ",".join(f"{name}:{format_shape(bounds.opt)}" for name, bounds in profile.items())
            raise UsageError(
                f"--dla-core {options.dla_core}: a DLA takes one size, and a profile is {describe(profile)}; build for "
                f"one: --profile {fixed}"
            )


def put_on_dla(builder: Any, network: Any, config: Any, path: Path, options: BuildOptions, api: Api) -> None:
    """Make the DLA the device of every layer that it can run.

    Raises UsageError for a core that this machine lacks, BadInput where the network cannot run there.
    """
    core, cores = options.dla_core, builder.num_DLA_cores
    if core is None or not 0 <= core < cores:
        have = f"this machine has {cores} DLA cores, 0 to {cores - 1}" if cores else "this machine has no DLA"
        raise UsageError(f"--dla-core {core}: {have}; {'take one of them' if cores else 'build without it'}")
    config.default_device_type = api.module.DeviceType.DLA
    config.DLA_core = core
    if options.allow_gpu_fallback:
        config.set_flag(api.module.BuilderFlag.GPU_FALLBACK)
    _check_inputs(network, path)
    _check_batch(builder.max_DLA_batch_size, options)
    _check_layers(network, config, path, options, api)


def _check_batch(most: int, options: BuildOptions) -> None:
    for profile in options.profiles:
        for name, bounds in profile.items():
            if bounds.max and bounds.max[0] > most:
                raise UsageError(
                    f"--dla-core {options.dla_core}: input {name}: a batch of {bounds.max[0]}, and this DLA takes at "
                    f"most {most}; build for a smaller one, with --profile"
                )


def _check_inputs(network: Any, path: Path) -> None:
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        shape = tuple(tensor.shape)
        if any(size < 0 for size in shape[1:]):
            raise BadInput(
                f"{path}: input {tensor.name} is {format_shape(shape)}, and a DLA takes a free size in the batch at "
                "most; export again with fixed sizes"
            )


def _check_layers(network: Any, config: Any, path: Path, options: BuildOptions, api: Api) -> None:
    """Constants are not asked about: TensorRT folds them into the layers that read them."""
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    layers = [layer for layer in layers if layer.type != api.module.LayerType.CONSTANT]
    refused = [layer for layer in layers if not config.can_run_on_DLA(layer)]
    if not refused or (options.allow_gpu_fallback and len(refused) < len(layers)):
        return
    named = ", ".join(f"{layer.name} ({layer.type.name})" for layer in refused[:_NAMED])
    more = f" and {len(refused) - _NAMED} more" if len(refused) > _NAMED else ""
    way_out = "without --dla-core" if len(refused) == len(layers) else "with --allow-gpu-fallback"
    raise BadInput(
        f"{path}: {len(refused)} of {len(layers)} layers cannot run on a DLA with TensorRT {api.text}: {named}{more}; "
        f"build {way_out}, which runs them on the GPU"
    )
