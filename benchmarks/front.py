"""The README's figures: an error at the border that an average hides, and the speed table. `make front`

A small network with seeded weights reads a photograph. Its pools have `ceil_mode=True` and padding, whose last windows
OpenVINO divides by another number than PyTorch (OpenVINO 2026.4.1, `make engine-probe`). The same network goes through
`torch.onnx.export` alone and through `rectexport.export`; both files run on OpenVINO and are compared with PyTorch in
float64. The speed table is read from docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import re
import statistics
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.common import DOCS, ROOT, table

README = ROOT / "README.md"
PICTURE = DOCS / "border-error.png"
REGIONS: Mapping[str, tuple[slice, slice]] = {
    "interior": (slice(4, -4), slice(4, -4)),
    "bottom row": (slice(-1, None), slice(None)),
    "right column": (slice(None), slice(-1, None)),
    "corner": (slice(-1, None), slice(-1, None)),
    "whole output": (slice(None), slice(None)),
}
#: Sections of docs/benchmarks.md, and what README calls them.
OPERATORS = {
    "C2sp": "even kernel, 2×2 (C2sp)",
    "C4sp": "even kernel, 4×4 (C4sp)",
    "CReLU → 3×3": "CReLU before a 3×3 convolution",
}
ENGINES = ("ONNX Runtime", "OpenVINO")


def network() -> nn.Module:
    """Three convolutions with two padded average pools in ceil mode."""
    torch.manual_seed(0)
    convs = [nn.Conv2d(a, b, 3, padding=1, bias=False) for a, b in ((3, 16), (16, 32), (32, 32))]
    blocks = [nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels), nn.ReLU()) for conv in convs]
    pools = [nn.AvgPool2d(3, 2, 1, ceil_mode=True) for _ in range(2)]
    return nn.Sequential(blocks[0], pools[0], blocks[1], pools[1], blocks[2]).eval()


def photograph() -> torch.Tensor:
    """scikit-learn's china.jpg, a photo by danielbuechele (CC BY 2.0), as [1, 3, 160, 240] in 0..1."""
    from sklearn.datasets import load_sample_image

    pixels = torch.from_numpy(load_sample_image("china.jpg").copy()).permute(2, 0, 1)[None].float() / 255
    return nn.functional.interpolate(pixels, size=(160, 240), mode="area")


def answers(image: torch.Tensor) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """PyTorch in float64, the bare export on OpenVINO, and ours on OpenVINO: [C, H, W] each."""
    import openvino

    import rectexport

    with torch.no_grad():
        reference = network().double()(image.double()).numpy()
    with tempfile.TemporaryDirectory() as folder:
        bare = Path(folder) / "bare.onnx"
        torch.onnx.export(network(), (image,), bare, verbose=False)
        compiled = openvino.Core().compile_model(str(bare), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        theirs = compiled(image.numpy())[0].copy()
        rectexport.export(network(), (image,), Path(folder) / "package", target="openvino")
        with rectexport.load(Path(folder) / "package", backend="openvino") as session:
            ours = np.asarray(session(image.numpy()))
    return reference[0], theirs[0], ours[0]


def distance(answer: NDArray[Any], reference: NDArray[Any], region: str) -> float:
    """Relative L2 distance in one region."""
    rows, columns = REGIONS[region]
    wanted = reference[:, rows, columns]
    return float(np.linalg.norm(answer[:, rows, columns] - wanted) / np.linalg.norm(wanted))


def draw(image: torch.Tensor, maps: Mapping[str, NDArray[Any]]) -> None:
    """The photograph and a map of relative errors for each export, as docs/border-error.png."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.colors import LogNorm

    figure, axes = pyplot.subplots(1, 1 + len(maps), figsize=(11, 2.9), layout="constrained")
    axes[0].imshow(image[0].permute(1, 2, 0).numpy())
    axes[0].set_title("input", fontsize=11)
    for axis, (title, values) in zip(axes[1:], maps.items(), strict=True):
        shown = axis.imshow(np.maximum(values, 1e-8), norm=LogNorm(1e-8, 1), cmap="cividis", interpolation="nearest")
        axis.set_title(title, fontsize=11)
    for axis in axes:
        axis.set(xticks=[], yticks=[])
    figure.colorbar(shown, ax=axes, label="error / size of the values", shrink=0.9)
    figure.savefig(PICTURE, dpi=100)


def border_section() -> str:
    """The picture, what is to be seen on it, and the distances by region."""
    image = photograph()
    reference, theirs, ours = answers(image)
    size = np.sqrt(np.mean(reference**2))
    exports = {"torch.onnx.export": theirs, "rectexport": ours}
    maps = {name: np.sqrt(np.mean((answer - reference) ** 2, 0)) / size for name, answer in exports.items()}
    draw(image, {f"{name} on OpenVINO": values for name, values in maps.items()})
    far = {region: distance(theirs, reference, region) for region in REGIONS}
    rows = [
        [f"`{name}`", *(percent(distance(answer, reference, region)) for region in REGIONS)]
        for name, answer in exports.items()
    ]
    return f"""![Error maps of two exports of one network](docs/{PICTURE.name})

One network, two exports, one engine: `torch.onnx.export` alone is {percent(far["whole output"])} off over the whole
output and {percent(far["corner"])} in the corner, and nothing warns of it. `rectexport` compares corners, edges and
interior apart, and writes the pool that OpenVINO computes otherwise in a form that it computes right.

{table(["relative error", *REGIONS], rows)}

OpenVINO {version("openvino")}, torch {version("torch")}, CPU; `make front`, [benchmarks/front.py](benchmarks/front.py).
Photo: danielbuechele, CC BY 2.0."""


def percent(value: float) -> str:
    """0.048 as "4.8 %", 3e-07 as "0.00003 %"."""
    return f"{100 * value:.1f} %" if value >= 1e-3 else f"{100 * value:.5f} %"


def speed_section() -> str:
    """Medians of the column "chosen / as written" of docs/benchmarks.md, the rectified ResNet-50, machine and date."""
    page = (DOCS / "benchmarks.md").read_text(encoding="utf-8")
    rows = [[told, *(ratios(page, f"{title} on {engine}") for engine in ENGINES)] for title, told in OPERATORS.items()]
    cells = [resnet(page, engine) for engine in ENGINES]
    rows.append(["RF-ResNet-50, compared with plain convolutions", *cells])
    (measured,) = re.findall(r"^Written by `make bench` on (.*)$", page, re.MULTILINE)
    return f"{table(['time, exported / as written', *ENGINES], rows)}\n\nMeasured on {measured}"


def ratios(page: str, title: str) -> str:
    """Median and range of one section: "0.65 (0.45 to 0.89)"."""
    section = page.partition(f"## {title}\n")[2].partition("\n## ")[0]
    found = [float(line.split("|")[-3]) for line in section.splitlines() if re.match(r"\| \d", line)]
    return f"{statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})"


def resnet(page: str, engine: str) -> str:
    """The ratio of the chosen form to the plain twin: "1.013 ± 0.005"."""
    section = page.partition("## RF-ResNet-50")[2]
    (row,) = (line for line in section.splitlines() if line.startswith(f"| {engine} |"))
    return row.rpartition("(")[2].rstrip(" |)")


def main() -> None:
    """Measure, draw, and write both sections into README.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speed", action="store_true", help="write the speed table alone, without measuring")
    sections = {"speed": speed_section()}
    if not parser.parse_args().speed:
        sections["border"] = border_section()
    text = README.read_text(encoding="utf-8")
    for name, section in sections.items():
        opening, closing = f"<!-- {name} -->", f"<!-- /{name} -->"
        before, found, rest = text.partition(opening)
        _, closed, after = rest.partition(closing)
        if not (found and closed):
            raise SystemExit(f"README.md has no section {opening} … {closing}")
        text = f"{before}{opening}\n{section}\n{closing}{after}"
    README.write_text(text, encoding="utf-8")
    print(f"wrote {README.name}: {', '.join(sections)}")


if __name__ == "__main__":
    main()
