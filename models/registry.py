"""Networks by name: list them, look one up, build one. Only building imports PyTorch."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rectexport.models.catalog import ENTRIES, ModelEntry

if TYPE_CHECKING:
    from torch import nn


def by_name(entries: Iterable[ModelEntry]) -> dict[str, ModelEntry]:
    """Entries by their names. Raises ValueError that names both builders if a name occurs twice."""
    found: dict[str, ModelEntry] = {}
    for entry in entries:
        if entry.name in found:
            builders = f"{found[entry.name].builder} and {entry.builder}"
            raise ValueError(f"two networks have the name {entry.name!r}: {builders}")
        found[entry.name] = entry
    return found


_ENTRIES = by_name(ENTRIES)


def model_names() -> list[str]:
    """Names of all networks, in the order of the catalog."""
    return list(_ENTRIES)


def model_entry(name: str) -> ModelEntry:
    """The entry of a network. Raises ValueError that names the nearest if the name is unknown."""
    if name in _ENTRIES:
        return _ENTRIES[name]
    nearest = difflib.get_close_matches(name, _ENTRIES, n=1, cutoff=0.0)
    raise ValueError(f"unknown model {name!r}: did you mean {nearest[0]!r}? There are {len(_ENTRIES)} models")


def create_model(name: str, num_classes: int | None = None, **options: Any) -> nn.Module:
    """Build a network with fresh weights from torch's random state.

    options override the entry's defaults; `model_entry(name).options()` lists them. Raises ValueError for an
    unknown name (naming the nearest), an unknown option (naming those allowed), or an option's bad value.
    """
    entry = model_entry(name)
    unknown = [option for option in options if option not in entry.options()]
    if unknown:
        allowed = ", ".join((*entry.options(), "num_classes"))
        raise ValueError(f"{name} has no option {', '.join(map(repr, unknown))}: it takes {allowed}")
    classes = entry.num_classes if num_classes is None else num_classes
    return entry.build(num_classes=classes, **{**entry.defaults, **options})
