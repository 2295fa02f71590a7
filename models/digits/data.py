"""scikit-learn's handwritten digits, split into two fixed parts.

python -m rectexport.models.digits.data FOLDER writes them as train.npz and held-out.npz: the network's input `x`, and
`labels`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rectexport.runtime.errors import MissingDependency

WHITE = 16.0  # the largest pixel value


class DigitsSplit(NamedTuple):
    """Images float32 [N, 1, 8, 8] with pixels in 0..1, labels int64 [N]."""

    train_images: NDArray[np.float32]
    train_labels: NDArray[np.int64]
    held_out_images: NDArray[np.float32]
    held_out_labels: NDArray[np.int64]


def digits_split() -> DigitsSplit:
    """Two thirds to train on and a third held out, stratified by label; the same on every call.

    Raises MissingDependency without scikit-learn, which contains the images.
    """
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise MissingDependency("the digits images need scikit-learn: pip install scikit-learn") from error
    data = load_digits()
    images = (data.images / WHITE).astype(np.float32)[:, None]
    labels = data.target.astype(np.int64)
    train, held_out = train_test_split(np.arange(len(labels)), test_size=1 / 3, stratify=labels, random_state=0)
    return DigitsSplit(images[train], labels[train], images[held_out], labels[held_out])


def write_split(folder: Path) -> None:
    """Write train.npz and held-out.npz with the arrays x float32 [N, 1, 8, 8] and labels int64 [N]."""
    data = digits_split()
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "train.npz", x=data.train_images, labels=data.train_labels)
    np.savez(folder / "held-out.npz", x=data.held_out_images, labels=data.held_out_labels)


def main(arguments: list[str] | None = None) -> None:
    """Write both parts into a folder."""
    parser = argparse.ArgumentParser(prog="python -m rectexport.models.digits.data", description=__doc__)
    parser.add_argument("folder", metavar="FOLDER", type=Path)
    write_split(parser.parse_args(arguments).folder)


if __name__ == "__main__":
    main()
