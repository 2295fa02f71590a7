"""The installed TensorRT: its version, what it supports, and why it cannot be used.

All differences between 8.6 (JetPack 6.0, and PyPI without NVIDIA's index), 10.x and 11.x are in this module. From 10 on
we build strongly typed networks, whose precision is in the ONNX graph; 11 supports no others. Before 10, precision is
a builder flag, and TensorRT must be told to obey the layers' types.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

from rectexport.runtime.base.engine_errors import first_line
from rectexport.runtime.base.environment import require, version
from rectexport.runtime.engines.tensorrt import cuda
from rectexport.runtime.errors import MissingDependency, RectexportError

Version = tuple[int, int, int]

OLDEST: Version = (8, 6, 0)
#: TensorRT for RTX: the oldest version, and the version of TensorRT whose interface it has.
RTX_OLDEST: Version = (1, 5, 0)
RTX_INTERFACE: Version = (11, 0, 0)
#: The first version that reads ONNX functions, and the first in which a loaded plugin takes precedence over an ONNX
#: function of the same name; from 10.15 it does so only with the parser flag ENABLE_PLUGIN_OVERRIDE.
LOCAL_FUNCTIONS: Version = (9, 0, 0)
PLUGIN_FIRST: Version = (10, 7, 0)
#: The versions [NO_DLA, DLA_AGAIN) are for no DLA ("Working with DLA" in the documentation of 11.4.1).
NO_DLA: Version = (10, 8, 0)
DLA_AGAIN: Version = (11, 4, 1)
#: --hardware-compatibility -> TensorRT's name for it.
HARDWARE = {"none": "NONE", "ampere+": "AMPERE_PLUS", "same-compute-capability": "SAME_COMPUTE_CAPABILITY"}
#: Distribution -> the CUDA major version that it is built for.
_WHEELS = {f"{name}{major}": major for name in ("tensorrt-cu", "tensorrt-lean-cu") for major in (11, 12, 13)}
_RTX_WHEELS = {f"tensorrt-rtx-cu{major}": major for major in (12, 13)}


@dataclass(frozen=True)
class Api:
    """An installed TensorRT: its module, and the differences between versions.

    rtx: TensorRT for RTX, which has version numbers of its own and the interface of TensorRT 11. It builds without a
    GPU, for RTX GPUs that are named, and takes no plugins.
    """

    module: ModuleType
    version: Version
    rtx: bool = False

    @property
    def text(self) -> str:
        """The version as text behind "TensorRT", as in 10.13.3."""
        return ("for RTX " if self.rtx else "") + ".".join(map(str, self.version))

    @property
    def _interface(self) -> Version:
        """The version of TensorRT whose interface it has."""
        return RTX_INTERFACE if self.rtx else self.version

    @property
    def strongly_typed(self) -> bool:
        """Whether precision comes from the graph and not from builder flags."""
        return self._interface >= (10, 0, 0)

    @property
    def only_strongly_typed(self) -> bool:
        """Whether it has no builder flags for precision."""
        return self._interface >= (11, 0, 0)

    @property
    def dla(self) -> bool:
        """Whether releases of this version build for a Jetson's DLA; without one, they do not either."""
        return not self.rtx and (self.version < NO_DLA or self.version >= DLA_AGAIN)

    @property
    def bfloat16(self) -> bool:
        """Whether this version supports bfloat16."""
        return hasattr(self.module, "bfloat16")

    @property
    def local_functions(self) -> bool:
        """Whether the parser reads ONNX functions of the model."""
        return self._interface >= LOCAL_FUNCTIONS

    @property
    def plugin_first(self) -> bool:
        """Whether a loaded plugin replaces an ONNX function of the same name, with the parser flags of a build."""
        return self._interface >= PLUGIN_FIRST

    @property
    def progress(self) -> bool:
        """Whether a build reports its phases and can be cancelled."""
        return hasattr(self.module, "IProgressMonitor")

    def network_flags(self, strongly_typed: bool = True) -> int:
        """Flags for create_network: strong typing where this version has it, explicit batch otherwise."""
        flag = self.module.NetworkDefinitionCreationFlag
        return 1 << int(flag.STRONGLY_TYPED if self.strongly_typed and strongly_typed else flag.EXPLICIT_BATCH)

    def hardware(self, name: str) -> Any:
        """The enumerator of a --hardware-compatibility value; None if this version lacks it."""
        return getattr(self.module.HardwareCompatibilityLevel, HARDWARE[name], None)

    def set_preview(self, config: Any, feature: str) -> bool:
        """Turn a preview feature on if this version has it; returns whether it has."""
        found = getattr(self.module.PreviewFeature, feature, None)
        if found is not None:
            config.set_preview_feature(found, True)
        return found is not None

    def parser_flag(self, name: str) -> Any:
        """The OnnxParserFlag of that name; None if this version lacks it."""
        return getattr(self.module.OnnxParserFlag, name, None)

    def builder_flag(self, name: str) -> Any:
        """The BuilderFlag of that name; None if this version lacks it."""
        return getattr(self.module.BuilderFlag, name, None)


def load() -> Api:
    """The installed TensorRT, on a machine with a GPU. Raises MissingDependency that names what is missing."""
    return _with_driver(installed(), _WHEELS)


def load_rtx() -> Api:
    """The installed TensorRT for RTX, on a machine with a GPU. Raises MissingDependency that names what is missing."""
    return _with_driver(installed_rtx(), _RTX_WHEELS)


def load_any() -> Api:
    """TensorRT; TensorRT for RTX where that alone is installed. Raises MissingDependency as `load` does."""
    try:
        return load()
    except MissingDependency as error:
        try:
            installed_rtx()
        except MissingDependency:
            raise error from None
    return load_rtx()


def _with_driver(api: Api, wheels: Mapping[str, int]) -> Api:
    """The API, if the driver is new enough for the wheel that it comes from. Raises MissingDependency."""
    found = cuda.driver()
    wheel, needed = next(((name, major) for name, major in wheels.items() if version(name)), ("", 0))
    if found.version[0] < needed:
        major, minor = found.version
        raise MissingDependency(
            f"the NVIDIA driver is too old: it supports CUDA {major}.{minor}, but TensorRT {api.text} is built for "
            f"CUDA {needed}; update the driver, or pip install '{wheel.removesuffix(str(needed))}{major}'"
        )
    return api


def installed() -> Api:
    """The installed TensorRT, also without a GPU. Raises MissingDependency."""
    try:
        module = import_module("tensorrt")
    except Exception as error:  # a wheel that lacks its libraries raises anything from ImportError to RuntimeError
        raise MissingDependency(
            f"TensorRT cannot be imported here ({first_line(error)}); install it with: pip install 'rectexport[gpu]' "
            "(on a Jetson it comes with JetPack: make the environment with python3 -m venv --system-site-packages)"
        ) from None
    found = _version(module)
    if found < OLDEST:
        raise MissingDependency(
            f"TensorRT {module.__version__} is too old: 8.6, 10.x and 11.x are supported; "
            "upgrade it (a Jetson: JetPack 6 or newer)"
        )
    return Api(module, found)


def installed_rtx() -> Api:
    """The installed TensorRT for RTX, also without a GPU. Raises MissingDependency."""
    try:
        module = import_module("tensorrt_rtx")
    except Exception as error:  # as in installed()
        raise MissingDependency(
            f"TensorRT for RTX cannot be imported here ({first_line(error)}); install it with: "
            "pip install 'rectexport[rtx]'"
        ) from None
    found = _version(module)
    if found < RTX_OLDEST:
        raise MissingDependency(
            f"TensorRT for RTX {module.__version__} is too old: 1.5 or newer is supported; "
            "pip install --upgrade tensorrt-rtx-cu13"
        )
    return Api(module, found, rtx=True)


def _version(module: ModuleType) -> Version:
    major, minor, patch, *_ = [*(int(part) for part in re.findall(r"\d+", module.__version__)), 0, 0, 0]
    return major, minor, patch


def require_builder() -> None:
    """Raise MissingDependency unless the libraries for building are installed."""
    require("polygraphy")


def no_plans() -> str | None:
    """Why this machine cannot build plans and run them, None if it can; TensorRT for RTX has no plans."""
    try:
        load()
        require_builder()
    except RectexportError as error:
        return str(error)
    return None


def absence() -> str | None:
    """Why neither TensorRT nor TensorRT for RTX can be used on this machine, None if one of them can."""
    try:
        load_any()
    except RectexportError as error:
        return str(error)
    return None
