"""Which documents are followed, and what a reader brings to each of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.docs import brought
from tests.docs.not_run import reason
from tests.docs.snippets import Reader, Step, steps
from tests.places import ROOT

#: Every document that has a reader type something.
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"))
    if steps(path.relative_to(ROOT).as_posix())
)
#: Followed in every test run; the others by `make test-docs`.
ALWAYS = (
    "README.md",
    "docs/images.md",
    "docs/model.md",
    "docs/start.md",
    "docs/tutorials/free-sizes.md",
    "docs/tutorials/onnx-file.md",
    "docs/tutorials/own-network.md",
    "docs/tutorials/tensorrt.md",
)
#: A document -> the one whose files it goes on with.
AFTER = {"docs/tutorials/free-sizes.md": "docs/tutorials/own-network.md"}
#: Of the document that another goes on with, only these are done again: they make files, and run nothing long.
MAKES_FILES = ("# mynets.py", "import torch\nfrom mynets")


def to_run(document: str) -> list[Step]:
    """The steps of a document without those in NOT_RUN."""
    return [step for step in steps(document) if not reason(document, step.text)]


def follow(document: str, folder: Path) -> None:
    """Type everything that a document says, in a new folder with what its reader brings."""
    (folder / "models").symlink_to(ROOT / "models")
    reader = Reader(folder)
    try:
        for step in steps(AFTER[document]) if document in AFTER else ():
            if step.text.startswith(MAKES_FILES):
                reader.follow(step)
        for command in COMMANDS.get(document, ()):
            reader.follow(Step("sh", command, 0))
        for bring in BRINGS.get(document, ()):
            bring(folder)
        for step in to_run(document):
            reader.follow(step)
    finally:
        reader.end()


_NET = ("rectexport models save resnet20 net.pt --seed 0",)
_BATCHES = "--min-shapes x:1x1x8x8 --max-shapes x:8x1x8x8"
_DIGITS = ("rectexport models/checkpoints/digits.pt -o out/digits",)
#: What a document's reader has done before.
COMMANDS: dict[str, tuple[str, ...]] = {
    "docs/latency.md": (
        "cp models/checkpoints/digits.pt net.pt",  # its convolutions are rectified
        f"rectexport net.pt -o out/net {_BATCHES}",
        f"rectexport net.pt -o out/other {_BATCHES}",
    ),
    "docs/parity-cli.md": (*_NET, "rectexport net.pt -o out/net"),
    "docs/runtime.md": _DIGITS,
    "docs/security.md": _DIGITS,
    "docs/serving.md": (*_NET, "rectexport net.pt -o out/net", "rectexport net.pt -o out/net-int8"),
    "docs/tensorrt.md": _NET,
    "docs/tuning.md": (
        "cp models/checkpoints/digits.pt net.pt",
        f"rectexport net.pt -o out/net {_BATCHES}",
        f"rectexport net.pt -o out/before {_BATCHES}",
    ),
}
#: Files and packages that a document's reader has.
BRINGS: dict[str, tuple[Callable[[Path], None], ...]] = {
    "docs/eval.md": (brought.classifiers, brought.segmenter, brought.photos, brought.frames, brought.labelled),
    "docs/parity-cli.md": (brought.snapshots,),
    "docs/serving.md": (brought.large_classifier,),
    "docs/tiling.md": (brought.scanner,),
    "docs/tuning.md": (brought.digits,),
}
