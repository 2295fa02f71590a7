"""The options of a build: checks, sizes, and what the manifest records."""

from __future__ import annotations

from pathlib import Path

import pytest

from rectexport.runtime.base.shapes import ShapeRange
from rectexport.runtime.engines.tensorrt.options import BuildOptions, parse_size
from rectexport.runtime.errors import BadInput, UsageError

PROFILE = {"x": ShapeRange((1, 3), (2, 3), (8, 3))}


def test_unknown_compatibility_and_missing_plugins_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--hardware-compatibility hopper: expected one of none, ampere"):
        BuildOptions((PROFILE,), hardware_compatibility="hopper")
    with pytest.raises(BadInput, match=r"missing\.so: no such plugin library"):
        BuildOptions((PROFILE,), plugins=(tmp_path / "missing.so",))


def test_the_manifest_records_what_a_reused_plan_must_equal() -> None:
    options = BuildOptions((PROFILE,), tf32=True, workspace=1 << 30)
    assert options.recorded() == {
        "profiles": [{"x": {"min": [1, 3], "opt": [2, 3], "max": [8, 3]}}],
        "tf32": True,
        "version_compatible": False,
        "hardware_compatibility": "none",
        "strip_plan": False,
    }


@pytest.mark.parametrize(
    ("text", "size"),
    [("4G", 4 << 30), ("512M", 512 << 20), ("1.5GiB", 3 << 29), ("2 kb", 2048), ("100", 100), ("1T", 1 << 40)],
)
def test_sizes_are_powers_of_1024(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "-1G", "4X", "G", "1e9", "99999T"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"--pool .*: expected a size"):
        parse_size(text, "--pool")
