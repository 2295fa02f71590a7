"""The model zoo's registry: name -> how to build it and what it is.

The modules listed in `ZOO` register their networks by rows of a table; they are imported on first use, so
that importing a layer does not build the zoo.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from torch import nn

ZOO = ("resnet", "resnest", "vgg", "crelu_nets", "pvanet", "even_nets", "proportional", "dfn", "digits")
Build = Callable[..., nn.Module]
Options = dict[str, Any]


@dataclass(frozen=True)
class ModelEntry:
    """One network of the zoo.

    build takes keyword options and num_classes; defaults are the options that make it this network rather
    than another of its family. input_shape is the native (C, H, W), paper its source, uses the ideas that
    it is made of.
    """

    name: str
    build: Build
    input_shape: tuple[int, int, int]
    paper: str
    uses: tuple[str, ...]
    num_classes: int = 1000
    defaults: Options = field(default_factory=dict)

    def options(self) -> tuple[str, ...]:
        """Names of the options that create_model takes for this network, besides num_classes."""
        return tuple(name for name in inspect.signature(self.build).parameters if name != "num_classes")


_ENTRIES: dict[str, ModelEntry] = {}
_imported: set[str] = set()


def register(entry: ModelEntry) -> None:
    """Add a network. Raises ValueError if its name is taken."""
    if entry.name in _ENTRIES:
        owner = _ENTRIES[entry.name].build.__module__
        raise ValueError(f"model {entry.name!r} is already registered, by {owner}")
    _ENTRIES[entry.name] = entry


def _import_zoo() -> None:
    for module in ZOO:
        if module not in _imported:
            import_module(f"rectexport.models.networks.{module}")
            _imported.add(module)


def model_names() -> list[str]:
    """Names of all networks, in the zoo's order."""
    _import_zoo()
    return list(_ENTRIES)


def model_entry(name: str) -> ModelEntry:
    """The entry of a network. Raises ValueError that names the nearest if there is none."""
    _import_zoo()
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
