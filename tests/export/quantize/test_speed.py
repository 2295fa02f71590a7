"""Comparing the times of int8 and float32."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import onnx
import pytest

from rectexport.exporter.quantize import speed
from rectexport.exporter.quantize.speed import compare_speed, speed_of
from rectexport.runtime.base.runner import TensorSpec
from rectexport.runtime.timing.process import Contestant
from rectexport.runtime.timing.stopwatch import Race, Timing
from tests.export.quantize.nets import rectified_net


def timing(milliseconds: float) -> Timing:
    launches = tuple(launch for launch in range(6) for _ in range(3))
    return Timing(tuple(milliseconds * 1e-3 * (1 + 0.01 * launch) for launch in launches), launches)


def test_the_ratio_is_that_of_int8_to_float() -> None:
    found = speed_of(timing(1.0), timing(2.0))
    assert found.ratio == pytest.approx(0.5) and found.faster and found.low <= 0.5 <= found.high
    assert found.int8_ms == pytest.approx(1.025) and found.float_ms == pytest.approx(2.05)
    assert not speed_of(timing(2.0), timing(2.0)).faster
    assert found.describe().startswith("int8 takes 0.50 of the time of float32 (")


def test_each_model_is_a_contestant_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quantized, seen = tmp_path / "int8.onnx", {}

    def race(contestants: Sequence[Contestant], how: Race, tick: Callable[[int], None]) -> dict[str, Timing]:
        for entry in contestants:
            seen[entry.name] = (Path(entry.spec["model"]), Path(entry.spec["model"]).exists(), entry.spec["inputs"])
        tick(how.launches)
        return {speed.INT8: timing(1.0), speed.FLOAT: timing(2.0)}

    monkeypatch.setattr(speed.stopwatch, "race", race)
    onnx.save(rectified_net(), quantized)
    ticks: list[tuple[int, int]] = []
    inputs = [TensorSpec("x", "float32", (8, 3, 8, 8))]
    found = compare_speed("onnxruntime", quantized, rectified_net(), inputs, lambda *told: ticks.append(told[:2]))
    assert found.ratio == pytest.approx(0.5) and ticks == [(6, 6)]
    assert seen[speed.INT8] == (quantized, True, [["x", "float32", [8, 3, 8, 8]]])
    assert seen[speed.FLOAT][0] != quantized and seen[speed.FLOAT][1]


def test_the_stopwatch_takes_both_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real processes, for as short a time as an interval needs."""
    monkeypatch.setattr(speed, "HOW", Race(seconds=0.01, warm_up=0.0, launches=6, burst=0.001))
    onnx.save(rectified_net(), tmp_path / "int8.onnx")
    inputs = [TensorSpec("x", "float32", (8, 3, 8, 8))]
    found = compare_speed("onnxruntime", tmp_path / "int8.onnx", rectified_net(), inputs, lambda *_: None)
    assert found.low <= found.ratio <= found.high and found.int8_ms > 0 and found.float_ms > 0
