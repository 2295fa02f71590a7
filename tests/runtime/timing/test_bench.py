"""The pairs that are compared, and the document; with made-up times."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from rectexport.runtime.base.runner import TensorSpec
from rectexport.runtime.errors import UsageError
from rectexport.runtime.package.folder import Package
from rectexport.runtime.package.manifest import Manifest
from rectexport.runtime.timing.bench import MOST_SAMPLES, BenchOptions, run_bench, thinned, too_slow
from rectexport.runtime.timing.entrants import Entrant, match, package_entrants, short_names
from rectexport.runtime.timing.stopwatch import Race, Timing

LAUNCHES = 8
SAID = {"description": "an engine", "timer": "a clock", "transfers": "none"}


def inputs(batch):
    return [TensorSpec("x", "float32", (batch, 3))]


class FakeStopwatch:
    """Each contestant takes its given time, with a variation for each launch."""

    def __init__(self, luck=0.001, **seconds):
        self.luck, self.seconds, self.asked = luck, seconds, []

    def __call__(self, contestants, how, tick):
        self.asked.append(contestants)
        tick(how.launches)
        times = {}
        for entry in contestants:
            name = entry.name.partition(",")[0]
            luck = self.luck * np.cos(np.pi * np.arange(how.launches)) * (name == "mine")  # good and bad in turn
            rounds = self.seconds[name] * np.exp(luck)
            samples = np.repeat(rounds, 300)
            times[entry.name] = Timing(tuple(rounds), tuple(range(how.launches)), tuple(samples), SAID)
        return times


def entrants(*names, backend="engine"):
    return [Entrant(name, backend, {"model": name}) for name in names]


def document(stopwatch, bound=None, batches=(1,), mine=("mine",), base=("base",)):
    options = BenchOptions(Race(1.0, launches=LAUNCHES), (50.0, 99.9), bound)
    found = match(entrants(*mine), entrants(*base))
    return run_bench("out/net", found, [inputs(batch) for batch in batches], options, stopwatch=stopwatch)


@pytest.mark.parametrize(
    ("ratio", "luck", "bound", "verdict", "passed"),
    [
        (1.10, 0.001, 0.05, "slower", False),
        (1.10, 0.001, None, "slower", True),
        (1.04, 0.001, 0.05, "slower", True),
        (1.10, 0.2, 0.05, "no difference", True),  # as slow as the first, but not surely so
        (1.00, 0.001, 0.0, "no difference", True),
        (0.90, 0.001, 0.0, "faster", True),
    ],
)
def test_only_a_whole_interval_beyond_the_bound_fails(ratio, luck, bound, verdict, passed):
    found = document(FakeStopwatch(luck, mine=0.01 * ratio, base=0.01), bound)
    (entry,) = found["comparisons"]
    assert (entry["verdict"], found["passed"]) == (verdict, passed)
    assert entry["low"] <= entry["ratio"] <= entry["high"]
    assert [entry] == too_slow(found["comparisons"], bound) or passed


def test_the_document():
    stopwatch = FakeStopwatch(mine=0.02, base=0.01)
    found = json.loads(json.dumps(document(stopwatch, batches=(1, 8))))
    assert found["package"] == "out/net" and isinstance(found["warnings"], list)
    assert {"processor", "cores", "clocks", "loadavg_before", "load_meanwhile", "gpus"} <= set(found["machine"])
    assert {"python", "numpy"} <= set(found["versions"])
    expected = {"duration_s": 1.0, "launches": LAUNCHES, "percentiles": [50.0, 99.9], "transfers": "included"}
    assert expected.items() <= found["settings"].items()
    rows = found["contestants"]
    assert [(row["name"], row["backend"], row["batch"]) for row in rows] == [
        ("mine", "engine", 1), ("base", "engine", 1), ("mine", "engine", 8), ("base", "engine", 8),
    ]  # fmt: skip
    row = rows[2]
    assert row["shape"] == {"x": [8, 3]} and SAID.items() <= row.items()
    for name in ("median_ms", "p50_ms", "p90_ms", "p99_ms", "p99.9_ms"):
        assert row[name] == pytest.approx(20, rel=0.01)
    assert row["throughput"] == pytest.approx(8 / 0.02, rel=0.01)
    assert row["runs"] == 300 * LAUNCHES and len(row["samples_ms"]) == MOST_SAMPLES
    assert len(row["rounds_ms"]) == LAUNCHES and row["launch_of_round"] == list(range(LAUNCHES))
    assert [entry["batch"] for entry in found["comparisons"]] == [1, 8]
    assert found["comparisons"][0]["ratio"] == pytest.approx(2, rel=0.01)
    (asked, _), _ = stopwatch.asked
    assert asked.spec == {"model": "mine", "inputs": [["x", "float32", [1, 3]]]}


def test_alone_there_is_nothing_to_compare():
    found = document(FakeStopwatch(mine=0.01), 0.05, base=())
    assert found["comparisons"] == [] and found["passed"]


def test_pairs_are_made_by_backend():
    a, b = (Entrant("mine", backend, {}) for backend in ("a", "b"))
    base_a, base_b, torch = Entrant("base", "a", {}), Entrant("base", "b", {}), Entrant("net.pt", "torch", {})
    assert match([a, b], [base_b, base_a]).pairs == ((a, base_a), (b, base_b))
    assert match([a, b], [torch]).pairs == ((a, torch), (b, torch))
    assert match([a, b]).pairs == ((b, a),)
    assert match([a, b], [torch]).entrants == (a, b, torch)
    assert match([a]).pairs == ()


def test_backends_of_a_package():
    package = Package(Path("net"), Manifest((), (), {}, {}, {}))
    found = package_entrants(package, "net", ["openvino", "onnxruntime"], {"threads": 3})
    assert [entry.key for entry in found] == ["net, openvino", "net, onnxruntime"]
    assert found[0].spec == {"package": str(Path("net").absolute()), "threads": 3, "engine": "openvino"}
    for wrong in (["tpu"], ["auto"], ["torch"], ["openvino", "openvino"]):
        with pytest.raises(UsageError, match=f"--backend {wrong[0]}"):
            package_entrants(package, "net", wrong, {})


def test_names_that_tell_two_packages_apart():
    assert short_names(Path("out/a"), Path("out/b")) == ("a", "b")
    assert short_names(Path("x/net"), Path("y/net")) == ("x/net", "y/net")
    assert short_names(Path("x/net"), Path("x/../x/net")) == ("net", "net again")


def test_thinning_keeps_order_and_ends():
    assert thinned([3.0, 1.0], 5) == [3.0, 1.0]
    kept = thinned([float(value) for value in range(1000)], 10)
    assert len(kept) == 10 and kept == sorted(kept) and (kept[0], kept[-1]) == (0.0, 999.0)
