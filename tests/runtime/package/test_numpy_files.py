"""Arrays are read only if their headers fit what the reader takes and what the file holds."""

from __future__ import annotations

import io
import os
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rectexport.runtime.errors import BadInput
from rectexport.runtime.package.numpy_files import TotalBound, read_npy, read_npz

X = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def small() -> TotalBound:
    return TotalBound(1 << 20, 1 << 20)


def header(shape: tuple[int, ...], descr: str = "<f4") -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_2_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})  # type: ignore[no-untyped-call]
    return stream.getvalue()


def archive(path: Path, entries: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return path


@pytest.mark.parametrize("dtype", ["?", "i1", "<u2", ">i4", "<f2", ">f4", "f8", "<u8"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_of_numbers_come_back_as_they_were(tmp_path: Path, dtype: str, save: Any) -> None:
    arrays = {"a": X.astype(dtype), "b": np.asfortranarray(X.astype(dtype)), "c": np.ones((), dtype), "d": X[:0]}
    save(tmp_path / "a.npz", **arrays)
    found = read_npz(tmp_path / "a.npz", small())
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        np.save(tmp_path / "a.npy", array)
        for actual in (found[name], read_npy(tmp_path / "a.npy", "a", small())):
            np.testing.assert_array_equal(actual, array)
            assert actual.dtype == array.dtype


def test_only_chosen_entries_are_looked_at(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", {"a.npy": header((6,)) + bytes(24), "b.npy": b"damaged", "notes": b"text"})
    assert list(read_npz(path, small(), lambda names: [name for name in names if name == "a"])) == ["a"]
    with pytest.raises(BadInput, match=r"a\.npz: not a readable \.npz of arrays"):
        read_npz(path, small())


@pytest.mark.parametrize("stated", [(5,), (7,), (1 << 40,), (0,), (2, 4)])
def test_a_header_that_states_another_size_than_the_entry_has(tmp_path: Path, stated: tuple[int, ...]) -> None:
    content = header(stated) + bytes(24)
    (tmp_path / "a.npy").write_bytes(content)
    loose = TotalBound(1 << 60, 1 << 60)
    with pytest.raises(BadInput, match=r"a states \d+ bytes, .* and holds 24"):
        read_npz(archive(tmp_path / "a.npz", {"a.npy": content}), loose)
    with pytest.raises(BadInput, match=r"a states \d+ bytes, .* and holds 24"):
        read_npy(tmp_path / "a.npy", "a", loose)


@pytest.mark.parametrize("descr", ["|O", "<U4", "|S4", "<M8[s]", "<c8", "|V4"])
def test_entries_without_numbers(tmp_path: Path, descr: str) -> None:
    content = header((1,), descr) + bytes(16)
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(BadInput, match="a is not an array of numbers: its dtype is"):
        read_npz(archive(tmp_path / "a.npz", {"a.npy": content}), small())
    with pytest.raises(BadInput, match="a is not an array of numbers: its dtype is"):
        read_npy(tmp_path / "a.npy", "a", small())


def test_an_inflated_entry_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", {"a.npy": header((1 << 26,)) + bytes(1 << 28)})
    assert path.stat().st_size < 1 << 20
    tracemalloc.start()
    with pytest.raises(BadInput, match=r"array a has shape \[67108864\] of float32: expected at most 1048576 elements"):
        read_npz(path, TotalBound(1 << 20, 1 << 40))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 << 20


def test_the_bytes_of_all_arrays_are_bounded(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=X, b=X, c=X)
    assert len(read_npz(tmp_path / "a.npz", TotalBound(24, 3 * X.nbytes))) == 3
    with pytest.raises(BadInput, match=r"array c has shape .* and 287 bytes in all arrays"):
        read_npz(tmp_path / "a.npz", TotalBound(24, 3 * X.nbytes - 1))


def test_files_that_are_no_archives_of_arrays(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npz")
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "cut.npy").write_bytes(header((6,))[:20])
    np.savez(tmp_path / "honest.npz", a=X)
    whole = (tmp_path / "honest.npz").read_bytes()
    (tmp_path / "changed.npz").write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])
    (tmp_path / "prefix.npz").write_bytes(b"#!" + whole)
    for name, said in (
        ("pipe.npz", "is a pipe"),
        ("text.npz", "it is not a zip archive"),
        ("changed.npz", "Bad CRC"),
        ("prefix.npz", "unsafe archive"),
    ):
        with pytest.raises(BadInput, match=f"{name}: .*{said}"):
            read_npz(tmp_path / name, small())
    for name, said in (("pipe.npz", "is a pipe"), ("cut.npy", "not a readable .npy")):
        with pytest.raises(BadInput, match=f"{name}: {said}"):
            read_npy(tmp_path / name, "a", small())
