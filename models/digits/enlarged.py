"""Digits at 16 by 16 pixels in colour, shifted and noisy: a task that a ResNet-20 does not solve without a fault.

Made from the same split as the small images, so that no held-out digit is trained on.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

SIDE = 16
#: Largest shift in pixels, and the standard deviation of the noise, for pixels in 0..1.
SHIFT, NOISE = 2, 0.35


def enlarged(
    images: NDArray[np.float32], labels: NDArray[np.int64], copies: int, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Images [N, 1, 8, 8] -> [copies * N, 3, 16, 16] with pixels in 0..1, and their labels; the same for a seed.

    Each copy has its own shift, strength of each channel, and noise.
    """
    generator = np.random.default_rng(seed)
    large = F.interpolate(torch.from_numpy(images), (SIDE, SIDE), mode="bilinear", align_corners=False).numpy()
    padded = np.pad(large, ((0, 0), (0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT)))
    found = np.empty((copies, len(images), 3, SIDE, SIDE), np.float32)
    for copy in range(copies):
        for index, image in enumerate(padded[:, 0]):
            row, column = generator.integers(0, 2 * SHIFT + 1, 2)
            found[copy, index] = image[row : row + SIDE, column : column + SIDE]
        found[copy] *= generator.uniform(0.5, 1, (len(images), 3, 1, 1)).astype(np.float32)
        found[copy] += generator.normal(0, NOISE, found[copy].shape).astype(np.float32)
    return np.clip(found.reshape(-1, 3, SIDE, SIDE), 0, 1), np.tile(labels, copies)
