"""The options of a build."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rectexport.runtime.engines.tensorrt.profiles import Profile, as_dict
from rectexport.runtime.engines.tensorrt.versions import HARDWARE
from rectexport.runtime.errors import BadInput, UsageError

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", re.I)


@dataclass(frozen=True)
class BuildOptions:
    """Everything that determines an engine besides the model and the machine.

    workspace is in bytes, None for all GPU memory. plugins are libraries with TensorRT plugins. Raises UsageError for
    an unknown hardware compatibility and BadInput for a missing plugin library.
    """

    profiles: tuple[Profile, ...]
    tf32: bool = False
    workspace: int | None = None
    timing_cache: Path | None = None
    version_compatible: bool = False
    hardware_compatibility: str = "none"
    strip_plan: bool = False
    plugins: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        if self.hardware_compatibility not in HARDWARE:
            raise UsageError(
                f"--hardware-compatibility {self.hardware_compatibility}: expected one of {', '.join(HARDWARE)}"
            )
        for path in self.plugins:
            if not path.is_file():
                raise BadInput(f"{path}: no such plugin library")

    def recorded(self) -> dict[str, Any]:
        """The options that the manifest records; a plan is reused only if they are equal."""
        return {
            "profiles": [as_dict(profile) for profile in self.profiles],
            "tf32": self.tf32,
            "version_compatible": self.version_compatible,
            "hardware_compatibility": self.hardware_compatibility,
            "strip_plan": self.strip_plan,
        }


def parse_size(text: str, flag: str = "--workspace") -> int:
    """Bytes from text: 4G, 512M, 1.5GiB or a plain number; units are powers of 1024. Raises UsageError."""
    match = _SIZE.fullmatch(text.strip())
    size = round(float(match[1]) * 1024 ** " kmgt".index(match[2].lower() or " ")) if match else 0
    if not 0 < size < 1 << 50:
        raise UsageError(f"{flag} {text!r}: expected a size, as in 4G or 512M")
    return size
