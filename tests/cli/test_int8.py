"""The flags of --int8: together or not at all, and what each may be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rectexport.cli.int8 import Int8Flags
from rectexport.exporter.base.options import Int8
from rectexport.runtime.errors import BadInput, UsageError


def test_without_int8_there_are_no_options() -> None:
    assert Int8Flags().options(False) is None


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"calibrate": Path("photos")}, "--calibrate: only with --int8"),
        ({"min_snr": 40.0}, "--min-snr: only with --int8"),
        ({"mean": "0.5"}, "--mean: only with --int8"),
        ({"portable_int8": True}, "--portable-int8: only with --int8"),
        ({"force": True}, "--force: only with --int8"),
        ({"int8_placement": "both"}, "--int8-placement: only with --int8"),
    ],
)
def test_a_flag_without_int8_is_refused(flags: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Int8Flags(**flags).options(False)


def test_int8_needs_data() -> None:
    with pytest.raises(UsageError, match=r"give --calibrate with a folder of images or an \.npz"):
        Int8Flags().options(True)


@pytest.mark.parametrize(("text", "share"), [("5%", 0.05), ("0.2", 0.2), ("0", 0.0), ("100%", 1.0)])
def test_a_share_is_percent_or_a_fraction(tmp_path: Path, text: str, share: float) -> None:
    found = Int8Flags(tmp_path, float_budget=text, keep_float=("a*",), std="0.5", mean="1,2,3").options(True)
    assert found == Int8(tmp_path, keep_float=("a*",), float_budget=share, mean=(1, 2, 3), std=(0.5,))


@pytest.mark.parametrize("text", ["5", "-1%", "five"])
def test_another_share_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="--float-budget"):
        Int8Flags(tmp_path, float_budget=text).options(True)


def test_data_that_is_not_there_is_found_before_the_export(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"absent: no such file or folder \(--calibrate\)"):
        Int8Flags(tmp_path / "absent").options(True)


def test_a_placement_is_handed_on_if_it_is_known(tmp_path: Path) -> None:
    assert Int8Flags(tmp_path, int8_placement="strips").options(True) == Int8(tmp_path, placement="strips")
    with pytest.raises(UsageError, match="int8_placement='inside': expected one of auto, both, strips"):
        Int8Flags(tmp_path, int8_placement="inside").options(True)


def test_an_unknown_method_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="calibration_method='percentile': expected one of mse, minmax, entropy"):
        Int8Flags(tmp_path, calibration_method="percentile").options(True)
