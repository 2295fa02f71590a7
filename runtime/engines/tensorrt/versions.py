"""Which TensorRT is here, what it can do, and why it cannot be used.

8.6 (JetPack 5, and what PyPI serves without NVIDIA's index), 10.x and 11.x differ in these places only; everything
else asks this module. From 10 on networks are strongly typed here: precision stands in the ONNX graph, and 11 knows
nothing else. Before, precision is a builder flag, and TensorRT is held to the layers' types.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

from rectexport.runtime.base.environment import require, version
from rectexport.runtime.base.messages import first_line
from rectexport.runtime.engines.tensorrt import cuda
from rectexport.runtime.errors import MissingDependency, RectexportError

Version = tuple[int, int, int]

OLDEST: Version = (8, 6, 0)
#: Since then a loaded plugin goes before a function of the same name in the ONNX file.
PLUGIN_FIRST: Version = (10, 7, 0)
#: --hardware-compatibility -> TensorRT's name for it.
HARDWARE = {"none": "NONE", "ampere+": "AMPERE_PLUS", "same-compute-capability": "SAME_COMPUTE_CAPABILITY"}
#: Distribution -> the CUDA major version that it is built for.
_WHEELS = {f"{name}{major}": major for name in ("tensorrt-cu", "tensorrt-lean-cu") for major in (11, 12, 13)}


@dataclass(frozen=True)
class Api:
    """One installed TensorRT: its module, and what differs between versions."""

    module: ModuleType
    version: Version

    @property
    def text(self) -> str:
        """10.13.3."""
        return ".".join(map(str, self.version))

    @property
    def strongly_typed(self) -> bool:
        """Whether precision comes from the graph; it comes from builder flags otherwise."""
        return self.version >= (10, 0, 0)

    @property
    def bfloat16(self) -> bool:
        """Whether bfloat16 exists."""
        return hasattr(self.module, "bfloat16")

    @property
    def plugin_first(self) -> bool:
        """Whether a loaded plugin replaces an ONNX function of its name."""
        return self.version >= PLUGIN_FIRST

    @property
    def progress(self) -> bool:
        """Whether a build reports its phases and can be cancelled."""
        return hasattr(self.module, "IProgressMonitor")

    def network_flags(self) -> int:
        """Flags of create_network: strong typing where precision comes from the graph, explicit batch before 10."""
        flag = self.module.NetworkDefinitionCreationFlag
        return 1 << int(flag.STRONGLY_TYPED if self.strongly_typed else flag.EXPLICIT_BATCH)

    def hardware(self, name: str) -> Any:
        """The enumerator of a --hardware-compatibility value; None when this version has none."""
        return getattr(self.module.HardwareCompatibilityLevel, HARDWARE[name], None)

    def set_preview(self, config: Any, feature: str) -> bool:
        """Switch a preview feature on where this version has it; whether it has."""
        found = getattr(self.module.PreviewFeature, feature, None)
        if found is not None:
            config.set_preview_feature(found, True)
        return found is not None

    def builder_flag(self, name: str) -> Any:
        """A BuilderFlag, None when this version has none of that name."""
        return getattr(self.module.BuilderFlag, name, None)


def load() -> Api:
    """The TensorRT of this machine, with a GPU to use it on. Raises MissingDependency that says what is missing."""
    api = installed()
    found = cuda.driver()
    needed = next((major for wheel, major in _WHEELS.items() if version(wheel)), None)
    if needed is not None and found.version[0] < needed:
        major, minor = found.version
        raise MissingDependency(
            f"the NVIDIA driver is too old: it knows CUDA {major}.{minor}, and TensorRT {api.text} here is built for "
            f"CUDA {needed}; update the driver, or pip install 'tensorrt-cu{major}'"
        )
    return api


def installed() -> Api:
    """The TensorRT that Python finds, whether there is a GPU or not. Raises MissingDependency."""
    try:
        module = import_module("tensorrt")
    except Exception as error:  # a wheel that lacks its libraries raises anything from ImportError to RuntimeError
        raise MissingDependency(
            f"TensorRT cannot be imported here ({first_line(error)}); install it with: pip install 'rectexport[gpu]' "
            "(on a Jetson it comes with JetPack: make the environment with python3 -m venv --system-site-packages)"
        ) from None
    major, minor, patch, *_ = [*(int(part) for part in re.findall(r"\d+", module.__version__)), 0, 0, 0]
    found = (major, minor, patch)
    if found < OLDEST:
        raise MissingDependency(
            f"TensorRT {module.__version__} is too old: 8.6, 10.x and 11.x are supported; "
            "upgrade it (a Jetson: JetPack 5.1.3 or newer)"
        )
    return Api(module, found)


def require_builder() -> None:
    """What building takes besides TensorRT. Raises MissingDependency."""
    require("polygraphy")


def absence() -> str | None:
    """Why TensorRT cannot be used here, in one line; None when it can."""
    try:
        load()
    except RectexportError as error:
        return str(error)
    return None
