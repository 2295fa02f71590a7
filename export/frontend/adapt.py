"""Replace third-party modules by ours before tracing, where they answer alike.

    @register_adapter("package.module.Class")
    def _(module):
        return RectifiedConv2d(...)

A registered adapter is chosen by its class's name. It takes the module and returns its replacement, or None to leave it
unchanged. The built-in ones (`adapters.py`) know modules by their answers.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from rectexport.exporter.frontend.adapters import Adaptation, Adapter, LeftAlone, recognize
from rectexport.exporter.frontend.masked import may_take_a_mask, recognize_masked, takes_a_mask
from rectexport.exporter.frontend.source import Source, in_eval_mode, independent_copy
from rectexport.runtime.errors import BadInput, UsageError

_REGISTERED: dict[str, tuple[Adapter, str]] = {}
#: Packages none of whose modules are replaced.
_KNOWN = ("rectexport.", "torch.", "torchvision.")


@dataclass(frozen=True)
class Swap:
    """A module that was replaced: its path in the model, both class names, and a note for the user."""

    path: str
    before: str
    after: str
    note: str = ""

    def __str__(self) -> str:
        return f"{self.path or 'the model'}: {self.before} → {self.after}" + (f" ({self.note})" if self.note else "")


@dataclass
class Adapted:
    """What became of a model.

    model      a copy with every replacement, or the model itself
    reference  a copy in which only modules with known faults are replaced; the model itself where there are none
    swaps      one entry for each replaced module
    left       lines about modules that look like ours and were left as they are
    """

    model: nn.Module
    reference: nn.Module
    swaps: list[Swap] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def register_adapter(name: str, note: str = "") -> Callable[[Adapter], Adapter]:
    """Register a function that returns our layer for a module of somebody else's class; a decorator.

    name  the class by module and qualified name, as in "mylib.layers.DoubleReLU"; * stands for any run of characters
    note  written to the export log beside each swap

    The function takes the module and returns the one that replaces it, with the same answers. Registered adapters are
    tried before the built-in ones. Raises UsageError when the name is already registered.
    """

    def register(function: Adapter) -> Adapter:
        if name in _REGISTERED:
            raise UsageError(f"adapter {name}: already registered; call unregister_adapter({name!r}) first")
        _REGISTERED[name] = (function, note)
        return function

    return register


def unregister_adapter(name: str) -> None:
    """Remove a registered adapter. Raises UsageError for a name that is not registered."""
    if name not in _REGISTERED:
        raise UsageError(f"adapter {name}: not registered; registered: {', '.join(_REGISTERED) or 'none'}")
    del _REGISTERED[name]


def adapt_source(source: Source, examples: Sequence[Any] | None = None) -> tuple[Source, list[str]]:
    """Adapt the module of a source, and say what was done, one line for each module.

    Sources of other kinds hold no modules and are returned unchanged. examples are the inputs as arrays; with them it
    is known how each module is called. The answers of the module as it was given are the reference, wherever it runs.
    """
    if source.kind != "module":
        return source, []
    tensors = None if examples is None else [torch.tensor(array) for array in examples]
    done = adapt(source.model, tensors)
    lines = [f"adapted {swap}" for swap in done.swaps] + done.left
    return (replace(source, model=done.model, reference=done.reference) if done.swaps else source), lines


def adapt(model: nn.Module, examples: Sequence[Tensor] | None = None) -> Adapted:
    """Replace third-party modules that answer as ours do in a copy of the model.

    Modules that are used in several places stay shared, and so do parameters. `model` is not changed. Raises BadInput,
    with the module's path, for one whose hooks a replacement would lose.
    """
    found: dict[str, Adaptation] = {}
    left = []
    given, model = model, independent_copy(model) if _REGISTERED else model  # a registered adapter may change a module
    for path, module in model.named_modules():
        what = _recognized(module)
        if isinstance(what, LeftAlone):
            left.append(f"left as it is: {path or 'the model'}: {_name(module)}: {what.reason}")
        elif what is not None:
            found[path] = what
    masked = [path for path, module in model.named_modules() if not _known(module) and may_take_a_mask(module)]
    calls, runs = _calls(model, {*found, *masked}, examples)
    for path in [path for path in masked if path in calls and all(map(takes_a_mask, calls[path]))]:
        layer = recognize_masked(model.get_submodule(path), calls.pop(path))
        if layer is not None:
            found[path], calls[path] = layer, []
        elif path in found:
            calls[path] = [((), {})]
    for path in [path for path in found if not all(_one_tensor(call) for call in calls.get(path, ()))]:
        del found[path]
        name = _name(model.get_submodule(path))
        left.append(f"left as it is: {path or 'the model'}: {name}: it is called with more than one tensor")
    if not found:
        return Adapted(given, given, left=left)
    for path in found:
        _check_hooks(path, model.get_submodule(path))
    swaps = [
        Swap(path, _name(model.get_submodule(path)), type(entry.module).__name__, entry.note)
        for path, entry in found.items()
    ]
    adapted = _replaced(model, found)
    if not runs:
        return Adapted(adapted, adapted, swaps, left)
    deviating = {path: entry for path, entry in found.items() if entry.deviates}
    return Adapted(adapted, _replaced(model, deviating) if deviating else given, swaps, left)


def _recognized(module: nn.Module) -> Adaptation | LeftAlone | None:
    name = _name(module)
    if _known(module):
        return None
    for pattern, (function, note) in _REGISTERED.items():
        if fnmatchcase(name, pattern):
            new = function(module)
            return None if new is None else Adaptation(new, note)
    return recognize(module)


def _known(module: nn.Module) -> bool:
    return _name(module).startswith(_KNOWN)


def _replaced(model: nn.Module, found: dict[str, Adaptation]) -> nn.Module:
    """A copy of the model with the replacements, which share parameters with it as the modules did."""
    copied = independent_copy(model)
    twins = dict(zip(map(id, model.parameters()), copied.parameters(), strict=True))
    replacements: dict[nn.Module, nn.Module] = {}
    for path, entry in found.items():
        old = copied.get_submodule(path)
        new = copy.deepcopy(
            entry.module, {id(value): twins.get(id(value), value) for value in entry.module.parameters()}
        )
        new.train(old.training)
        replacements[old] = new
    for parent in list(copied.modules()):
        for name, child in parent._modules.items():
            if child in replacements:
                parent._modules[name] = replacements[child]
    return replacements.get(copied, copied)


def _calls(
    model: nn.Module, found: Collection[str], examples: Sequence[Tensor] | None
) -> tuple[dict[str, list[tuple[Any, Any]]], bool]:
    """How each of the modules is called when the model runs on the examples, and whether it runs."""
    calls: dict[str, list[tuple[Any, Any]]] = {}
    if not found or examples is None:
        return calls, examples is None
    copied = in_eval_mode(independent_copy(model))
    for path in found:
        copied.get_submodule(path).register_forward_pre_hook(
            lambda module, args, kwargs, path=path: calls.setdefault(path, []).append((args, kwargs)), with_kwargs=True
        )
    try:
        with torch.no_grad():
            copied(*examples)
    except Exception:  # third-party code may raise anything; then the adapted model is all that there is
        return calls, False
    return calls, True


def _one_tensor(call: tuple[Any, Any]) -> bool:
    args, kwargs = call
    given = [value for value in (*args, *kwargs.values()) if value is not None]
    return len(given) == 1 and isinstance(given[0], Tensor) and len(args) > 0 and args[0] is given[0]


def _check_hooks(path: str, module: nn.Module) -> None:
    if module._forward_hooks or module._forward_pre_hooks:
        raise BadInput(
            f"{path or 'the model'}: {_name(module)} has hooks, which its replacement would lose; remove them"
        )


def _name(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"
