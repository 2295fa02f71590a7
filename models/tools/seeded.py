"""Networks with seeded random weights and matching BatchNorm statistics, for tests and benchmarks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rectexport.models.checkpoint import save_checkpoint
from rectexport.models.registry import create_model, model_entry

#: Of the largest image that statistics are computed from: larger ones change them little and take longer. Sound and
#: video are as large in all.
LARGEST_SIDE = 96
BATCH = 8
VARIANCE_FLOOR = 0.1  # times the layer's mean variance: BatchNorm would divide a constant channel by almost 0
#: Range of the scales; mean and deviation of the shifts. With shifts around 0, half of all values would be negative,
#: and BatchNorm and ReLU would amplify rounding errors by about 1.2 per layer: too much for a plain net of 84 layers.
SCALES, SHIFTS = (0.6, 1.0), (0.8, 0.3)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def seeded_model(name: str, seed: int = 0, num_classes: int | None = None, **options: Any) -> nn.Module:
    """A network of the zoo in eval mode, equal for equal arguments; torch's random state is not changed.

    Weights are those of a fresh network. BatchNorm gets random scales and shifts, and running statistics from a
    batch of noise, so that folding it changes the weights and activations stay in range at any depth.
    Raises ValueError as `create_model` does.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = create_model(name, num_classes, **options)
        channels, *size = model_entry(name).input_shape
        largest = round(LARGEST_SIDE ** (2 / len(size)))
        settle_batch_norm(model, torch.randn(BATCH, channels, *(min(side, largest) for side in size)))
    return model.eval()


@torch.no_grad()
def settle_batch_norm(model: nn.Module, x: Tensor) -> None:
    """Give every BatchNorm a random scale and shift, and the running statistics of the batch x [N, C, …]."""
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

    Raises ValueError as `create_model` does, or if an option is not a plain value.
    """
    model = seeded_model(name, seed, num_classes, **options)
    generator = torch.Generator().manual_seed(seed)
    example = torch.randn(1, *model_entry(name).input_shape, generator=generator)
    arguments = options if num_classes is None else {"num_classes": num_classes, **options}
    save_checkpoint(path, name, arguments, model, example)
