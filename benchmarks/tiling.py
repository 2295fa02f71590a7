"""The memory that answering a large image in tiles takes.

python -m benchmarks.tiling [--size 20000] [--tile 512]

Exports a fully convolutional network of four layers, writes a size×size image (.npy, float32, one channel), answers it
with `rectexport run … --tile`, and prints the peak resident size of that process, with its libraries and with the pages
of both files that were mapped.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np


def main() -> None:
    """Write the files, run the command, and print its peak."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=20_000)
    parser.add_argument("--tile", type=int, default=512)
    options = parser.parse_args()
    with TemporaryDirectory() as name:
        folder = Path(name)
        export(folder / "package", options.tile)
        write_image(folder / "image.npy", options.size)
        begin = time.perf_counter()
        command = ["run", str(folder / "package"), str(folder / "image.npy"), "-o", str(folder / "out.npy")]
        process = subprocess.Popen([sys.executable, "-m", "rectexport", *command, "--tile", str(options.tile)])
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit("the run failed")
        peak = usage.ru_maxrss / 1e6
        answer = np.load(folder / "out.npy", mmap_mode="r")
        print(f"{answer.shape[2]}×{answer.shape[3]}: peak {peak:.2f} GB, {time.perf_counter() - begin:.0f} s")


def export(out: Path, tile: int) -> None:
    """A network from one channel to one, in a process of its own."""
    lines = (
        "import sys, torch, rectexport",
        "from torch import nn",
        "layers = [nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()]",
        "net = nn.Sequential(*layers, nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 3, padding=1))",
        f"sizes = {{2: torch.export.Dim('h', min=16, max={tile}), 3: torch.export.Dim('w', min=16, max={tile})}}",
        f"rectexport.export(net.eval(), (torch.randn(1, 1, {min(tile, 64)}, {min(tile, 64)}),), sys.argv[1],",
        "                  dynamic_shapes=(sizes,))",
    )
    subprocess.run([sys.executable, "-c", "\n".join(lines), str(out)], check=True)


def write_image(path: Path, size: int) -> None:
    """Random rows, repeated; the file is written row by row."""
    image = np.lib.format.open_memmap(path, "w+", np.float32, (1, 1, size, size))
    rows = np.random.default_rng(0).standard_normal((64, size)).astype(np.float32)
    for start in range(0, size, 64):
        image[0, 0, start : start + 64] = rows[: min(64, size - start)]
    image.flush()


if __name__ == "__main__":
    main()
