"""Turn any network's zero-padded convolutions into rectified ones, and back.

A module is changed in place by replacing its class: it stays the same object with the same parameters, buffers,
hooks, parametrizations, device, dtype and training flag, so shared modules and optimizers keep working.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from rectexport.models.layers.geometry import BIAS_MODES, EMPTY, MODES, one_of, resolve_padding
from rectexport.models.layers.rectified import RectifiedConv1d, RectifiedConv2d, RectifiedConv3d

Predicate = Callable[[str, nn.Module], bool]


class LazyRectifiedConv1d(nn.LazyConv1d):
    """A RectifiedConv1d that takes its in_channels from the first input, as torch.nn.LazyConv1d does."""

    cls_to_become = RectifiedConv1d
    forward = RectifiedConv1d.forward


class LazyRectifiedConv2d(nn.LazyConv2d):
    """A RectifiedConv2d that takes its in_channels from the first input, as torch.nn.LazyConv2d does."""

    cls_to_become = RectifiedConv2d
    forward = RectifiedConv2d.forward


class LazyRectifiedConv3d(nn.LazyConv3d):
    """A RectifiedConv3d that takes its in_channels from the first input, as torch.nn.LazyConv3d does."""

    cls_to_become = RectifiedConv3d
    forward = RectifiedConv3d.forward


#: Classes that change into each other; a parametrized class is rebuilt on the other base.
TWINS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv1d: RectifiedConv1d,
    nn.Conv2d: RectifiedConv2d,
    nn.Conv3d: RectifiedConv3d,
    nn.LazyConv1d: LazyRectifiedConv1d,
    nn.LazyConv2d: LazyRectifiedConv2d,
    nn.LazyConv3d: LazyRectifiedConv3d,
}
#: Rectified convolutions, also those without weights yet; for isinstance.
RECTIFIED_OR_LAZY = tuple(TWINS.values())
_PLAIN = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class Report:
    """What `rectify` or `plain` did.

    changed lists every changed module, under each of its names; skipped lists modules that pad but were left alone,
    with the reason.
    """

    changed: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        lines = [f"{len(self.changed)} convolutions changed", *(f"  {name}" for name in self.changed)]
        lines += [f"{len(self.skipped)} left alone"] if self.skipped else []
        return "\n".join(lines + [f"  {name}: {reason}" for name, reason in self.skipped])


def rectify(
    model: nn.Module,
    *,
    mode: str = "sum",
    bias_mode: str = "after",
    empty: str = "bias",
    names: Sequence[str] = (),
    predicate: Predicate | None = None,
) -> Report:
    """Rectify, in place, every Conv1d, Conv2d and Conv3d of `model` that pads with zeros; the weights stay as they are.

    mode, bias_mode and empty as in RectifiedConv2d. names are module names or shell patterns ("layer1.*") and
    predicate takes (name, module): a convolution must satisfy both. Use bias_mode "after" for a convolution into
    which a BatchNorm was fused. Raises ValueError for an unknown option, a name that no module has (naming the
    nearest), or a TorchScript model, whose code cannot be changed.
    """
    one_of(mode, MODES, "mode"), one_of(bias_mode, BIAS_MODES, "bias_mode"), one_of(empty, EMPTY, "empty")
    options = {"mode": mode, "bias_mode": bias_mode, "empty": empty}

    def change(module: nn.Module) -> None:
        _change_class(module, TWINS)
        for option, value in options.items():
            setattr(module, option, value)

    return convert(model, names, predicate, _why_not_rectify, change)


def plain(model: nn.Module, *, names: Sequence[str] = (), predicate: Predicate | None = None) -> Report:
    """Turn rectified convolutions back into plain ones, in place; the weights stay as they are.

    names and predicate as in `rectify`. A convolution with unequal padding on opposite sides stays rectified,
    since torch's own do not support it. Raises ValueError for a name that no module has, or a TorchScript model.
    """

    def change(module: nn.Module) -> None:
        _change_class(module, {rectified: conv for conv, rectified in TWINS.items()})
        if _has_sides(module):
            module.padding = tuple(module.padding[-2::-2])  # type: ignore[index, assignment]
        for option in ("mode", "bias_mode", "empty"):
            delattr(module, option)

    return convert(model, names, predicate, _why_not_plain, change)


def convert(
    model: nn.Module,
    names: Sequence[str],
    predicate: Predicate | None,
    why_not: Callable[[nn.Module], str | None],
    change: Callable[[nn.Module], None],
) -> Report:
    """Change, in place, every chosen module for which why_not returns None.

    A module for which it returns a reason is reported as skipped; one for which it returns "" is not reported.
    Raises ValueError for a name that no module has, or a TorchScript model.
    """
    if isinstance(model, torch.jit.ScriptModule):
        raise ValueError("model: TorchScript cannot be changed; rectify the module before scripting or tracing it")
    modules = list(model.named_modules(remove_duplicate=False))
    _check_names(names, [name for name, _ in modules])
    changed: list[str] = []
    skipped: list[tuple[str, str]] = []
    verdicts: dict[int, str | None] = {}
    for name, module in modules:
        chosen = not names or any(fnmatchcase(name, pattern) for pattern in names)
        if not chosen or (predicate is not None and not predicate(name, module)):
            continue
        if id(module) not in verdicts:
            verdicts[id(module)] = why_not(module)
            if verdicts[id(module)] is None:
                change(module)
        verdict = verdicts[id(module)]
        if verdict is None:
            changed.append(name)
        elif verdict:
            skipped.append((name, verdict))
    return Report(tuple(changed), tuple(skipped))


def _check_names(patterns: Sequence[str], names: Sequence[str]) -> None:
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            nearest = get_close_matches(pattern, names, n=1, cutoff=0.0)[0]
            raise ValueError(f"names: no module {pattern!r}; the nearest is {nearest!r}")


def _base(module: nn.Module) -> type[nn.Module]:
    """The module's class, without the subclass that parametrization adds."""
    return type(module).__bases__[0] if parametrize.is_parametrized(module) else type(module)


def _has_sides(module: Any) -> bool:
    """Whether a rectified convolution has an amount of padding of its own for each side."""
    return not isinstance(module.padding, str) and len(module.padding) == 2 * len(module.kernel_size)


def _change_class(module: nn.Module, twins: dict[type[nn.Module], type[nn.Module]]) -> None:
    twin = twins[_base(module)]
    if parametrize.is_parametrized(module):
        members = {key: value for key, value in vars(type(module)).items() if key != "__dict__"}
        twin = type(f"Parametrized{twin.__name__}", (twin,), members)
    module.__class__ = twin


def _why_not_rectify(module: nn.Module) -> str | None:
    kind = type(module).__name__
    if isinstance(module, nn.modules.padding._ConstantPadNd):
        return f"{kind} pads outside of a convolution"
    if not isinstance(module, nn.modules.conv._ConvNd) or not _pads(module):
        return _may_pad(module)
    if isinstance(module, RECTIFIED_OR_LAZY):
        return "already rectified"
    if isinstance(module, torch.jit.ScriptModule) or not isinstance(module, _PLAIN):
        return f"{kind} has no rectified form"
    if _base(module) not in TWINS:
        return f"{kind} may compute something else than {_plain_kind(module).__name__}"
    if module.padding_mode != "zeros":
        return f"padding_mode is {module.padding_mode!r}: no zeros to rectify"
    return None


def _may_pad(module: nn.Module) -> str:
    """Why a convolution of other code is left alone whose padding is 0; "" for any other module.

    It may pad in its forward, as TensorFlow's "same" padding is computed from the input's size.
    """
    kind, weight = type(module), module._parameters.get("weight")
    if kind.__module__.startswith(("torch.", "rectexport.")) or weight is None or is_lazy(weight):
        return ""
    if not 3 <= weight.dim() <= 5 or set(weight.shape[2:]) == {1} or parametrize.is_parametrized(module):
        return ""
    if isinstance(module, _PLAIN):
        own = {name for base in kind.__mro__[: kind.__mro__.index(_plain_kind(module))] for name in vars(base)}
        return "" if own.isdisjoint(("forward", "_conv_forward")) else f"{kind.__name__} may pad in its forward"
    return f"{kind.__name__} has no rectified form, and may pad in its forward"


def _plain_kind(module: nn.Module) -> type[nn.Module]:
    """torch's convolution that a module is."""
    return next(kind for kind in _PLAIN if isinstance(module, kind))


def _why_not_plain(module: nn.Module) -> str | None:
    if not isinstance(module, RECTIFIED_OR_LAZY):
        return ""
    if _base(module) not in TWINS.values():
        return f"{type(module).__name__} may compute something else than Rectified{_plain_kind(module).__name__}"
    padding: Any = module.padding
    if _has_sides(module) and padding[::2] != padding[1::2]:
        return f"padding {padding} has no form in {_plain_kind(module).__name__}"
    return None


def _pads(module: nn.modules.conv._ConvNd) -> bool:
    if isinstance(module, _PLAIN):
        return any(resolve_padding(module.padding, module.kernel_size, module.stride, module.dilation))
    return module.padding == "same" or (not isinstance(module.padding, str) and any(module.padding))
