"""Built-in adapters: third-party modules and their replacements. No third-party package is imported.

A key is the class's module and qualified name, with * for any run of characters. Published code is copied from
repository to repository, so most keys match any module name. The adapter then checks the module's attributes or,
where several different layers share a name (five are called CReLU), its outputs on random inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rectexport.models.layers.crelu import CReLU
from rectexport.models.layers.rectified import RectifiedConv2d
from rectexport.models.layers.symmetric import SymmetricConv2d, SymmetricPad2d
from rectexport.models.layers.symmetry import ORDERS, REMAINDERS
from rectexport.runtime.errors import BadInput

Adapter = Callable[[nn.Module], nn.Module | None]


@dataclass(frozen=True)
class Adaptation:
    """An adapter, and a note for the user about the replacement."""

    function: Adapter
    note: str = ""


class MasklessPartialConv2d(RectifiedConv2d):
    """PartialConv2d called without a mask. [N, C_in, H, W] -> [N, C_out, H_out, W_out].

    Raises BadInput when it is given a mask: a partial convolution over holes is another operator.
    """

    def forward(self, input: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is not None:
            raise BadInput(
                "PartialConv2d is called with a mask, which makes its factor depend on the data; only the form "
                "without a mask (partial convolution based padding) can be exported"
            )
        return super().forward(input)


def rfconv(module: Any) -> nn.Module | None:
    """zhanghang1989/RFConv RFConv2d: rectifies the bias too; active with average_mode or padding.

    Raises BadInput for a padding mode other than zeros.
    """
    if not hasattr(module, "rectify") or not hasattr(module, "average"):
        return None  # another class of that name, which searches for dilations
    if module.padding_mode != "zeros":
        raise BadInput(f"RFConv2d has padding_mode={module.padding_mode!r}; only 'zeros' can be rectified")
    mode = "average" if module.average else "sum"
    return _like(module, RectifiedConv2d, mode=mode, bias_mode="inside")


def partialconv(module: Any) -> nn.Module | None:
    """NVIDIA/partialconv PartialConv2d (also imaginaire's) without a mask: mode "sum", 0 where no tap is valid.

    Raises BadInput when the module returns its mask.
    """
    if not hasattr(module, "slide_winsize"):
        return None
    if getattr(module, "return_mask", False):
        raise BadInput(
            "PartialConv2d with return_mask=True passes masks from layer to layer, so its factor depends on the data; "
            "only the form without a mask (partial convolution based padding) can be exported"
        )
    if module.padding_mode != "zeros":
        raise BadInput(f"PartialConv2d has padding_mode={module.padding_mode!r}; only 'zeros' can be rectified")
    return _like(module, MasklessPartialConv2d, mode="sum", bias_mode="after", empty="zero")


def elnas(module: Any) -> nn.Module | None:
    """jamiejyhu/EL-NAS Spconv2d: padding by 1 at a corner, then a convolution with the rest of the padding."""
    convs = [child for child in module.modules() if isinstance(child, nn.Conv2d)]
    if len(convs) != 1:
        return None
    conv: Any = convs[0]
    kernel = conv.kernel_size[0]
    if conv.kernel_size not in ((2, 2), (4, 4)) or conv.padding != (kernel // 2 - 1,) * 2 or conv.dilation != (1, 1):
        return None
    with torch.device("meta"):
        new = SymmetricConv2d(
            conv.in_channels,
            conv.out_channels,
            kernel,
            conv.stride,
            conv.groups,
            conv.bias is not None,
            order="elnas",
            remainder="error",
        )
    new.weight, new.bias = conv.weight, conv.bias
    return _first_alike(module, [new], [(1, conv.in_channels, 5, 6)])


def symmetric_pad(module: nn.Module) -> nn.Module | None:
    """The widely copied SymmetricPad2d, known by its outputs: others of that name mirror, or pad all channels alike."""
    candidates = (SymmetricPad2d(*choice) for choice in product((2, 4), reversed(ORDERS), reversed(REMAINDERS[:2])))
    return None if _owns_tensors(module) else _first_alike(module, candidates, [(1, 11, 5, 6), (2, 8, 4, 3)])


def crelu(module: nn.Module) -> nn.Module | None:
    """A CReLU, known by its outputs: other classes of that name clip, or work on complex numbers."""
    inner = [child for child in module.modules() if child is not module]
    activations: list[Callable[[Tensor], Tensor]] = [F.relu, *inner]
    candidates = [CReLU(activation, dim) for activation in activations for dim in (1, -1)]
    return None if _owns_tensors(module) else _first_alike(module, candidates, [(2, 3, 4, 5), (1, 4, 6, 7)])


_RFCONV_NOTE = (
    "exported as defined in the paper; RFConv's own code deviates: it miscounts taps with dilation for kernel sizes "
    "other than 3, gives NaN where no tap is valid, and on a CPU rectifies only the first N·C_in planes"
)

#: Class -> how to replace it.
BUILT_IN: dict[str, Adaptation] = {
    "rfconv.*RFConv2d": Adaptation(rfconv, _RFCONV_NOTE),
    "encoding.*RFConv2d": Adaptation(rfconv, _RFCONV_NOTE),
    "*.PartialConv2d": Adaptation(partialconv, "exact, but for the 1e-8 (imaginaire: 1e-6) in its denominator"),
    "*.Spconv2d": Adaptation(elnas),
    "*.SpConv2d": Adaptation(elnas),
    "*.SymmetricPad2d": Adaptation(symmetric_pad),
    "*.CReLU": Adaptation(crelu),
    "*.CRelu": Adaptation(crelu),
    "*.ConcatReLU": Adaptation(crelu),
    "*.ConcatenatedReLU": Adaptation(crelu),
}


def _like(module: Any, kind: type[RectifiedConv2d], **options: str) -> nn.Module:
    """A rectified convolution that shares the window and the parameters of another convolution."""
    new = kind(
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
    return new


def _owns_tensors(module: nn.Module) -> bool:
    return any(True for _ in (*module.parameters(), *module.buffers()))


def _first_alike(
    module: nn.Module, candidates: Iterable[nn.Module], shapes: Iterable[tuple[int, ...]]
) -> nn.Module | None:
    """The first candidate whose outputs on random inputs equal the module's; None also when the module fails."""
    dtype = next((entry.dtype for entry in module.parameters()), torch.float32)
    generator = torch.Generator().manual_seed(0)
    probes = [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]
    with torch.no_grad():
        try:
            expected = [module(probe.clone()) for probe in probes]
        except Exception:  # third-party code may raise anything; this module does not take real images
            return None
        for candidate in candidates:
            if all(_equal(candidate(probe), answer) for probe, answer in zip(probes, expected, strict=True)):
                return candidate
    return None


def _equal(one: Tensor, other: Any) -> bool:
    return isinstance(other, Tensor) and one.shape == other.shape and torch.allclose(one, other, rtol=1e-5, atol=1e-6)
