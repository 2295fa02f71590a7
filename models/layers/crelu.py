"""CReLU and its relatives as modules."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rectexport.models.layers.functional import avr, crelu, scaled_crelu


class CReLU(nn.Module):
    """concat(act(x), act(-x)) along dim, all positive halves first. [N, C, …] -> [N, 2C, …].

    activation is a module or function that works element by element; ReLU by default.

    Source: Understanding and Improving CNNs via Concatenated Rectified Linear Units (Shang et al.).
    """

    def __init__(self, activation: Callable[[Tensor], Tensor] = F.relu, dim: int = 1) -> None:
        super().__init__()
        self.activation = F.relu if isinstance(activation, nn.ReLU) else activation
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        return crelu(input, self.activation, self.dim)


class AVR(nn.Module):
    """AVR: `relu(x) + relu(-x) = |x|`. Keeps the shape.

    Source: Understanding and Improving CNNs via Concatenated Rectified Linear Units (Shang et al.).
    """

    def forward(self, input: Tensor) -> Tensor:
        return avr(input)


class ScaledCReLU(nn.Module):
    """relu(weight * concat(x, -x) + bias), a scale and a shift for each of the 2C channels.

    [N, C, …] -> [N, 2C, …]; parameters weight and bias [2C].

    Source: PVANet (sanghoon/pva-faster-rcnn).
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features
        self.weight = nn.Parameter(torch.ones(2 * num_features))
        self.bias = nn.Parameter(torch.zeros(2 * num_features))

    def forward(self, input: Tensor) -> Tensor:
        return scaled_crelu(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return str(self.num_features)
