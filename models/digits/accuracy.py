"""Measure the accuracy of a digits checkpoint and of its package on the held-out images.

python -m rectexport.models.digits.accuracy CHECKPOINT PACKAGE_DIR
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from rectexport.models.checkpoint import build, read_checkpoint
from rectexport.models.digits.data import digits_split
from rectexport.runtime.session import Session

DISAGREEMENT = 3


def batches(session: Session, images: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """The images in batches of the package's size, the last padded with zeros; one batch if that size is dynamic."""
    size = session.package.manifest.inputs[0].shape[0]
    if isinstance(size, str):
        size = len(images)
    for start in range(0, len(images), size):
        batch = images[start : start + size]
        yield np.pad(batch, ((0, size - len(batch)), (0, 0), (0, 0), (0, 0)))


def main(arguments: list[str] | None = None) -> int:
    """Print both accuracies and the number of images with equal classes; returns 0 if that is all, otherwise 3."""
    parser = argparse.ArgumentParser(prog="python -m rectexport.models.digits.accuracy", description=__doc__)
    parser.add_argument("checkpoint", metavar="CHECKPOINT")
    parser.add_argument("package", metavar="PACKAGE_DIR")
    options = parser.parse_args(arguments)

    import rectexport

    data = digits_split()
    images, labels = data.held_out_images, data.held_out_labels
    model = build(read_checkpoint(options.checkpoint), options.checkpoint)
    with torch.no_grad():
        ours = model(torch.from_numpy(images)).argmax(1).numpy()
    with rectexport.load(options.package) as session:
        theirs = np.concatenate([session(batch) for batch in batches(session, images)])[: len(images)].argmax(1)
    agreed = int((ours == theirs).sum())
    print(f"PyTorch  {(ours == labels).mean():.2%} of {len(labels)} held-out images")
    print(f"package  {(theirs == labels).mean():.2%}")
    print(f"agree on {agreed} of {len(labels)}")
    return 0 if agreed == len(labels) else DISAGREEMENT


if __name__ == "__main__":
    sys.exit(main())
