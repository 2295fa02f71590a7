"""An 8-bit image in front of a model: layout, order of channels, resize, crop, scale, mean and standard deviation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from rectexport.exporter.base.processing import ImageInput
from rectexport.exporter.preprocess.resize import Line, resize
from rectexport.runtime.base.shapes import format_shape
from rectexport.runtime.errors import BadInput


class ImagePreprocess(nn.Module):
    """uint8 [N, H, W, C] or [N, C, H, W] -> float [N, C, H', W'], as the model takes it.

    Run eagerly it calls torch.nn.functional.interpolate(antialias=True), as torchvision's Resize does on floats, and is
    the reference. While it is exported it multiplies by the matrices of resize.py instead.
    """

    factor: Tensor
    shift: Tensor
    one: Tensor

    def __init__(self, options: ImageInput) -> None:
        super().__init__()
        self.options = options
        mean, std = (_per_channel(values) for values in (options.mean, options.std))
        self.register_buffer("factor", (1 / (options.scale * std)).float())
        self.register_buffer("shift", (mean / std).float())
        self.register_buffer("one", torch.ones(1, 1, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        exact = _exporting()
        planes = image.permute(0, 3, 1, 2) if self.options.layout == "nhwc" else image
        if self.options.channels == "bgr":
            planes = planes.flip(1)
        if exact:
            return self._cut(planes * self.factor - self.shift, matrices=True)
        mean, std = (_per_channel(values).to(self.one.dtype) for values in (self.options.mean, self.options.std))
        return (self._cut(planes * self.one, matrices=False) / self.options.scale - mean) / std

    def _cut(self, planes: Tensor, matrices: bool) -> Tensor:
        """Resized and cropped."""
        sizes = planes.shape[2:]
        resized = _resized_sizes(sizes, self.options.resize)
        crop = self.options.crop or tuple(resized)
        for side, wanted in zip(resized, crop, strict=True):
            if isinstance(side, int) and isinstance(wanted, int) and side < wanted:
                shape, found = format_shape(crop), format_shape(resized)
                raise BadInput(f"crop={shape}: larger than the image, which is {found} here; add a larger resize")
        starts = [_centre(side, wanted) for side, wanted in zip(resized, crop, strict=True)]
        if not self.options.resize:
            return _cropped(planes, starts, crop) if self.options.crop else planes
        cubic = self.options.interpolation == "bicubic"
        if matrices:
            lines = [Line(*entry) for entry in zip(sizes, resized, starts, crop, strict=True)]
            return resize(planes, lines[0], lines[1], cubic, self.one.reshape(1, 1))
        whole = functional.interpolate(
            planes, size=tuple(resized), mode=self.options.interpolation, align_corners=False, antialias=True
        )
        return _cropped(whole, starts, crop)


class OnInput(nn.Module):
    """Puts a module before one of several inputs."""

    def __init__(self, index: int, module: nn.Module) -> None:
        super().__init__()
        self.index, self.module = index, module

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.module(value) if index == self.index else value for index, value in enumerate(tensors))


def _exporting() -> bool:
    return torch.compiler.is_exporting()


def _per_channel(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).reshape(1, -1, 1, 1)


def _resized_sizes(sizes: Sequence[Any], wanted: Sequence[int]) -> list[Any]:
    """Height and width after resizing; one number is the shorter side, and the longer one is rounded down."""
    if len(wanted) != 1:
        return list(wanted or sizes)
    shorter = torch.sym_min(sizes[0], sizes[1])
    return [wanted[0] * size // shorter for size in sizes]


def _centre(size: Any, count: Any) -> Any:
    """Where a crop from the centre starts: half of what is left over, rounded to even as torchvision does."""
    half, odd = (size - count) // 2, (size - count) % 2
    return half + odd * (half % 2)


def _cropped(planes: Tensor, starts: Sequence[Any], counts: Sequence[Any]) -> Tensor:
    for axis, (start, count) in enumerate(zip(starts, counts, strict=True), start=2):
        planes = planes.index_select(axis, torch.arange(count) + start)
    return planes
