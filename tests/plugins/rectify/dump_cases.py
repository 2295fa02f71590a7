"""Write the expected values of the native tests, computed by plugins/reference.py.

    python dump_cases.py FOLDER

Little-endian files without headers, read by case_file.h:

geometries.bin  int64: 7 of the rows' axis, 7 of the columns', numerator; taps of each row, taps of each column;
                float64: r [H_out, W_out]
tensors.bin     int64: type, layout, batch, channels, both axes, numerator, empty_bias, biased, has_bias;
                float64: y [N, C, H_out, W_out], bias [C] if there is one, slack, expected [N, C, H_out, W_out]
numbers.bin     uint32: a float's bits, its float16's, its bfloat16's, the float16's as a float again

An axis is size, out, kernel, stride, pad before, pad after, dilation.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from rectexport.plugins import reference

GEOMETRIES, TENSORS = 6000, 360
TYPES = (np.dtype(np.float32), np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16))
LAYOUTS = 3
#: Relative to the value; added to half a unit in the last place of each type, for the arithmetic in float32 before.
SLACK = 2.0**-22
#: Half of float16's smallest number.
SUBNORMAL = 2.0**-25


@dataclass(frozen=True)
class Geometry:
    """A convolution's sizes and window, always in the order rows, columns."""

    size: tuple[int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int, int, int]
    dilations: tuple[int, int]
    mode: reference.Mode

    @property
    def numerator(self) -> int:
        return self.kernel[0] * self.kernel[1] if self.mode == "sum" else 1

    def axis(self, index: int) -> tuple[int, int, int, int, int, int]:
        """As `reference.valid_taps` takes it."""
        return (
            self.size[index],
            self.kernel[index],
            self.strides[index],
            self.pads[index],
            self.pads[index + 2],
            self.dilations[index],
        )

    def taps(self, index: int) -> reference.Counts:
        return reference.valid_taps(*self.axis(index))

    def header(self) -> list[int]:
        axes = [(self.axis(i)[0], len(self.taps(i)), *self.axis(i)[1:]) for i in (0, 1)]
        return [*axes[0], *axes[1], self.numerator]


KNOWN = (
    Geometry((224, 224), (7, 7), (2, 2), (3, 3, 3, 3), (1, 1), "sum"),
    Geometry((56, 56), (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), "sum"),
    Geometry((57, 31), (3, 3), (2, 2), (1, 1, 1, 1), (2, 2), "average"),
    Geometry((1, 1), (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), "sum"),
    Geometry((8, 8), (1, 1), (1, 1), (1, 1, 1, 1), (1, 1), "sum"),  # conv7 of ConvPool-CNN-C: v = 0
    Geometry((1, 300), (1, 9), (1, 4), (0, 8, 0, 3), (1, 5), "sum"),
)


def geometry(random: np.random.Generator, largest: int) -> Geometry:
    """A random geometry whose window fits into the padded input."""

    def pick(low: int, high: int, count: int) -> Any:
        return tuple(int(n) for n in random.integers(low, high, count, endpoint=True))

    while True:
        mode: reference.Mode = "sum" if random.random() < 0.7 else "average"
        drawn = Geometry(pick(1, largest, 2), pick(1, 5, 2), pick(1, 4, 2), pick(0, 6, 4), pick(1, 4, 2), mode)
        if all(a[0] + a[3] + a[4] > (a[1] - 1) * a[5] for a in (drawn.axis(0), drawn.axis(1))):
            return drawn


def geometries(random: np.random.Generator) -> Iterator[Geometry]:
    yield from KNOWN
    for _ in range(GEOMETRIES):
        yield geometry(random, 32)


def factors(drawn: Geometry) -> reference.Array:
    return reference.rectification_map(
        *drawn.size, drawn.kernel, drawn.strides, drawn.pads, drawn.dilations, drawn.mode
    )


def write_geometries(stream: BinaryIO, random: np.random.Generator) -> None:
    for drawn in geometries(random):
        integers = np.concatenate([drawn.header(), drawn.taps(0), drawn.taps(1)]).astype("<i8")
        stream.write(integers.tobytes() + factors(drawn).astype("<f8").tobytes())


def rounded(random: np.random.Generator, shape: Any, dtype: np.dtype[Any]) -> reference.Array:
    """Random numbers that the type holds exactly."""
    return random.normal(0, 2, shape).astype(dtype).astype(np.float64)


def write_tensor(stream: BinaryIO, random: np.random.Generator, number: int) -> None:
    drawn = geometry(random, 13)
    kind, layout = number % len(TYPES), number // len(TYPES) % LAYOUTS
    batch, channels = (int(n) for n in random.integers(1, (3, 21), endpoint=True))
    empty: reference.Empty = "zero" if number % 4 == 0 else "bias"
    r = factors(drawn)
    y = rounded(random, (batch, channels, *r.shape), TYPES[kind])
    bias = rounded(random, channels, TYPES[kind]) if random.random() < 0.5 else None
    if bias is not None:
        bias[random.random(channels) < 0.3] = 0  # the kernel may skip a channel with bias 0 where r = 1
    window = (drawn.kernel, drawn.strides, drawn.pads, drawn.dilations, drawn.mode)
    biased = bool(random.random() < 0.5)
    convolved = y if bias is None or not biased else y - bias.reshape(-1, 1, 1)
    expected = reference.rectify(convolved, (batch, 1, *drawn.size), bias, *window, empty)
    largest = np.abs(r * y).max() + (0 if bias is None else np.abs(bias).max() * (1 + biased * r.max()))
    header = [kind, layout, batch, channels, *drawn.header(), empty == "bias", biased, bias is not None]
    stream.write(np.array(header, dtype="<i8").tobytes())
    for array in (y, np.zeros(0) if bias is None else bias, largest * SLACK + SUBNORMAL, expected):
        stream.write(np.asarray(array, dtype="<f8").tobytes())


def write_numbers(stream: BinaryIO, random: np.random.Generator) -> None:
    halves = np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float32)
    between = halves[:-1] / 2 + halves[1:] / 2  # ties, and the edge cases at both ends
    anything = random.integers(0, 2**32, 100_000, dtype=np.uint32).view(np.float32)
    floats = np.concatenate([halves, between, anything, np.array([65519.996, 65520, -65536], np.float32)])
    floats = floats[~np.isnan(floats)]
    half = floats.astype(np.float16)
    columns = [
        floats.view(np.uint32),
        half.view(np.uint16).astype(np.uint32),
        floats.astype(ml_dtypes.bfloat16).view(np.uint16).astype(np.uint32),
        half.astype(np.float32).view(np.uint32),
    ]
    stream.write(np.stack(columns, axis=1).astype("<u4").tobytes())


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with np.errstate(all="ignore"), (folder / "numbers.bin").open("wb") as stream:
        write_numbers(stream, np.random.default_rng(1))
    with (folder / "geometries.bin").open("wb") as stream:
        write_geometries(stream, np.random.default_rng(2))
    with (folder / "tensors.bin").open("wb") as stream:
        random = np.random.default_rng(3)
        for number in range(TENSORS):
            write_tensor(stream, random, number)


if __name__ == "__main__":
    main()
