"""Replace third-party modules by ours before tracing, chosen by their class name.

    @register_adapter("package.module.Class")
    def _(module):
        return RectifiedConv2d(...)

An adapter takes the module and returns its replacement, or None to leave it unchanged.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from torch import nn

from rectexport.exporter.frontend.adapters import BUILT_IN, Adaptation, Adapter
from rectexport.exporter.frontend.source import Source
from rectexport.runtime.errors import BadInput, UsageError

_REGISTERED: dict[str, Adaptation] = {}


@dataclass(frozen=True)
class Swap:
    """A module that was replaced: its path in the model, both class names, and a note for the user."""

    path: str
    before: str
    after: str
    note: str = ""

    def __str__(self) -> str:
        return f"{self.path or 'the model'}: {self.before} → {self.after}" + (f" ({self.note})" if self.note else "")


def register_adapter(name: str, note: str = "") -> Callable[[Adapter], Adapter]:
    """Register a function for a class by module and qualified name; * stands for any run of characters.

    Registered adapters are tried before the built-in ones. note is written to the export log beside each swap.
    Raises UsageError when the name is already registered.
    """

    def register(function: Adapter) -> Adapter:
        if name in _REGISTERED:
            raise UsageError(f"adapter {name}: already registered; call unregister_adapter({name!r}) first")
        _REGISTERED[name] = Adaptation(function, note)
        return function

    return register


def unregister_adapter(name: str) -> None:
    """Remove a registered adapter. Raises UsageError for a name that is not registered."""
    if name not in _REGISTERED:
        raise UsageError(f"adapter {name}: not registered; registered: {', '.join(_REGISTERED) or 'none'}")
    del _REGISTERED[name]


def adapt_source(source: Source) -> tuple[Source, list[Swap]]:
    """Adapt the module of a source. Sources of other kinds hold no modules and are returned unchanged."""
    if source.kind != "module":
        return source, []
    model, swaps = adapt(source.model)
    return (replace(source, model=model) if swaps else source), swaps


def adapt(model: nn.Module) -> tuple[nn.Module, list[Swap]]:
    """A copy of the model with known third-party modules replaced, and one Swap per replaced module.

    Modules that are used in several places stay shared, and so do parameters. `model` is not changed; it is
    returned itself when nothing was replaced. Raises BadInput, with the module's path, for one that cannot be exported.
    """
    if not any(_adaptation(module) for module in model.modules()):
        return model, []
    copied = copy.deepcopy(model)
    replacements: dict[nn.Module, nn.Module] = {}
    swaps = []
    for path, module in copied.named_modules():
        adaptation = _adaptation(module)
        new = None if adaptation is None else _replacement(path, module, adaptation)
        if adaptation is not None and new is not None:
            replacements[module] = new.train(module.training)
            swaps.append(Swap(path, _name(module), type(new).__name__, adaptation.note))
    for parent in list(copied.modules()):
        for name, child in parent._modules.items():
            if child in replacements:
                parent._modules[name] = replacements[child]
    return (replacements.get(copied, copied), swaps) if swaps else (model, [])


def _replacement(path: str, module: nn.Module, adaptation: Adaptation) -> nn.Module | None:
    if module._forward_hooks or module._forward_pre_hooks:
        raise BadInput(
            f"{path or 'the model'}: {_name(module)} has hooks, which its replacement would lose; remove them"
        )
    try:
        return adaptation.function(module)
    except BadInput as error:
        raise BadInput(f"{path or 'the model'}: {error}") from None


def _adaptation(module: nn.Module) -> Adaptation | None:
    name = _name(module)
    if name.startswith(("rectexport.", "torch.nn.")):
        return None
    for table in (_REGISTERED, BUILT_IN):
        for pattern, adaptation in table.items():
            if fnmatchcase(name, pattern):
                return adaptation
    return None


def _name(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"
