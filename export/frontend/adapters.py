"""Built-in adapters: third-party modules and their replacements. No third-party package is imported.

A module is recognized by its answers on random inputs (`probing.py`), whatever its class is called: a replacement is
taken only where it answers as the module does. Attributes only tell which replacements to try. A module that does not
run here cannot be compared; RFConv's, whose kernels have to be compiled, is then replaced by its attributes. Any other
module stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from rectexport.exporter.frontend.probing import Probe
from rectexport.models.layers.crelu import CReLU
from rectexport.models.layers.geometry import BIAS_MODES, EMPTY, MODES, pair, per_axis
from rectexport.models.layers.rectified import RECTIFIED
from rectexport.models.layers.symmetric import SymmetricConv2d, SymmetricPad2d
from rectexport.models.layers.symmetry import ORDERS, REMAINDERS

Adapter = Callable[[nn.Module], nn.Module | None]


@dataclass(frozen=True)
class Adaptation:
    """A replacement of a module.

    note      for the user, beside the replacement
    deviates  whether the module's own answers differ by a known fault, so that they cannot be the reference
    """

    module: nn.Module
    note: str = ""
    deviates: bool = False


@dataclass(frozen=True)
class LeftAlone:
    """A module that looks like one of ours and is exported as it stands, with the reason."""

    reason: str


_RFCONV = (
    "RFConv's own code deviates: it miscounts taps with dilation for kernel sizes other than 3, gives NaN where no tap "
    "is valid, and on a CPU rectifies only the first N·C_in planes"
)
_NOT_RUN = f"it does not run here and could not be compared; exported as defined in the paper; {_RFCONV}"
_PLANES = "exported as defined in the paper: the module rectifies only the first N·C_in planes of its output"
_NANS = "exported as defined in the paper: the module gives NaN where no tap is valid"
_GEOMETRY = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")


def recognize(module: nn.Module) -> Adaptation | LeftAlone | None:
    """What takes the place of a third-party module; None for one that has nothing to do with our layers."""
    if _owns_weight(module):
        return _convolution(module)
    if any(True for _ in (*module.parameters(recurse=False), *module.buffers(recurse=False))):
        return None
    convs = [child for child in module.modules() if isinstance(child, nn.Conv2d)]
    if len(convs) == 1:
        return _symmetric(module, convs[0]) if _only_parameters_of(module, convs[0]) else None
    return None if any(True for _ in (*module.parameters(), *module.buffers())) else _elementwise(module)


def _owns_weight(module: nn.Module) -> bool:
    weight = module._parameters.get("weight")
    return isinstance(weight, nn.Parameter) and not is_lazy(weight) and 3 <= weight.dim() <= 5


def _only_parameters_of(module: nn.Module, conv: nn.Module) -> bool:
    own = {id(value) for value in (*conv.parameters(), *conv.buffers())}
    return all(id(value) in own for value in (*module.parameters(), *module.buffers()))


def _convolution(module: Any) -> Adaptation | LeftAlone | None:
    """A convolution with a forward of its own: rectified, symmetric, or something else.

    Its parameters must be those of a convolution: a module that has others computes more.
    """
    if not all(hasattr(module, name) for name in _GEOMETRY) or set(module._parameters) - {"weight", "bias"}:
        return None
    if _runs_as_torchs(type(module)):
        return None
    rfconv = hasattr(module, "rectify") and hasattr(module, "average")
    marked = rfconv or hasattr(module, "slide_winsize")
    try:
        count = module.weight.dim() - 2
        names = ("kernel_size", "stride", "dilation")
        kernel, stride, dilation = (per_axis(getattr(module, name), count, name) for name in names)
        probe = Probe(module, _shapes(module.in_channels, kernel, stride, dilation))
        if not probe.answers:
            return _not_compared(module, rfconv)
        plain = _plain(module)
        if not marked and probe.agrees(plain):
            return None
        return (
            _rectified(module, probe, rfconv)
            or _symmetric_of(module, probe)
            or (
                LeftAlone("its answers are those of no convolution of ours")
                if marked and not probe.agrees(plain)
                else None
            )
        )
    except (TypeError, ValueError):  # attributes of those names that are no convolution's
        return None


def _runs_as_torchs(kind: type[Any]) -> bool:
    """Whether a class is one of torch's convolutions that computes nothing else."""
    return any(
        issubclass(kind, base) and kind.forward is base.forward and kind._conv_forward is base._conv_forward
        for base in (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    )


def _not_compared(module: Any, rfconv: bool) -> Adaptation | LeftAlone | None:
    if not rfconv:
        return None
    if getattr(module, "padding_mode", "zeros") != "zeros":
        return LeftAlone(f"it does not run here, and its padding_mode is {module.padding_mode!r}: no zeros to rectify")
    mode = "average" if module.average else "sum"
    return Adaptation(_like(module, mode=mode, bias_mode="inside"), _NOT_RUN, deviates=True)


def _shapes(
    channels: int, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> Iterator[tuple[int, ...]]:
    """Inputs with corners, edges and interior; with fewer elements than the kernel spans; of one element."""
    spans = [step * (taps - 1) + 1 for step, taps in zip(dilation, kernel, strict=True)]
    last = len(spans) - 1
    yield 2, channels, *(span + 2 + (axis == last) for axis, span in enumerate(spans))
    yield 3, channels, *(2 * span + stride[axis] + (axis == last) for axis, span in enumerate(spans))
    yield 1, channels, *(max(span // 2 if axis == last else span - 1, 1) for axis, span in enumerate(spans))
    yield 1, channels, *(1,) * len(spans)


def _plain(module: Any, bias: bool = True) -> Callable[[Tensor], Tensor]:
    def call(value: Tensor) -> Tensor:
        weight, shift = module.weight.to(value.dtype), module.bias if bias else None
        shift = None if shift is None else shift.to(value.dtype)
        convolve = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}[weight.dim()]
        return convolve(value, weight, shift, module.stride, module.padding, module.dilation, module.groups)

    return call


def _rectified(module: Any, probe: Probe, rfconv: bool) -> Adaptation | None:
    if getattr(module, "padding_mode", "zeros") != "zeros":
        return None
    options = [
        {"mode": mode, "bias_mode": bias, "empty": empty} for empty, bias, mode in product(EMPTY, BIAS_MODES, MODES)
    ]
    for chosen in options:
        new = _like(module, **chosen)
        if probe.agrees(new):
            how = ", ".join(f"{name} {value!r}" for name, value in chosen.items())
            return Adaptation(new, how if probe.finite else f"{how}; {_NANS}", deviates=not probe.finite)
    if not rfconv or module.in_channels == module.out_channels:
        return None
    for chosen in options:
        new = _like(module, **chosen)
        if probe.agrees(_first_planes(module, new)):
            return Adaptation(new, _PLANES if probe.finite else f"{_PLANES}; {_NANS}", deviates=True)
    return None


def _first_planes(module: Any, rectified: nn.Module) -> Callable[[Tensor], Tensor]:
    """RFConv's answer on a CPU: its kernel counts planes of the input, and leaves later ones of the output plain."""

    def call(value: Tensor) -> Tensor:
        answer, full = _plain(module)(value), _in(rectified, value)
        planes = value.shape[0] * value.shape[1]
        flat = answer.flatten(0, 1).clone()
        flat[:planes] = full.flatten(0, 1)[:planes]
        return flat.view_as(answer)

    return call


def _in(module: nn.Module, value: Tensor) -> Tensor:
    parameters = {key: entry.to(value.dtype) for key, entry in module.named_parameters()}
    answer: Tensor = torch.func.functional_call(module, parameters, (value,))
    return answer


def _like(module: Any, **options: str) -> nn.Module:
    """A rectified convolution that shares the window and the parameters of another convolution."""
    new: Any = RECTIFIED[module.weight.dim() - 3](
        module.in_channels,
        module.out_channels,
        module.kernel_size,
        module.stride,
        module.padding,
        module.dilation,
        module.groups,
        module.bias is not None,
        device="meta",
        **options,
    )
    new.weight, new.bias = module.weight, module.bias
    replacement: nn.Module = new
    return replacement


def _symmetric_of(module: Any, probe: Probe) -> Adaptation | None:
    """A convolution with an even kernel over symmetric padding."""
    if module.weight.dim() != 4:
        return None
    kernel = pair(module.kernel_size, "kernel_size")
    if kernel not in ((2, 2), (4, 4)):
        return None
    for order, remainder in product(reversed(ORDERS), ("error", *reversed(REMAINDERS[:2]))):
        if remainder == "error" and module.in_channels % 4:
            continue
        with torch.device("meta"):
            new = SymmetricConv2d(
                module.in_channels,
                module.out_channels,
                kernel[0],
                module.stride,
                module.groups,
                module.bias is not None,
                order=order,
                remainder=remainder,
            )
        new.weight, new.bias = module.weight, module.bias
        if probe.agrees(new):
            return Adaptation(new)
    return None


def _symmetric(module: nn.Module, conv: nn.Conv2d) -> Adaptation | None:
    """A module that pads, then convolves by its only convolution, as EL-NAS's Spconv2d does."""
    if conv is module or conv.kernel_size not in ((2, 2), (4, 4)) or conv.dilation != (1, 1) or not _owns_weight(conv):
        return None
    return _symmetric_of(conv, Probe(module, [(1, conv.in_channels, 5, 6), (2, conv.in_channels, 7, 4)]))


def _elementwise(module: nn.Module) -> Adaptation | None:
    """A module without parameters: a CReLU, around an activation of its own perhaps, or a SymmetricPad2d."""
    inner = [child for child in module.modules() if child is not module]
    probe = Probe(module, [(2, 3, 4, 5), (1, 4, 6, 7), (1, 11, 5, 6), (2, 8, 4, 3)])
    if not probe.answers or all(answer.shape == value.shape for value, answer in probe.answers):
        return None
    activations: list[Callable[[Tensor], Tensor]] = [F.relu, *inner]
    candidates: list[nn.Module] = [CReLU(activation, dim) for activation in activations for dim in (1, -1)]
    if not inner:
        choices = product((2, 4), reversed(ORDERS), reversed(REMAINDERS[:2]))
        candidates += [SymmetricPad2d(*choice) for choice in choices]
    return next((Adaptation(candidate) for candidate in candidates if probe.agrees(candidate)), None)
