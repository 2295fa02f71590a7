"""Valid files of every format, truncated or with flipped bits. Those that are still valid may pass."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.hostile.arrays import FEED, SAFE
from tests.hostile.case import DOCTOR, LOAD, OPTIMIZE, PLAN, Case, Write, data

SEED = 7
ANY = (0, 1, 2, 3)


def cases(honest: dict[str, Path], package: Path, flips: int) -> Iterator[Case]:
    """For each file: `flips` cases with some bits flipped, and eight truncated ones."""
    commands = {
        "pt": (PLAN,),
        "pt2": (PLAN,),
        "torchscript": ((*PLAN, "--input", "x:1x1x8x8"),),
        "safetensors": (SAFE,),
        "npz": (FEED,),
        "onnx": (PLAN, OPTIMIZE, DOCTOR),
    }
    for kind, words in commands.items():
        content = honest[kind].read_bytes()
        for index, damaged in enumerate(_damaged(content, flips)):
            name = f"damaged-{index}{''.join(honest[kind].suffixes)}"
            yield Case(name, data(damaged), words[index % len(words)], ANY)
    for name in ("manifest.json", "model.onnx", "goldens.npz"):
        for index, damaged in enumerate(_damaged((package / name).read_bytes(), flips)):
            yield Case(f"damaged-{index}-{name}", _spoiled(package, name, damaged), LOAD, ANY)


def _damaged(content: bytes, flips: int) -> Iterator[bytes]:
    random_numbers = random.Random(SEED)
    for _ in range(flips):
        changed = bytearray(content)
        for _ in range(random_numbers.choice((1, 1, 8))):
            changed[random_numbers.randrange(len(changed))] ^= 1 << random_numbers.randrange(8)
        yield bytes(changed)
    for part in range(8):
        yield content[: len(content) * part // 8]


def _spoiled(package: Path, name: str, content: bytes) -> Write:
    def write(path: Path) -> None:
        shutil.copytree(package, path)
        (path / name).write_bytes(content)

    return write
