"""The TensorRT plans of a package: one file for each machine, and one entry in the manifest for each file.

A plan fits only the GPU, the TensorRT version and the model that it was built for, unless it was built to be
compatible with others. All of these are checked before TensorRT reads a plan, because a plan contains code.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from rectexport.runtime.base.files import sha256
from rectexport.runtime.base.texts import printable
from rectexport.runtime.engines.tensorrt import cuda
from rectexport.runtime.engines.tensorrt.profiles import Profile, from_dict
from rectexport.runtime.engines.tensorrt.versions import Api
from rectexport.runtime.errors import BadInput
from rectexport.runtime.package.folder import WEIGHTS, Package
from rectexport.runtime.package.manifest import FILE_NAME
from rectexport.runtime.package.schema import field_faults

#: Field of the manifest.
FIELD = "plans"
#: Most digits of each number in a version.
_DIGITS = 9
_AGAIN = "copy or export the package again"


@dataclass(frozen=True)
class Machine:
    """The properties of a machine that a plan depends on."""

    gpu: str
    compute_capability: tuple[int, int]
    tensorrt: tuple[int, int, int]
    cuda: tuple[int, int]

    @property
    def plan_name(self) -> str:
        """The plan's file name for this machine, as in model.nvidia-h100-80gb-hbm3.sm90.trt10.13.3.plan."""
        slug = re.sub(r"[^a-z0-9]+", "-", self.gpu.lower()).strip("-")[:80] or "gpu"
        return f"model.{slug}.sm{_join(self.compute_capability, '')}.trt{_join(self.tensorrt)}.plan"

    def describe(self) -> str:
        """GPU and TensorRT as text: NVIDIA H100 80GB HBM3 (9.0), TensorRT 10.13.3."""
        return f"{self.gpu} ({_join(self.compute_capability)}), TensorRT {_join(self.tensorrt)}"

    def as_dict(self) -> dict[str, str]:
        """Plain values, for the manifest."""
        return {
            "gpu": self.gpu,
            "compute_capability": _join(self.compute_capability),
            "tensorrt": _join(self.tensorrt),
            "cuda": _join(self.cuda),
        }


def model_hashes(package: Package) -> dict[str, str]:
    """What a plan is built from: the sha256 of TensorRT's model file, and of the weights where they lie beside it."""
    files = package.manifest.files
    found = {"model": files[package.model_name("tensorrt")]}
    if WEIGHTS in files:
        found["weights"] = files[WEIGHTS]
    return found


def this_machine(api: Api) -> Machine:
    """The machine that this process runs on. Raises as `cuda.driver` does."""
    driver = cuda.driver()
    return Machine(driver.gpu, driver.compute_capability, api.version, driver.version)


@dataclass(frozen=True)
class Plan:
    """A plan's entry in the manifest."""

    entry: dict[str, Any]

    @property
    def file(self) -> str:
        """The file's name in the package."""
        return str(self.entry["file"])

    @property
    def profiles(self) -> tuple[Profile, ...]:
        """The profiles that it was built for."""
        return tuple(from_dict(profile) for profile in self.entry["options"]["profiles"])

    @property
    def dla_core(self) -> int | None:
        """The accelerator of a Jetson that it was built for; None for the GPU."""
        core: int | None = self.entry["options"].get("dla_core")
        return core

    def mismatches(self, package: Package, machine: Machine, plugins: Sequence[Path]) -> list[str]:
        """The reasons why this plan does not fit the machine, the model or the plugins; empty if it fits."""
        entry = self.entry
        found = []
        if not self._runs_on(machine):
            built = f"{entry['gpu']} ({entry['compute_capability']})"
            found.append(f"it was built for {built}, but this is {machine.gpu} ({_join(machine.compute_capability)})")
        if not self._runs_in(machine.tensorrt):
            found.append(f"it was built by TensorRT {entry['tensorrt']}, but this is {_join(machine.tensorrt)}")
        hashes = model_hashes(package)
        if any(entry.get(key) != digest for key, digest in hashes.items()):
            found.append(f"it was built from another {package.model_name('tensorrt')}")
        present = {path.name: path for path in plugins}
        for plugin in entry["plugins"]:
            path = present.get(plugin["file"])
            if path is None:
                found.append(f"it needs the plugin library {plugin['file']}; say where it is with --plugins")
            elif sha256(path) != plugin["sha256"]:
                found.append(f"it was built with another {plugin['file']} than {path}")
        return found

    def _runs_on(self, machine: Machine) -> bool:
        level, built = self.entry["options"]["hardware_compatibility"], self.entry["compute_capability"]
        if level == "ampere+":
            return machine.compute_capability >= (8, 0)
        if level == "same-compute-capability":
            return built == _join(machine.compute_capability)
        return (self.entry["gpu"], built) == (machine.gpu, _join(machine.compute_capability))

    def _runs_in(self, version: tuple[int, int, int]) -> bool:
        built = tuple(int(part) for part in self.entry["tensorrt"].split("."))
        if self.entry["options"]["version_compatible"]:
            return built[0] == version[0] and built <= version
        return built == version

    def read(self, package: Package) -> bytes:
        """The plan's bytes. Raises BadInput unless their hash is the manifest's: TensorRT would run a changed plan."""
        return read_plan(package, self.entry, build_command(package))


def read_plan(package: Package, entry: dict[str, Any], command: str) -> bytes:
    """The bytes of an engine's file. Raises BadInput unless their hash is the manifest's; command builds the file."""
    path = package.path / entry["file"]
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}); build it again: {command}") from None
    actual = hashlib.sha256(data).hexdigest()
    if actual != entry["sha256"] or actual != package.manifest.files.get(entry["file"]):
        raise BadInput(
            f"{path}: sha256 {actual[:12]}… where the manifest says {str(entry['sha256'])[:12]}…: a plan is "
            f"code, so it was not loaded; build it again: {command} --rebuild"
        )
    return data


def plans_of(package: Package) -> list[Plan]:
    """The plans that the manifest lists. Raises BadInput for entries that violate its schema."""
    document = package.manifest.data
    if FIELD not in document:
        return []
    wrong = next(field_faults(document, FIELD), None) or next(filter(None, map(_fault, document[FIELD])), None)
    if wrong:
        raise BadInput(f"{package.path / FILE_NAME}: {FIELD}: not a list of plans ({wrong}); {_AGAIN}")
    return [Plan(entry) for entry in document[FIELD]]


def _fault(entry: dict[str, Any]) -> str | None:
    """A fault of an entry that the schema cannot express, or None."""
    name = entry["file"]
    if PurePosixPath(name).name != name or not name.isprintable():
        return f"not a plain file name: {name!r:.80}"
    if not all(entry["options"]["profiles"]):
        return "a profile without inputs"
    if max(map(len, entry["tensorrt"].split("."))) > _DIGITS:
        return f"not a version: {entry['tensorrt']:.80}"
    return None


def find_plan(package: Package, machine: Machine, plugins: Sequence[Path] = ()) -> Plan:
    """The newest plan that fits. Raises BadInput that says why each plan does not fit, and how to build one."""
    reasons = []
    for plan in reversed(plans_of(package)):
        wrong = plan.mismatches(package, machine, plugins)
        if not wrong:
            return plan
        reasons.append(f"{plan.file}: {printable('; '.join(wrong))}")
    why = f"holds no TensorRT plan for {machine.describe()}"
    listed = f" ({' · '.join(reasons)})" if reasons else ""
    raise BadInput(
        f"{package.path}: {why}{listed}; build one here: {build_command(package)}, or load with rebuilding allowed"
    )


def build_command(package: Package) -> str:
    """The command that builds a plan for this machine."""
    return f"rectexport build {package.path} --trt"


def _join(numbers: Sequence[int], separator: str = ".") -> str:
    return separator.join(map(str, numbers))
