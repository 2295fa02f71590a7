"""Which layers stay in float: the noisiest for their work, no more than needed, within the budget."""

from __future__ import annotations

import math

import pytest

from rectexport.exporter.base.options import Int8
from rectexport.exporter.quantize.sensitivity import LayerCost, choose_float
from rectexport.runtime.errors import BadInput

COSTS = {
    "cheap": LayerCost(1e-3, 0.01),
    "dear": LayerCost(1e-3, 0.5),
    "quiet": LayerCost(1e-5, 0.2),
    "small": LayerCost(1e-4, 0.02),
}


def measure(kept: list[str]) -> float:
    noise = sum(entry.noise for name, entry in COSTS.items() if name not in kept)
    return -10 * math.log10(noise) if noise else math.inf


def test_nothing_stays_where_the_bound_is_met() -> None:
    assert choose_float(COSTS, Int8(None, min_snr=26), measure) == {}


def test_the_layer_with_most_noise_for_its_work_stays_first() -> None:
    found = choose_float(COSTS, Int8(None, min_snr=29), measure)
    assert list(found) == ["cheap"] and "30.0 dB" in found["cheap"]


def test_a_larger_budget_reaches_more() -> None:
    found = choose_float(COSTS, Int8(None, min_snr=39, float_budget=0.6), measure)
    assert {"cheap", "dear"} <= set(found)


def test_a_bound_beyond_the_budget_is_refused_with_what_is_reached() -> None:
    with pytest.raises(BadInput, match=r"30\.0 dB are reached with 3\.0% .* in float, of float_budget='5%'"):
        choose_float(COSTS, Int8(None, min_snr=39), measure)
