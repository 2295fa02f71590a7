"""Recognize third-party layers of masked partial convolution, which take features and their mask.

Published layers differ in their numerator, in whether the bias is scaled, and in whether a mask has one channel or one
for each of the input's; their names and attributes do not say which. A layer is replaced by the `MaskedConv*d` that
gives its answers, features and next mask, on random features with masks that are thin, half full, full and empty.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from rectexport.exporter.frontend.adapters import Adaptation
from rectexport.exporter.frontend.probing import CLOSE
from rectexport.exporter.frontend.source import in_eval_mode
from rectexport.models.layers.geometry import BIAS_MODES
from rectexport.models.layers.masked import MASKED, NUMERATORS

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
#: Shares of known values in the masks that are tried, the second and the last with an empty half.
_SHARES = (0.1, 0.5, 0.8, 1.0)


class FeaturesOnly(nn.Module):
    """A masked convolution without its next mask, which takes the mask by position or by any name."""

    def __init__(self, conv: nn.Module, both: bool = False) -> None:
        super().__init__()
        self.conv, self.both = conv, both

    def forward(self, input: Tensor, *masks: Tensor, **named: Tensor) -> Any:
        """[N, C_in, …] and its mask -> [N, C_out, …], and the next mask where `both`."""
        (mask,) = (*masks, *named.values())
        answer = self.conv(input, mask)
        return answer if self.both else answer[0]


def may_take_a_mask(module: nn.Module) -> bool:
    """Whether a module is a convolution, or has one and a convolution of ones as its parts."""
    return _convolution(module) is not None


def takes_a_mask(call: tuple[Any, Any]) -> bool:
    """Whether a call gives two tensors, the second with one channel or those of the first, and its sizes."""
    args, kwargs = call
    given = [value for value in (*args, *kwargs.values()) if value is not None]
    if len(given) != 2 or not args or not all(isinstance(value, Tensor) for value in given):
        return False
    x, mask = given
    return x.dim() == mask.dim() > 2 and mask.shape[1] in (1, x.shape[1]) and x.shape[2:] == mask.shape[2:]


def recognize_masked(module: nn.Module, calls: Sequence[tuple[Any, Any]]) -> Adaptation | None:
    """The masked convolution of ours that answers as a layer does; None where none does. Each call takes a mask."""
    conv = _convolution(module)
    channels = {[*args, *kwargs.values()][1].shape[1] for args, kwargs in calls}
    if conv is None or len(channels) != 1:
        return None
    mask_channels = channels.pop()
    named = any(kwargs for _, kwargs in calls)
    cases = _cases(conv, mask_channels)
    wanted = _answers(module, cases)
    if wanted is None:
        return None
    both = isinstance(wanted[0], tuple)
    many = (True, False) if mask_channels == 1 == conv.in_channels else (mask_channels > 1,)
    for multi, numerator, bias_mode in product(many, NUMERATORS, BIAS_MODES if conv.bias is not None else ("after",)):
        new = _like(conv, multi, numerator, bias_mode)
        replacement = new if both and not named else FeaturesOnly(new, both)
        got = _answers(replacement, cases)
        if got is not None and all(_equal(one, other) for one, other in zip(got, wanted, strict=True)):
            return Adaptation(replacement, f"multi_channel {multi}, numerator {numerator!r}, bias_mode {bias_mode!r}")
    return None


def _convolution(module: nn.Module) -> Any:
    """The convolution whose weights a layer has."""
    weight = module._parameters.get("weight")
    if isinstance(module, _CONVOLUTIONS):
        return None if weight is None or is_lazy(weight) else module
    parts = [child for child in module.children() if isinstance(child, _CONVOLUTIONS)]
    if len(parts) != 2 or len(list(module.children())) != 2 or any(is_lazy(part.weight) for part in parts):
        return None
    counting = [bool((part.weight == 1).all()) and part.bias is None for part in parts]
    return parts[counting.index(False)] if sorted(counting) == [False, True] else None


def _cases(conv: Any, mask_channels: int) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    spans = [step * (taps - 1) + 1 for step, taps in zip(conv.dilation, conv.kernel_size, strict=True)]
    found = []
    for index, share in enumerate(_SHARES):
        size = [2 * span + 3 + axis + index % 2 for axis, span in enumerate(spans)]
        x = torch.randn(2, conv.in_channels, *size, generator=generator, dtype=torch.float64)
        mask = (torch.rand(2, mask_channels, *size, generator=generator, dtype=torch.float64) < share).double()
        if index % 2:
            mask[..., size[-1] // 2 :] = 0
        found.append((x, mask))
    return found


def _answers(module: nn.Module, cases: Sequence[tuple[Tensor, Tensor]]) -> list[Any] | None:
    try:
        own = in_eval_mode(copy.deepcopy(module).double())
        with torch.no_grad():
            found = [own(x.clone(), mask.clone()) for x, mask in cases]
    except Exception:  # third-party code may raise anything
        return None
    kinds = {len(answer) if isinstance(answer, tuple) else 0 for answer in found}
    tensors = all(isinstance(part, Tensor) for answer in found for part in _parts(answer))
    return [copy.deepcopy(answer) for answer in found] if tensors and kinds in ({0}, {2}) else None


def _parts(answer: Any) -> tuple[Any, ...]:
    return answer if isinstance(answer, tuple) else (answer,)


def _equal(one: Any, other: Any) -> bool:
    pairs = list(zip(_parts(one), _parts(other), strict=False))
    if isinstance(one, tuple) != isinstance(other, tuple) or any(a.shape != b.shape for a, b in pairs):
        return False
    close = CLOSE[torch.float64]
    return all(torch.allclose(a, b.to(a.dtype), rtol=close, atol=close * float(b.abs().max())) for a, b in pairs)


def _like(conv: Any, multi_channel: bool, numerator: str, bias_mode: str) -> nn.Module:
    """A masked convolution that shares the window and the parameters of a convolution."""
    new: Any = MASKED[len(conv.kernel_size) - 1](
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,
        conv.stride,
        conv.padding,
        conv.dilation,
        conv.groups,
        conv.bias is not None,
        device="meta",
        multi_channel=multi_channel,
        numerator=numerator,
        bias_mode=bias_mode,
    )
    new.weight, new.bias = conv.weight, conv.bias
    replacement: nn.Module = new
    return replacement
