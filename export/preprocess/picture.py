"""A drawn picture, the example of an image input: pixels of every value, edges, smooth parts, and detail."""

from __future__ import annotations

import numpy as np

from rectexport.exporter.base.processing import ImageInput
from rectexport.runtime.base.runner import Array


def draw(options: ImageInput, shape: tuple[int, ...]) -> Array:
    """uint8 of `shape`, [N, H, W, C] or [N, C, H, W] by the options' layout; every row of a batch is another picture.

    A sky that brightens downwards, a sun, ground with stripes that grow finer, and a black and a white square. The
    picture is in colour; in gray it is the mean of the channels.
    """
    rows, height, width = _sizes(options, shape)
    pictures = np.stack([_picture(index, height, width) for index in range(rows)])
    if options.channels == "gray":
        pictures = pictures.mean(3, keepdims=True)
    if options.channels == "bgr":
        pictures = pictures[..., ::-1]
    if options.layout == "nchw":
        pictures = pictures.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(pictures.round().clip(0, 255).astype(np.uint8))


def _sizes(options: ImageInput, shape: tuple[int, ...]) -> tuple[int, int, int]:
    return (shape[0], shape[1], shape[2]) if options.layout == "nhwc" else (shape[0], shape[2], shape[3])


def _picture(index: int, height: int, width: int) -> Array:
    """[H, W, 3], 0 to 255."""
    y, x = np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1, width), indexing="ij")
    sky = np.stack([60 + 150 * y, 120 + 110 * y, 255 - 40 * y], -1)
    stripes = 0.5 + 0.5 * np.sin(2 * np.pi * (4 + 3 * index) * x / (0.15 + (1 - y)))
    ground = np.stack([30 + 110 * stripes, 90 + 80 * stripes, 20 + 30 * stripes], -1)
    picture = np.where((y > 0.6)[..., None], ground, sky)
    centre = 0.25 + 0.5 * ((0.37 * index) % 1)
    sun = np.hypot(x - centre, y - 0.28) < 0.16
    picture[sun] = (255, 220, 40)
    for left, value in ((0.08, 0.0), (0.82, 255.0)):
        picture[(abs(x - left - 0.05) < 0.06) & (abs(y - 0.8) < 0.1)] = value
    return np.asarray(picture)
