"""The program of a profiling process: `python -m rectexport.runtime.profiling.worker SPEC`, SPEC a JSON object:

    package   folder of a package
    backend   onnxruntime, openvino or tensorrt
    threads   how many threads a CPU engine may use
    inputs    [[name, dtype, shape], ...]
    warm_up   runs that are not counted
    seconds   how long to run
    phases    true: note the resident memory by phase instead of profiling, which takes memory itself

Answers a Sampled, or {"phases": {name: bytes}, "description"}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rectexport.runtime.base.environment import require
from rectexport.runtime.base.runner import BackendOptions, TensorSpec
from rectexport.runtime.engines.backends import choose_backend
from rectexport.runtime.package.folder import Package
from rectexport.runtime.profiling.memory import Phases
from rectexport.runtime.profiling.process import answer
from rectexport.runtime.profiling.sampled import Sampled
from rectexport.runtime.timing.models import Feeds
from rectexport.runtime.timing.worker import random_feeds

#: Phases in order: the interpreter with the engine's library, the model, its first runs, later runs.
START, LOAD, WARM_UP, RUN = "start", "load", "warm-up", "run"
PHASES = (START, LOAD, WARM_UP, RUN)


def work(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """Do what the spec says."""
    package = Package.open(spec["package"])
    feeds = random_feeds([TensorSpec(name, dtype, tuple(shape)) for name, dtype, shape in spec["inputs"]])
    if spec.get("phases"):
        return _phases(package, spec, feeds)
    return _sampled(package, spec, feeds).as_dict()


def _sampled(package: Package, spec: Mapping[str, Any], feeds: Sequence[Feeds]) -> Sampled:
    threads, warm_up, seconds = spec["threads"], spec["warm_up"], spec["seconds"]
    if spec["backend"] == "tensorrt":
        from rectexport.runtime.profiling.tensorrt_profile import profile_tensorrt

        return profile_tensorrt(package, feeds, warm_up, seconds)
    model = package.model_for(spec["backend"])
    if spec["backend"] == "openvino":
        from rectexport.runtime.profiling.openvino_profile import profile_openvino

        names = [entry.name for entry in package.manifest.outputs]
        return profile_openvino(model, names, feeds, threads, warm_up, seconds)
    from rectexport.runtime.profiling.onnxruntime_profile import profile_onnxruntime

    return profile_onnxruntime(model, feeds, threads, warm_up, seconds)


def _phases(package: Package, spec: Mapping[str, Any], feeds: Sequence[Feeds]) -> Mapping[str, Any]:
    require(spec["backend"])  # the module has the backend's name
    phases = Phases()
    phases.end(START)
    options = BackendOptions(threads=spec["threads"], streams=spec.get("streams", 0))
    runner, choice = choose_backend(package, spec["backend"], options, prove=False)
    try:
        phases.end(LOAD)
        for index in range(max(spec["warm_up"], 1)):
            runner.run(feeds[index % len(feeds)])
        phases.end(WARM_UP)
        for entry in feeds:
            runner.run(entry)
        phases.end(RUN)
    finally:
        runner.close()
    return {"phases": phases.as_dict(), "description": choice.description}


if __name__ == "__main__":
    answer(work)
