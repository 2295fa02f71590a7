"""Networks with seeded random weights and BatchNorm statistics that fit them, for tests and benchmarks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rectexport.models.checkpoint import save_checkpoint
from rectexport.models.registry import create_model, model_entry

LARGEST_SIDE = 96  # statistics come from no larger images: they hardly differ, and it is quicker
BATCH = 8
VARIANCE_FLOOR = 0.1  # of the layer's mean variance; a dead channel would blow up without
#: A range, and a mean and a deviation. Where half of all values are negative, BatchNorm and ReLU amplify a
#: difference by about 1.2 a layer: rounding errors would fill the output of a plain net of 84 layers.
SCALES, SHIFTS = (0.6, 1.0), (0.8, 0.3)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def seeded_model(name: str, seed: int = 0, num_classes: int | None = None, **options: Any) -> nn.Module:
    """A network of the zoo in eval mode, the same for the same arguments; torch's random state is left alone.

    Weights are those of a fresh network. BatchNorm gets random scales and shifts and, as running statistics,
    those of a batch of noise, so that folding it is no identity and activations stay in range at any depth.
    Raises ValueError as `create_model` does.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = create_model(name, num_classes, **options)
        channels, height, width = model_entry(name).input_shape
        size = (BATCH, channels, min(height, LARGEST_SIDE), min(width, LARGEST_SIDE))
        settle_batch_norm(model, torch.randn(size))
    return model.eval()


@torch.no_grad()
def settle_batch_norm(model: nn.Module, x: Tensor) -> None:
    """Give every BatchNorm a random scale and shift, and the running statistics of the batch x [N, C, H, W]."""
    norms = [module for module in model.modules() if isinstance(module, NORMS)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
        if norm.affine:
            nn.init.uniform_(norm.weight, *SCALES)
            nn.init.normal_(norm.bias, *SHIFTS)
    model.train()(x)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        variance = norm.running_var
        if variance is not None:
            variance.clamp_(min=VARIANCE_FLOOR * variance.mean().item())


def save_seeded(path: str | Path, name: str, seed: int = 0, num_classes: int | None = None, **options: Any) -> None:
    """Write the checkpoint of `seeded_model` with one seeded input of the network's native size.

    Raises ValueError as `create_model` does, or if an option is no plain value.
    """
    model = seeded_model(name, seed, num_classes, **options)
    generator = torch.Generator().manual_seed(seed)
    example = torch.randn(1, *model_entry(name).input_shape, generator=generator)
    arguments = options if num_classes is None else {"num_classes": num_classes, **options}
    save_checkpoint(path, name, arguments, model, example)
