"""The options of a build."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rectexport.runtime.engines.tensorrt.profiles import Profile, as_dict
from rectexport.runtime.engines.tensorrt.versions import HARDWARE, Api
from rectexport.runtime.errors import BadInput, UsageError

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", re.I)


@dataclass(frozen=True)
class BuildOptions:
    """Everything that determines an engine besides the model and the machine.

    workspace is in bytes, None for all GPU memory. plugins are libraries with TensorRT plugins. dla_core is the
    accelerator of a Jetson to build for, None for the GPU; allow_gpu_fallback runs on the GPU what it lacks.
    optimization_level is the builder's effort, 0 to 5, None for TensorRT's default.

    Raises UsageError for an unknown hardware compatibility or a fallback from no accelerator, and BadInput for a
    missing plugin library.
    """

    profiles: tuple[Profile, ...]
    tf32: bool = False
    workspace: int | None = None
    timing_cache: Path | None = None
    version_compatible: bool = False
    hardware_compatibility: str = "none"
    strip_plan: bool = False
    plugins: tuple[Path, ...] = ()
    dla_core: int | None = None
    allow_gpu_fallback: bool = False
    optimization_level: int | None = None

    def __post_init__(self) -> None:
        if self.hardware_compatibility not in HARDWARE:
            raise UsageError(
                f"--hardware-compatibility {self.hardware_compatibility}: expected one of {', '.join(HARDWARE)}"
            )
        if self.allow_gpu_fallback and self.dla_core is None:
            raise UsageError("--allow-gpu-fallback: is for layers that a DLA lacks; add --dla-core N")
        for path in self.plugins:
            if not path.is_file():
                raise BadInput(f"{path}: no such plugin library")

    def strongly_typed(self, api: Api) -> bool:
        """Whether the network's types are fixed. For a DLA they are from 11 on; before, its precision is a flag."""
        return api.strongly_typed and (self.dla_core is None or api.only_strongly_typed)

    def recorded(self) -> dict[str, Any]:
        """The options that the manifest records; a plan is reused only if they are equal."""
        dla = {"dla_core": self.dla_core, "allow_gpu_fallback": self.allow_gpu_fallback}
        return {
            "profiles": [as_dict(profile) for profile in self.profiles],
            "tf32": self.tf32,
            "version_compatible": self.version_compatible,
            "hardware_compatibility": self.hardware_compatibility,
            "strip_plan": self.strip_plan,
            **({} if self.dla_core is None else dla),
        }


def parse_size(text: str, flag: str = "--workspace") -> int:
    """Bytes from text: 4G, 512M, 1.5GiB or a plain number; units are powers of 1024. Raises UsageError."""
    match = _SIZE.fullmatch(text.strip())
    size = round(float(match[1]) * 1024 ** " kmgt".index(match[2].lower() or " ")) if match else 0
    if not 0 < size < 1 << 50:
        raise UsageError(f"{flag} {text!r}: expected a size, as in 4G or 512M")
    return size
