"""The trial of a candidate: proven in the settings that it is timed with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rectexport.runtime.base.runner import Array
from rectexport.runtime.errors import ParityError
from rectexport.runtime.package.folder import Package
from rectexport.runtime.timing.inputs import timed_inputs
from rectexport.runtime.tuning import trial
from rectexport.runtime.tuning.plan import work as make_plan
from rectexport.runtime.tuning.trial import allowed_distance, check_replay, work
from tests.runtime.engines.tensorrt.machines import Machine


def spec_of(package: Path, engine: str, **settings: Any) -> dict[str, Any]:
    inputs = [[spec.name, spec.dtype, list(spec.shape)] for spec in timed_inputs(Package.open(package).manifest, None)]
    return {"package": str(package), "engine": engine, "threads": 1, "streams": 1, "inputs": inputs, **settings}


def test_an_engine_of_the_cpu(exported: Path) -> None:
    answer = work(spec_of(exported, "onnxruntime", layout="plain"))
    assert answer["snr"] > 80 and answer["description"].endswith("plain layout")


@pytest.mark.parametrize("graphs", [False, True])
def test_a_plan_is_compared_with_and_without_graphs(machine: Machine, package: Path, graphs: bool) -> None:
    pytest.importorskip("polygraphy")
    make_plan({"package": str(package), "batches": [4]})
    answer = work(spec_of(package, "tensorrt", threads=0, cuda_graphs=graphs))
    assert answer["snr"] > 80 and answer["description"].startswith("TensorRT 10.13.3")
    assert (machine.gpu.launches > 0) == graphs
    assert not machine.gpu.memory and not machine.gpu.handles


class Stale:
    """An engine whose graph goes on with the values that it was recorded with."""

    description = "a stale engine"

    def __init__(self, package: Package, recorded_after: int) -> None:
        self.goldens, self.left = package.goldens(), recorded_after

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        self.left -= 1
        outputs = self.goldens[1]
        return {name: np.zeros_like(value) for name, value in outputs.items()} if self.left < 0 else dict(outputs)


def test_a_graph_that_replays_old_values_is_refused(exported: Path) -> None:
    package = Package.open(exported)
    runner: Any = Stale(package, recorded_after=2)
    with pytest.raises(ParityError, match=r"backend cuda: a stale engine disagrees .*: relative L2 .*, allowed 1e-04"):
        check_replay(package, runner, "cuda")
    right: Any = Stale(package, recorded_after=1 + trial.WARM_UP)
    check_replay(package, right, "cuda")


def test_the_bound_is_that_of_the_plan(machine: Machine, package: Path) -> None:
    pytest.importorskip("polygraphy")
    make_plan({"package": str(package), "batches": [4]})
    opened = Package.open(package)
    assert allowed_distance(opened, "tensorrt") == 1e-4
    opened.manifest.data["plans"][0]["parity"]["allowed"] = 5e-3
    assert allowed_distance(opened, "tensorrt") == 5e-3 and allowed_distance(opened, "cuda") == 1e-4
