"""The trtexec commands that build and time the same engine."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from rectexport.runtime.base.shapes import format_shape
from rectexport.runtime.engines.tensorrt.options import BuildOptions
from rectexport.runtime.engines.tensorrt.profiles import Profile
from rectexport.runtime.engines.tensorrt.versions import HARDWARE, Api

#: --hardware-compatibility -> trtexec's value.
_LEVELS = {"ampere+": "ampere+", "same-compute-capability": "sameComputeCapability"}
assert set(_LEVELS) | {"none"} == set(HARDWARE)


def build_command(model: str, plan: str, options: BuildOptions, precision: str, api: Api) -> str:
    """The command that builds the plan; strongly typed from TensorRT 10 on, as the plan is, unless it is for a DLA.

    Before 10, trtexec has no option for the layers that must stay in float32.
    """
    words = ["trtexec", f"--onnx={model}", f"--saveEngine={plan}"]
    typed = options.strongly_typed(api)
    if not api.only_strongly_typed:  # 11 has no weak typing, so no flag
        words += ["--stronglyTyped"] if typed else [f"--{precision}"] if precision != "fp32" else []
    if not options.tf32:
        words.append("--noTF32")
    words += _shapes(options.profiles if api.strongly_typed else options.profiles[:1])  # before 10 it takes only one
    if options.workspace is not None:
        words.append(f"--memPoolSize=workspace:{options.workspace / 2**20:g}")
    if options.version_compatible:
        words.append("--versionCompatible")
    if options.hardware_compatibility != "none":
        words.append(f"--hardwareCompatibilityLevel={_LEVELS[options.hardware_compatibility]}")
    if options.strip_plan:
        words.append("--stripWeights")
    if options.dla_core is not None:
        words += [f"--useDLACore={options.dla_core}", *["--allowGPUFallback"] * options.allow_gpu_fallback]
    if options.timing_cache is not None:
        words.append(f"--timingCacheFile={options.timing_cache}")
    words += [f"--dynamicPlugins={path}" for path in options.plugins]
    if options.plugins and api.parser_flag("ENABLE_PLUGIN_OVERRIDE") is not None:
        words.append("--enablePluginOverride")
    return shlex.join(words)


def load_command(plan: str, profile: Profile, plugins: Sequence[object] = ()) -> str:
    """The command that times the plan at a profile's opt shapes."""
    shapes = [f"--shapes={_side(profile, 'opt')}"] if _dynamic(profile) else []
    return shlex.join(["trtexec", f"--loadEngine={plan}", *shapes, *(f"--dynamicPlugins={path}" for path in plugins)])


def _shapes(profiles: Sequence[Profile]) -> list[str]:
    words = []
    for index, profile in enumerate(profiles):
        if len(profiles) > 1:
            words.append(f"--profile={index}")
        if len(profiles) > 1 or _dynamic(profile):
            words += [f"--{side}Shapes={_side(profile, side)}" for side in ("min", "opt", "max")]
    return words


def _dynamic(profile: Profile) -> bool:
    return any(bounds.dynamic_axes for bounds in profile.values())


def _side(profile: Profile, side: str) -> str:
    return ",".join(f"{name}:{format_shape(getattr(bounds, side))}" for name, bounds in profile.items())
