"""Ambiguous archives and decompression bombs are refused, ordinary ones are not. tests/hostile has more."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from rectexport.runtime.errors import BadInput
from rectexport.runtime.package import archives
from rectexport.runtime.package.archives import check_archive


def zipped(*entries: tuple[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_ordinary_archives_are_accepted(tmp_path: Path, save) -> None:
    save(tmp_path / "a.npz", x=np.zeros((64, 64)), y=np.ones(3))
    check_archive(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (zipped(("a", b"1"), ("A", b"2")), "'A' occurs twice"),
        (zipped(("../a", b"1")), r"'../a' has a path outside"),
        (zipped(("/a", b"1")), r"'/a' has a path outside"),
        (zipped(("a/../../b", b"1")), "has a path outside"),
        (b"#!/bin/sh\n" + zipped(("a", b"1")), "before the first entry"),
        (zipped(("a", b"1")) + zipped(("b", b"2")), "before the first entry"),
        (zipped(), "before the first entry or after the last"),
        (zipped(("a", b"1"))[:-1], "damaged archive"),
        (b"", "damaged archive"),
    ],
    # Not the bytes themselves: they hold the time, and processes that share the tests must agree on their names.
    ids=["twice", "up", "absolute", "up within", "in front", "two archives", "nothing", "cut short", "empty"],
)
def test_ambiguous_archives_are_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(BadInput, match=rf"a\.zip: .*{said}"):
        check_archive(tmp_path / "a.zip")


def test_decompression_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_BYTES", 1000)
    monkeypatch.setattr(archives, "MAX_ENTRIES", 3)
    path = tmp_path / "a.zip"
    path.write_bytes(zipped(("a", bytes(100_000)), compression=zipfile.ZIP_DEFLATED))
    with pytest.raises(BadInput, match=r"declare 100000 bytes, more than the \d+ that"):
        check_archive(path)
    path.write_bytes(zipped(("a", bytes(2000))))  # not compressed: no larger than declared
    check_archive(path)
    path.write_bytes(zipped(*((str(index), b"") for index in range(4))))
    with pytest.raises(BadInput, match="4 entries, more than 3"):
        check_archive(path)
