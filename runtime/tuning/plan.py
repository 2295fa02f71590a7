"""The program that builds a TensorRT plan before a search: `python -m rectexport.runtime.tuning.plan SPEC`.

SPEC is {"package", "batches"}. A plan that fits this machine is taken as it is; else one is built in the package, with
a profile for each batch, and compared with the goldens. The answer is {"file", "profiles"}, the profiles as --profile
takes them, or an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rectexport.runtime.engines.tensorrt import versions
from rectexport.runtime.engines.tensorrt.building.building import ensure_plan, plugins_of
from rectexport.runtime.engines.tensorrt.options import BuildOptions
from rectexport.runtime.engines.tensorrt.plans import Plan, find_plan, this_machine
from rectexport.runtime.engines.tensorrt.profiles import batch_profiles, flag_of
from rectexport.runtime.errors import BadInput
from rectexport.runtime.package.folder import Package
from rectexport.runtime.profiling.process import answer


def work(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """The plan of the package. Raises as `versions.load`, `batch_profiles` and `ensure_plan` do."""
    plan = _plan(Package.open(spec["package"]), spec["batches"])
    return {"file": plan.file, "profiles": [flag_of(profile) for profile in plan.profiles]}


def _plan(package: Package, batches: list[int]) -> Plan:
    api = versions.load()
    plugins = plugins_of(package, ())
    try:
        return find_plan(package, this_machine(api), plugins)
    except BadInput:
        profiles = batch_profiles(package.manifest.inputs, batches)
        return ensure_plan(package.path, BuildOptions(profiles, plugins=plugins), api).plan


if __name__ == "__main__":
    answer(work)
