"""Which layers stay in float, so that the outputs reach a signal-to-noise ratio.

The noises of single layers add (35.8 dB from the sum, 35.6 measured), so one run for each layer ranks them. Layers are
taken by noise for each multiplication until the sum of the others is small enough; the result is then measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rectexport.exporter.base.options import Int8
from rectexport.runtime.errors import BadInput, Option


@dataclass(frozen=True)
class LayerCost:
    """What a layer contributes: noise relative to the outputs' energy, and its share of all multiplications."""

    noise: float
    share: float


def choose_float(
    costs: Mapping[str, LayerCost], options: Int8, measure: Callable[[list[str]], float]
) -> dict[str, str]:
    """Layers that stay in float, with the reason for each.

    costs    of the layers that may be quantized, by name
    measure  from the layers that stay in float to the ratio in dB that the rest reaches

    Raises BadInput where options.min_snr takes more than options.float_budget of the multiplications.
    """
    assert options.min_snr is not None
    allowed = 10 ** (-options.min_snr / 10)
    order = sorted(costs, key=lambda name: -costs[name].noise / max(costs[name].share, 1e-12))
    kept: list[str] = []
    left, share = sum(entry.noise for entry in costs.values()), 0.0
    reached = measure(kept)
    for name in order:
        if reached >= options.min_snr:
            break
        if share + costs[name].share > options.float_budget:
            continue
        kept.append(name)
        left, share = left - costs[name].noise, share + costs[name].share
        if left <= allowed:  # the sum predicts that it is enough; measuring each step would take minutes
            reached = measure(kept)
    if reached < options.min_snr:
        reached = measure(kept)
    if reached < options.min_snr:
        raise BadInput(
            Option("min_snr", options.min_snr),
            f": {reached:.1f} dB are reached with {share:.1%} of the multiplications in float, of ",
            Option("float_budget", f"{options.float_budget:.0%}"),
            "; allow more, or ask for less",
        )
    why = f"its noise stands in the way of {options.min_snr:g} dB"
    return {name: f"{why}: alone it allows {_db(costs[name].noise)}" for name in kept}


def _db(noise: float) -> str:
    from math import log10

    return "no noise" if noise <= 0 else f"{-10 * log10(noise):.1f} dB"
