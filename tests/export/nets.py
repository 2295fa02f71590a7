"""Small networks of all our layers, and the shortest way to trace or export one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rectexport.exporter.base.log import Log
from rectexport.exporter.frontend.inputs import ShapeOptions, plan_inputs
from rectexport.exporter.frontend.source import Source
from rectexport.exporter.pipeline import Exported, ExportOptions, run_export
from rectexport.exporter.tracing.trace import Traced, trace
from rectexport.models import CReLU, RectifiedConv2d, SymmetricConv2d


class Small(nn.Module):
    """[N, 2, H, W] -> [N, 3]: rectified, BatchNorm, CReLU, even kernel, rectified with stride, mean, linear."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = RectifiedConv2d(2, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.crelu = CReLU()
        self.even = SymmetricConv2d(8, 4)
        self.last = RectifiedConv2d(4, 4, 3, stride=2, padding=1, bias=False)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.even(self.crelu(self.norm(self.stem(x))))
        return self.head(self.last(y).mean((2, 3)))


class Chain(nn.Module):
    """[N, 2, H, W] -> [N, 2, H, W]: three rectified convolutions, the second with lopsided padding.

    The ReLUs between keep passes from merging them: every layer's output is still there to be compared.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = RectifiedConv2d(2, 3, 3, padding=1)
        self.second = RectifiedConv2d(3, 3, 3, padding=(1, 1, 2, 0))
        self.third = RectifiedConv2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.third(self.second(self.first(x).relu()).relu())


class Pair(nn.Module):
    """Two images of their own sizes -> two planes."""

    def __init__(self) -> None:
        super().__init__()
        self.left = RectifiedConv2d(1, 2, 3, padding=1)
        self.right = RectifiedConv2d(1, 2, 3, padding=1)

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return self.left(x), self.right(y)


def seeded(model: nn.Module, seed: int = 0) -> Any:
    """The model in eval mode with seeded weights, and BatchNorm statistics that matter."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith("running_var"):
                value.uniform_(0.5, 2, generator=generator)
            elif value.is_floating_point():
                value.normal_(generator=generator)
    return model.eval()


def image(*shape: int, seed: int = 0) -> Tensor:
    """Seeded normal numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def source(model: nn.Module, *examples: Tensor, names: tuple[str, ...] | None = None) -> Source:
    """A module as if it had been loaded."""
    arrays = tuple(value.numpy() for value in examples)
    return Source("module", model, type(model).__name__, None, list(names) if names else None, arrays)


def traced(model: Source, opset: int = 18, dynamic_shapes: Any = None, **shapes: Any) -> Traced:
    """Plan and trace; shapes as in ShapeOptions."""
    return trace(model, plan_inputs(model, ShapeOptions(**shapes)).inputs, opset, dynamic_shapes)


def exported(model: Source, out: Path, shapes: ShapeOptions | None = None, **options: Any) -> Exported:
    """Plan, trace, lower, check and package."""
    return run_export(model, shapes or ShapeOptions(), out, ExportOptions(**options), Log())
