"""Call a module by the names of its inputs, where their order is not that of its forward."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from torch import nn

from rectexport.exporter.frontend.source import Source


class ByName(nn.Module):
    """Takes tensors in the order of names and gives them to the model by these names; see `by_name`."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model


def by_name(
    model: nn.Module, names: Sequence[str], constants: Mapping[str, Any] = MappingProxyType({}), by_place: int = 0
) -> nn.Module:
    """The model, taking its inputs in the order of `names`, the first `by_place` of which it takes by their place.

    constants are further keyword arguments, the same in every call. The new forward has the names as its parameters,
    which torch.export reads.
    """

    def forward(self: ByName, *values: Any, **given: Any) -> Any:
        named = {**dict(zip(names, values, strict=False)), **given}
        placed = [named.pop(name) for name in names[:by_place]]
        return self.model(*placed, **named, **constants)

    parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in ("self", *names)]
    forward.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    kind = type(type(model).__name__, (ByName,), {"forward": forward})  # in messages it is still the user's
    wrapped: nn.Module = kind(model)
    wrapped.training = model.training
    return wrapped


def named_parameters(model: nn.Module) -> list[inspect.Parameter]:
    """Parameters of a module's forward, none where they cannot be read."""
    try:
        return list(inspect.signature(model.forward).parameters.values())
    except (TypeError, ValueError):
        return []


def called_by_name(source: Source, names: Sequence[str]) -> Source:
    """The source itself, or one that takes its inputs in the order of `names`.

    Names that are not all parameters of forward are mere labels, and say nothing about the order.
    """
    if source.kind != "module":
        return source
    parameters = named_parameters(source.model)
    by_place = [entry.name for entry in parameters if entry.kind is entry.POSITIONAL_OR_KEYWORD]
    known = {entry.name for entry in parameters if entry.kind in (entry.POSITIONAL_OR_KEYWORD, entry.KEYWORD_ONLY)}
    if list(names) == by_place[: len(names)] or not known.issuperset(names):
        return source
    return replace(source, model=by_name(source.model, names))
