"""Statistics of a model version, in the protocol's form."""

from __future__ import annotations

from rectexport.runtime.serving.statistics import StatisticDuration, Statistics


def test_a_duration_counts_events_and_nanoseconds() -> None:
    duration = StatisticDuration()
    duration.add(0.5)
    duration.add(1.0, 3)
    assert duration.as_dict() == {"count": 4, "ns": 1_500_000_000}


def test_batches_are_counted_by_rows_and_requests_by_number() -> None:
    statistics = Statistics()
    statistics.ran(rows=3, seconds=0.25, requests=2, waited=0.5)
    statistics.ran(rows=3, seconds=0.25, requests=1, waited=0.0)
    statistics.ran(rows=1, seconds=0.5, requests=1, waited=0.0)
    found = statistics.as_dict("net", "2")
    assert (found["name"], found["version"], found["inference_count"], found["execution_count"]) == ("net", "2", 7, 3)
    assert found["last_inference"] > 0
    assert found["inference_stats"]["compute_infer"] == {"count": 4, "ns": 1_250_000_000}
    assert found["inference_stats"]["queue"] == {"count": 4, "ns": 500_000_000}
    sizes = [(entry["batch_size"], entry["compute_infer"]["count"]) for entry in found["batch_stats"]]
    assert sizes == [(1, 1), (3, 2)]


def test_clear_sets_every_count_to_zero() -> None:
    statistics = Statistics()
    statistics.ran(rows=3, seconds=0.25, requests=2, waited=0.5)
    statistics.success.add(1.0)
    statistics.clear()
    assert statistics == Statistics()
