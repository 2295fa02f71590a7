"""Windows for the tests of both rectification passes."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import assume
from hypothesis import strategies as st

from rectexport.plugins import reference
from tests.export.helper import Array


@dataclass(frozen=True)
class Window:
    """A window on a plane that it fits."""

    size: tuple[int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)
    mode: str = "sum"

    @property
    def numerator(self) -> int:
        return self.kernel[0] * self.kernel[1] if self.mode == "sum" else 1

    @property
    def attributes(self) -> str:
        """For a Rectify node in ONNX's text form, less empty_bias."""
        lists = {"kernel_shape": self.kernel, "strides": self.strides, "pads": self.pads, "dilations": self.dilations}
        return ", ".join(f"{name}={list(value)}" for name, value in lists.items()) + f", numerator={self.numerator}"

    @property
    def convolution(self) -> str:
        """For a Conv node."""
        return f"strides={list(self.strides)}, pads={list(self.pads)}, dilations={list(self.dilations)}"

    def factors(self, size: tuple[int, int] | None = None) -> Array:
        """r by the reference, at another size than the window's own if one is given."""
        return reference.rectification_map(
            *(size or self.size), self.kernel, self.strides, self.pads, self.dilations, mode=self.mode
        )

    def rectified(self, x: Array, weight: Array, bias: Array, empty: str) -> Array:
        """The whole rectified convolution by the reference."""
        options = (self.strides, self.pads, self.dilations)
        return reference.rectified_conv2d(x, weight, bias, *options, mode=self.mode, empty=empty)

    def fits(self, size: tuple[int, int]) -> bool:
        """Whether the convolution has an output at that size."""
        top, left, bottom, right = self.pads
        room = size[0] + top + bottom, size[1] + left + right
        return all((k - 1) * d < r for k, d, r in zip(self.kernel, self.dilations, room, strict=True))


sizes = st.tuples(st.integers(1, 12), st.integers(1, 12))


@st.composite
def windows(draw: st.DrawFn) -> Window:
    kernel = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    strides = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    pads = draw(st.tuples(*[st.integers(0, 5)] * 4))
    dilations = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    window = Window(draw(sizes), kernel, strides, pads, dilations, draw(st.sampled_from(["sum", "average"])))
    assume(window.fits(window.size))
    return window
