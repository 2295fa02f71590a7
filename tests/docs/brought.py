"""Files and packages that the readers of some documents bring: small networks with seeded weights, random images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

import rectexport
from rectexport.models.digits.data import digits_split


class Classifier(nn.Module):
    """An image to two classes."""

    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.out = nn.Linear(8, classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.out(self.conv(image).relu().mean((2, 3)))


class Segmenter(nn.Module):
    """An image to a map for each of four classes."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(channels, 4, 3, padding=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.conv(image)


def classifiers(folder: Path) -> None:
    """out/net and out/int8, packages of one classifier."""
    for name in ("net", "int8"):
        rectexport.export(Classifier(), torch.rand(1, 3, 32, 32), folder / "out" / name)


def large_classifier(folder: Path) -> None:
    """net, a package for images of 224 pixels with ten classes."""
    rectexport.export(Classifier(10), torch.rand(1, 3, 224, 224), folder / "net")


def segmenter(folder: Path) -> None:
    """out/segment, for images like those of `frames`."""
    rectexport.export(Segmenter(3), torch.rand(1, 3, 32, 32), folder / "out" / "segment")


def scanner(folder: Path) -> None:
    """out/segment, for grey images of any size, and scan.tif."""
    import tifffile

    side = {2: torch.export.Dim("h", min=8, max=1024), 3: torch.export.Dim("w", min=8, max=1024)}
    free = {0: torch.export.Dim("n", max=4), **side}
    example = torch.rand(2, 1, 64, 64)
    rectexport.export(Segmenter(1), example, folder / "out" / "segment", dynamic_shapes=free)
    pixels = np.random.default_rng(0).random((700, 900), np.float32)
    tifffile.imwrite(folder / "scan.tif", pixels)


def photos(folder: Path) -> None:
    """photos, with a folder of three images for each of two classes."""
    for name in ("cat", "dog"):
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(3):
            _picture(number, (32, 32, 3)).save(folder / "photos" / name / f"{number}.png")


def snapshots(folder: Path) -> None:
    """photos, with images and no labels."""
    (folder / "photos").mkdir()
    for number in range(3):
        _picture(number, (32, 32, 3)).save(folder / "photos" / f"{number}.png")


def frames(folder: Path) -> None:
    """frames, with images, and masks.csv, which names the mask of each."""
    (folder / "frames").mkdir()
    rows = ["image,mask"]
    for number in range(3):
        _picture(number, (32, 32, 3)).save(folder / "frames" / f"{number}.png")
        classes = np.random.default_rng(number).integers(0, 4, (32, 32), dtype=np.uint8)
        Image.fromarray(classes).save(folder / "frames" / f"mask{number}.png")
        rows.append(f"{number}.png,mask{number}.png")
    (folder / "masks.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def labelled(folder: Path) -> None:
    """test.npz, images and labels for the classifiers."""
    draw = np.random.default_rng(0)
    np.savez(folder / "test.npz", image=draw.random((40, 3, 32, 32), np.float32), labels=draw.integers(0, 2, 40))


def digits(folder: Path) -> None:
    """val.npz, labelled images of digits."""
    data = digits_split()
    np.savez(folder / "val.npz", x=data.held_out_images, labels=data.held_out_labels)


def _picture(seed: int, shape: tuple[int, ...]) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))
