"""Measure the accuracy of a digits checkpoint and of its packages on the held-out images.

python -m rectexport.models.digits.accuracy CHECKPOINT PACKAGE_DIR...
"""

from __future__ import annotations

import argparse
import sys

from rectexport.models.checkpoint import build, read_checkpoint
from rectexport.models.digits.data import digits_split

DISAGREEMENT = 3


def main(arguments: list[str] | None = None) -> int:
    """Print the accuracies and the number of images with equal classes; returns 3 where a float package differs."""
    parser = argparse.ArgumentParser(prog="python -m rectexport.models.digits.accuracy", description=__doc__)
    parser.add_argument("checkpoint", metavar="CHECKPOINT")
    parser.add_argument("packages", metavar="PACKAGE_DIR", nargs="+")
    options = parser.parse_args(arguments)

    import rectexport

    data = digits_split()
    model = build(read_checkpoint(options.checkpoint), options.checkpoint)
    status = 0
    for folder in options.packages:
        with rectexport.load(folder) as session:
            name = session.inputs[0].name
            found = rectexport.evaluate(
                session, {name: data.held_out_images, "labels": data.held_out_labels}, against=model
            )
        answers, reference = found.engines[0], found.reference
        assert answers.against is not None and reference is not None
        if folder == options.packages[0]:
            print(f"PyTorch  {reference.value:.2f} % of {found.items} held-out images")
        print(f"{folder}  {answers.value:.2f} %, on {answers.description}")
        print(f"agree on {answers.against.agreed} of {found.items}")
        status = status or (0 if answers.against.agreed == found.items else DISAGREEMENT)
    return status


if __name__ == "__main__":
    sys.exit(main())
