"""Count a network's parameters, multiply-accumulates and rectified layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rectexport.models.layers.rectified import RECTIFIED


def parameters(model: nn.Module) -> int:
    """Number of learnable values; shared parameters count once."""
    return sum(parameter.numel() for parameter in model.parameters())


def rectified_layers(model: nn.Module) -> int:
    """Number of rectified convolutions; shared modules count once."""
    return sum(isinstance(module, RECTIFIED) for module in model.modules())


@torch.no_grad()
def macs(model: nn.Module, input_shape: Sequence[int]) -> int:
    """Multiply-accumulates of convolutions and linear layers for one input [C, …].

    Runs the model once in eval mode on zeros, on its own device; on "meta" that takes no memory. As usual in the
    literature, padded taps count like others, and BatchNorm, pools, activations and rectification do not count.
    """
    total = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        taps = module.weight[0].numel()  # type: ignore[index]
        total += taps * output[0].numel()

    layers = [module for module in model.modules() if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    training = model.training
    try:
        first = next(model.parameters())
        model.eval()(torch.zeros(1, *input_shape, dtype=first.dtype, device=first.device))
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return total
