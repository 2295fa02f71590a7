"""Only regular files are opened, without waiting, and with bounds on their bytes and holes."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from rectexport.runtime.base import reading
from rectexport.runtime.base.reading import check_regular, open_regular, read_bounded
from rectexport.runtime.errors import BadInput

READERS: list[Callable[[Path], object]] = [open_regular, check_regular, lambda path: read_bounded(path, 10)]
readers = pytest.mark.parametrize("read", READERS, ids=["open_regular", "check_regular", "read_bounded"])


def test_regular_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    (tmp_path / "link").symlink_to("file")
    for name in ("file", "link"):
        with open_regular(tmp_path / name) as stream:
            assert stream.read() == b"0123456789"
        assert check_regular(tmp_path / name) == 10
        assert read_bounded(tmp_path / name, 10) == b"0123456789"


@readers
def test_a_pipe_is_refused_although_somebody_writes_to_it(tmp_path: Path, read: Callable[[Path], object]) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(BadInput, match=f"^{pipe}: is a pipe, expected a regular file$"):
        read(pipe)
    handle = os.open(pipe, os.O_RDWR)
    os.write(handle, b"data")
    with pytest.raises(BadInput, match="is a pipe"):
        read(pipe)
    os.close(handle)


@readers
def test_a_pipe_that_replaces_a_file_after_the_first_look_does_not_block(
    tmp_path: Path, read: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    look = os.stat
    monkeypatch.setattr(os, "stat", lambda path, **_: look(tmp_path / "file"))
    said: list[str] = []

    def refused() -> None:
        try:
            read(tmp_path / "pipe")
        except BadInput as error:
            said.append(str(error))

    thread = threading.Thread(target=refused, daemon=True)
    thread.start()
    thread.join(20)
    assert said == [f"{tmp_path / 'pipe'}: is a pipe, expected a regular file"]


@readers
def test_folders_sockets_and_devices_are_refused(
    tmp_path: Path, read: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "zeros").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as end:
        monkeypatch.chdir(tmp_path)  # a socket's path is short
        end.bind("socket")
        for name, kind in ((".", "a folder"), ("socket", "a socket"), ("zeros", "a device")):
            with pytest.raises(BadInput, match=f"is {kind}, expected a regular file"):
                read(tmp_path / name)


@readers
def test_files_that_cannot_be_opened_are_named(tmp_path: Path, read: Callable[[Path], object]) -> None:
    (tmp_path / "itself").symlink_to("itself")
    with pytest.raises(BadInput, match="none: no such file"):
        read(tmp_path / "none")
    with pytest.raises(BadInput, match=r"itself: cannot be read: .*symbolic links"):
        read(tmp_path / "itself")


def test_more_bytes_than_the_limit_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(11))
    with pytest.raises(BadInput, match="file: more than 10 bytes, the most that such a file may have"):
        read_bounded(tmp_path / "file", 10)
    with pytest.raises(BadInput, match="more than 10 bytes"):
        read_bounded(Path("/proc/self/status"), 10)  # a regular file whose size is 0 until it is read


@readers
@pytest.mark.parametrize("layout", ["only a hole", "data first", "data last", "data in the middle"])
def test_a_sparse_giant_is_refused_at_once(tmp_path: Path, read: Callable[[Path], object], layout: str) -> None:
    path, size = tmp_path / "giant", 1 << 40
    with path.open("wb") as stream:
        stream.truncate(size)
        if layout != "only a hole":
            stream.seek({"data first": 0, "data last": size - 4096, "data in the middle": size // 2}[layout])
            stream.write(b"data")
    with pytest.raises(BadInput, match=f"giant: {size} bytes, of which .* are holes; a sparse file is not read"):
        read(path)


def test_a_file_with_few_holes_is_read_from_its_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_HOLES", 1 << 20)
    with (tmp_path / "file").open("wb") as stream:
        stream.write(b"data" + bytes(1 << 21))
        stream.seek(1 << 19, os.SEEK_CUR)
        stream.write(b"end")
    with open_regular(tmp_path / "file") as stream:
        assert stream.read(4) == b"data"


def test_a_file_system_that_reports_no_holes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "file").open("wb") as stream:
        stream.truncate(1 << 40)
    seek = os.lseek

    def refuse(handle: int, place: int, whence: int) -> int:
        if whence in (os.SEEK_DATA, os.SEEK_HOLE):
            raise OSError(22, "Invalid argument")
        return seek(handle, place, whence)

    monkeypatch.setattr(os, "lseek", refuse)
    assert check_regular(tmp_path / "file") == 1 << 40
