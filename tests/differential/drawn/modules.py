"""Random PyTorch modules like convolutional networks: one seed one module."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from rectexport.models.layers.crelu import CReLU
from rectexport.models.layers.rectified import RectifiedConv2d
from tests.differential.case import Array

Rng = np.random.Generator
Layer = Callable[[Rng, int], nn.Module]
#: Largest magnitude inside a module.
MAX_MAGNITUDE = 1e4


@dataclass(frozen=True)
class DrawnModule:
    """A module, its example input, and (height, width) of other inputs that it takes, smallest first."""

    seed: int
    module: nn.Module
    example: Array
    sizes: tuple[tuple[int, int], ...]

    def answer(self, array: Array, double: bool) -> list[Array] | None:
        """Outputs of a copy of the module; None where it does not take the input."""
        module = copy.deepcopy(self.module)
        value = torch.tensor(array)
        if double:
            module, value = module.double(), value.double() if value.is_floating_point() else value
        try:
            with torch.no_grad():
                results = module(value)
        except RuntimeError:
            return None
        return [entry.numpy() for entry in results]


class Resized(nn.Module):
    """interpolate, by a factor."""

    def __init__(self, factor: float, mode: str, **options: bool) -> None:
        super().__init__()
        self.factor, self.mode, self.options = factor, mode, options

    def forward(self, x: Tensor) -> Tensor:
        return functional.interpolate(x, scale_factor=self.factor, mode=self.mode, **self.options)


class Padded(nn.Module):
    """pad, with a mode."""

    def __init__(self, amounts: list[int], mode: str) -> None:
        super().__init__()
        self.amounts, self.mode = amounts, mode

    def forward(self, x: Tensor) -> Tensor:
        return functional.pad(x, self.amounts, mode=self.mode)


class Gated(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weigh = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.weigh(x.mean((2, 3), keepdim=True)))


class Network(nn.Module):
    """Layers one after the other; `joins` says which add or concatenate their input, `end` what comes last."""

    def __init__(self, layers: list[nn.Module], joins: list[str], end: str, image: bool) -> None:
        super().__init__()
        self.layers, self.joins, self.end, self.image = nn.ModuleList(layers), joins, end, image

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        if self.image:
            x = ((x + 40) * 2).float() / 64 - 1  # uint8 wraps around
        for layer, join in zip(self.layers, self.joins, strict=True):
            y = layer(x)
            if join == "add":
                y = x + y
            elif join == "concat":
                y = torch.cat([x, y], 1)
            x = y
        return (x, *_ENDS[self.end](x))


_ENDS: dict[str, Callable[[Tensor], tuple[Tensor, ...]]] = {
    "nothing": lambda x: (),
    "softmax": lambda x: (x.softmax(1),),
    "classes": lambda x: (x.argmax(1),),
    "best": lambda x: tuple((x.flatten(1) + 1e-2 * torch.arange(x[0].numel())).topk(3, 1)),  # which of equals is open
    "halves": lambda x: tuple(x.chunk(2, 1)) if x.shape[1] > 1 else (x.mean(),),
    "moments": lambda x: (x.mean((2, 3)), x.var((2, 3), correction=0), x.amax(1)),
    "gram": lambda x: (torch.einsum("nchw,ndhw->ncd", x, x),),
    "crop": lambda x: (x[:, :, 1:, ::2], x.flip(3)),
}


def draw_module(seed: int) -> DrawnModule:
    """The module of a seed."""
    rng = np.random.default_rng([seed, 7])
    torch.manual_seed(seed)
    image, static = bool(rng.random() < 0.2), bool(rng.random() < 0.7)
    shape = (int(rng.integers(1, 3)), int(rng.integers(1, 5)), int(rng.integers(8, 13)), int(rng.integers(8, 13)))
    example = rng.integers(0, 256, shape, np.uint8) if image else rng.standard_normal(shape).astype(np.float32)
    network = Network([], [], _pick(rng, list(_ENDS)), image).eval()
    for _ in range(int(rng.integers(2, 6))):
        _grow(rng, network, example)
    height, width = shape[2:]
    sizes = () if static else ((height, width), (height + 3, width + 2), (height + 4, width + 7))
    return DrawnModule(seed, network, example, sizes)


def _grow(rng: Rng, network: Network, example: Array) -> None:
    """Add one layer that runs, with a join that fits."""
    for _ in range(10):
        with torch.no_grad():
            x = network(torch.tensor(example))[0]
        layer = _pick(rng, LAYERS)(rng, x.shape[1]).eval()
        _randomize(rng, layer)
        join = _pick(rng, ["none", "none", "add", "concat"])
        network.layers.append(layer)
        network.joins.append(join)
        try:
            with torch.no_grad():
                outputs = network(torch.tensor(example))
            if all(value.numel() and value.isfinite().all() for value in outputs) and outputs[0].abs().max() < 1e4:
                return
        except (RuntimeError, ValueError):  # drawn at random, it may not fit
            pass
        del network.layers[-1], network.joins[-1]


def _randomize(rng: Rng, layer: nn.Module) -> None:
    """Statistics and affine weights as after training."""
    for module in layer.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and module.running_var is not None:
            module.running_mean.copy_(torch.randn_like(module.running_mean))
            module.running_var.copy_(torch.rand_like(module.running_var) + 0.1)


def _pick(rng: Rng, options: list):  # type: ignore[type-arg, no-untyped-def]
    return options[int(rng.integers(len(options)))]


def _convolution(rng: Rng, channels: int) -> nn.Module:
    groups = _pick(rng, [group for group in (1, 1, 2, channels) if channels % group == 0])
    kernel = (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
    return nn.Conv2d(
        channels,
        groups * int(rng.integers(1, 4)),
        kernel,
        stride=int(rng.integers(1, 3)),
        padding=(int(rng.integers(0, 2)), int(rng.integers(0, 3))),
        dilation=int(rng.integers(1, 3)),
        groups=groups,
        bias=bool(rng.random() < 0.5),
        padding_mode=_pick(rng, ["zeros", "zeros", "circular", "reflect", "replicate"]),
    )


def _pool(rng: Rng, channels: int) -> nn.Module:
    kernel, stride, ceil = int(rng.integers(2, 4)), int(rng.integers(1, 4)), bool(rng.random() < 0.6)
    padding = int(rng.integers(0, kernel // 2 + 1))
    kind = _pick(rng, ["max", "mean", "mean", "norm"])
    if kind == "max":
        return nn.MaxPool2d(kernel, stride, padding, ceil_mode=ceil)
    if kind == "norm":
        return nn.LPPool2d(2, kernel, stride, ceil_mode=ceil)
    return nn.AvgPool2d(kernel, stride, padding, ceil_mode=ceil, count_include_pad=bool(rng.random() < 0.5))


def _resized(rng: Rng, channels: int) -> nn.Module:
    factor, mode = _pick(rng, [0.5, 1.5, 2.0]), _pick(rng, ["nearest", "bilinear", "bicubic", "area", "nearest-exact"])
    if mode in ("bilinear", "bicubic"):
        return Resized(factor, mode, **_pick(rng, [{}, {"align_corners": True}, {"antialias": True}]))
    return Resized(factor, mode)


def _activation(rng: Rng, channels: int) -> nn.Module:
    kinds = [nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.Hardswish, nn.Mish, nn.ELU, nn.PReLU, nn.LogSigmoid, nn.Softplus]
    return _pick(rng, [*kinds, CReLU])()


def _norm(rng: Rng, channels: int) -> nn.Module:
    kind = _pick(rng, ["batch", "batch", "instance", "group", "local"])
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    if kind == "instance":
        return nn.InstanceNorm2d(channels, affine=True)
    if kind == "group":
        return nn.GroupNorm(_pick(rng, [group for group in (1, 2, channels) if channels % group == 0]), channels)
    return nn.LocalResponseNorm(_pick(rng, [3, 5]), alpha=0.1, k=_pick(rng, [1.0, 1.5, 2.0]))


def _padded(rng: Rng, channels: int) -> nn.Module:
    amounts = [int(rng.integers(0, 3)) for _ in range(4)]
    return Padded(amounts, _pick(rng, ["constant", "reflect", "replicate", "circular"]))


def _transposed(rng: Rng, channels: int) -> nn.Module:
    stride = int(rng.integers(1, 3))
    return nn.ConvTranspose2d(
        channels, int(rng.integers(1, 4)), int(rng.integers(2, 4)), stride, 1, output_padding=stride - 1
    )


def _rectified(rng: Rng, channels: int) -> nn.Module:
    return RectifiedConv2d(channels, int(rng.integers(1, 4)), 3, padding=1)


def _tied(rng: Rng, channels: int) -> nn.Module:
    """One weight, read by a convolution and a transposed one."""
    first = nn.Conv2d(channels, channels, 3, padding=1)
    second = nn.ConvTranspose2d(channels, channels, 3, padding=1)
    second.weight = first.weight
    return nn.Sequential(first, nn.ReLU(), second)


LAYERS: list[Layer] = [
    *[_convolution] * 4,
    *[_pool, _activation, _norm] * 2,
    _resized,
    _padded,
    _transposed,
    _rectified,
    _tied,
    lambda rng, channels: Gated(channels),
    lambda rng, channels: nn.PixelShuffle(2),
    lambda rng, channels: nn.PixelUnshuffle(2),
    lambda rng, channels: nn.Softmax2d(),
]
