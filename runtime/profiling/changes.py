"""Two profiles by module: where the time went, what fused, what split."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from rectexport.runtime.profiling.profile import LayerTime, Profile

FUSED, SPLIT, SAME, GONE, NEW = "fused", "split", "", "gone", "new"


@dataclass(frozen=True)
class Change:
    """One module in two profiles.

    seconds, base     of one run, of the profile and of the one that it is compared with
    layers, base_layers  names of the engine's layers, without reorders
    what              FUSED (fewer layers), SPLIT (more), NEW, GONE, or SAME
    reorders, base_reorders  how many conversions between layouts belong to it
    """

    module: str
    seconds: float
    base: float
    layers: tuple[str, ...]
    base_layers: tuple[str, ...]
    reorders: int
    base_reorders: int

    @property
    def what(self) -> str:
        """What became of its layers."""
        count, before = len(self.layers), len(self.base_layers)
        if not count or not before:
            return SAME if count == before else (NEW if count else GONE)
        return FUSED if count < before else SPLIT if count > before else SAME

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "module": self.module,
            "ms": self.seconds * 1e3,
            "base_ms": self.base * 1e3,
            "what": self.what,
            "layers": list(self.layers),
            "base_layers": list(self.base_layers),
            "reorders": self.reorders,
            "base_reorders": self.base_reorders,
        }


def changes(found: Profile, base: Profile) -> list[Change]:
    """Every module of either profile, the one whose time changed most first."""
    mine, theirs = _by_module(found), _by_module(base)
    rows = [_change(module, mine.get(module, []), theirs.get(module, [])) for module in dict.fromkeys([*mine, *theirs])]
    return sorted(rows, key=lambda row: -abs(row.seconds - row.base))


def _by_module(profile: Profile) -> dict[str, list[LayerTime]]:
    found: dict[str, list[LayerTime]] = defaultdict(list)
    for layer in profile.layers:
        found[layer.module].append(layer)
    return found


def _change(module: str, mine: list[LayerTime], theirs: list[LayerTime]) -> Change:
    return Change(
        module,
        sum(layer.seconds for layer in mine),
        sum(layer.seconds for layer in theirs),
        tuple(layer.name for layer in mine if not layer.reorder),
        tuple(layer.name for layer in theirs if not layer.reorder),
        sum(layer.reorder for layer in mine),
        sum(layer.reorder for layer in theirs),
    )
