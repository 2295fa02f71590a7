"""Colours: readable text, and a scale that works without seeing hue."""

from __future__ import annotations

import re

import pytest

from rectexport.runtime.report.scale import STEPS
from tests.places import ROOT

STYLE = (ROOT / "runtime/report/templates/page.css").read_text(encoding="utf-8")
#: What WCAG 2.2 asks of text of normal size (success criterion 1.4.3, level AA).
CONTRAST = 4.5


def colours(scheme: str) -> dict[str, str]:
    """The variables of one scheme; print changes some of the light one's."""
    found: dict[str, str] = {}
    blocks = [("light", r"^:root \{(.*?)\n\}"), (scheme, rf"@media [^{{]*{scheme}[^{{]*\{{\s*:root \{{(.*?)\}}")]
    for _, pattern in blocks[: 1 + (scheme != "light")]:
        block = re.search(pattern, STYLE, re.DOTALL | re.MULTILINE)
        assert block is not None
        found |= dict(re.findall(r"--(\w+): (#\w+)", block[1]))
    return found


def luminance(colour: str) -> float:
    """Relative luminance as WCAG defines it."""
    digits = colour[1:] if len(colour) == 7 else "".join(digit * 2 for digit in colour[1:])
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    """The contrast ratio as WCAG defines it."""
    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
def test_text_has_enough_contrast(scheme: str) -> None:
    known = colours(scheme)
    for text in ("ink", "quiet", "accent", "good", "bad"):
        for ground in ("paper", "card", "soft"):
            assert contrast(known[text], known[ground]) >= CONTRAST, (text, ground)


@pytest.mark.parametrize(("scheme", "rising"), [("light", False), ("dark", True), ("print", False)])
@pytest.mark.parametrize("kind", ["s", "t"])
def test_the_colour_scales_are_monotonic_in_lightness(scheme: str, rising: bool, kind: str) -> None:
    known = colours(scheme)
    lights = [luminance(known[f"{kind}{step}"]) for step in range(STEPS)]
    assert lights == sorted(lights, reverse=not rising)
    assert len(set(lights)) == STEPS
    least, most = known[f"{kind}0"], known[f"{kind}{STEPS - 1}"]
    assert contrast(least, most) > 8
    assert contrast(least, known["paper"]) < contrast(most, known["paper"])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_colour_of_failures_is_used_for_nothing_else(scheme: str) -> None:
    """On a page that passed nothing has it but the legend."""
    known = colours(scheme)
    assert [name for name, colour in known.items() if colour == known["bad"]] == ["bad"]
    users = re.findall(r"([^{};]+)\{[^{}]*var\(--bad\)", STYLE)
    assert [user.strip() for user in users] == [".verdict.bad strong", ".over", ".no"]
