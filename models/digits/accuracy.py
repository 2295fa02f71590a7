"""Measure the accuracy of a digits checkpoint and of its packages on the held-out images.

python -m rectexport.models.digits.accuracy CHECKPOINT PACKAGE_DIR... [--backend NAME[,NAME]]
"""

from __future__ import annotations

import argparse
import sys

from rectexport.models.checkpoint import build, read_checkpoint
from rectexport.models.digits.data import digits_split

DISAGREEMENT = 3
#: Share of the images on which an int8 package must agree with PyTorch; one in float agrees on all.
INT8_AGREEMENT = 0.995


def main(arguments: list[str] | None = None) -> int:
    """Print the accuracies and the number of images with equal classes; returns 3 where a package agrees on too few."""
    parser = argparse.ArgumentParser(prog="python -m rectexport.models.digits.accuracy", description=__doc__)
    parser.add_argument("checkpoint", metavar="CHECKPOINT")
    parser.add_argument("packages", metavar="PACKAGE_DIR", nargs="+")
    parser.add_argument("--backend", metavar="NAME[,NAME]", default="auto")
    options = parser.parse_args(arguments)

    import rectexport

    data = digits_split()
    model = build(read_checkpoint(options.checkpoint), options.checkpoint)
    status, reference = 0, None
    for folder in options.packages:
        for backend in options.backend.split(","):
            with rectexport.load(folder, backend) as session:
                arrays = {session.inputs[0].name: data.held_out_images, "labels": data.held_out_labels}
                found = rectexport.evaluate(session, arrays, against=model)
                precision = session.package.manifest.data["options"]["precision"]
            if reference is None and found.reference is not None:
                reference = found.reference
                print(f"PyTorch  {reference.value:.2f} % of {found.items} held-out images")
            answers = found.engines[0]
            assert answers.against is not None
            print(f"{folder}  {precision} on {answers.description}  {answers.value:.2f} %")
            print(f"agree on {answers.against.agreed} of {found.items}")
            least = INT8_AGREEMENT * found.items if precision == "int8" else found.items
            status = status if answers.against.agreed >= least else DISAGREEMENT
    return status


if __name__ == "__main__":
    sys.exit(main())
