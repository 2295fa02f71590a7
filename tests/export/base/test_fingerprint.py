"""Fingerprints of data change with its content."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from rectexport.exporter.base.fingerprint import fingerprint
from rectexport.runtime.errors import BadInput


def test_a_file_by_its_content_and_name(tmp_path: Path) -> None:
    file = tmp_path / "data.npz"
    absent = fingerprint(file)
    file.write_bytes(b"one")
    first = fingerprint(file)
    os.utime(file, (1, 1))
    assert fingerprint(str(file)) == first != absent
    file.write_bytes(b"two")
    assert fingerprint(file) != first


def test_a_folder_by_the_files_in_it(tmp_path: Path) -> None:
    file = tmp_path / "cat" / "1.png"
    file.parent.mkdir()
    file.write_bytes(b"one")
    first = fingerprint(tmp_path)
    assert fingerprint(tmp_path) == first
    os.utime(file, (1, 1))
    later = fingerprint(tmp_path)
    file.rename(file.with_name("2.png"))
    assert len({first, later, fingerprint(tmp_path)}) == 3


def test_arrays_by_their_elements_type_and_shape() -> None:
    zeros = np.zeros((2000, 2), np.float32)  # the repr of so many leaves the middle out
    other = zeros.copy()
    other[1000] = 1
    given = [{"x": zeros}, {"y": zeros}, {"x": other}, {"x": zeros.T}, {"x": zeros.astype(np.float64)}, None, [1]]
    assert len({fingerprint(value) for value in given}) == len(given)
    assert fingerprint({"x": zeros}) == fingerprint({"x": zeros.copy()})


def test_a_device_is_refused() -> None:
    with pytest.raises(BadInput, match="/dev/zero"):
        fingerprint("/dev/zero")
