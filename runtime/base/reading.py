"""Open files that a user names: only regular files, so that no pipe blocks, no device is read, and sizes are known."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

from rectexport.runtime.errors import BadInput

#: Most bytes of a file that may be holes: a sparse file takes no space on a disk and any amount of time to read.
MAX_HOLES = 1 << 30
_CHUNK = 1 << 16
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file to read its bytes; never waits.

    Raises BadInput when there is no such file, for a folder, pipe, socket or device, and for a file with more than
    MAX_HOLES bytes of holes, where the file system reports them.
    """
    try:
        _refuse_kind(path, os.stat(path))  # before opening, which a device may act on
        stream = open(path, "rb", opener=_without_waiting)  # noqa: SIM115  the caller closes it
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from None
    try:
        status = os.fstat(stream.fileno())
        _refuse_kind(path, status)
        _refuse_holes(path, stream.fileno(), status.st_size)
    except BaseException:
        stream.close()
        raise
    return stream


def check_regular(path: Path) -> int:
    """The size in bytes of a file that a library will open by its path. Raises as `open_regular` does."""
    with open_regular(path) as stream:
        return os.fstat(stream.fileno()).st_size


def read_bounded(path: Path, limit: int) -> bytes:
    """The bytes of a regular file. Raises as `open_regular` does, and BadInput for more than `limit` bytes."""
    with open_regular(path) as stream:
        length = os.fstat(stream.fileno()).st_size
        parts: list[bytes] = []
        try:
            while length <= limit and (part := stream.read(length or _CHUNK)):
                parts.append(part)
                length = sum(map(len, parts))  # a file of /proc has more bytes than its status says
        except OSError as error:
            raise BadInput(f"{path}: cannot be read: {error.strerror}") from None
    if length > limit:
        raise BadInput(f"{path}: more than {limit} bytes, the most that such a file may have")
    return b"".join(parts)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _refuse_kind(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "of an unknown kind")
        raise BadInput(f"{path}: is {kind}, expected a regular file")


def _refuse_holes(path: Path, handle: int, size: int) -> None:
    holes = _holes(handle, size) if size > MAX_HOLES else 0
    if holes > MAX_HOLES:
        raise BadInput(f"{path}: {size} bytes, of which {holes} or more are holes; a sparse file is not read")


def _holes(handle: int, size: int) -> int:
    """Bytes before and between the parts of a file that were written; the count ends above MAX_HOLES."""
    if not hasattr(os, "SEEK_DATA"):
        return 0
    holes = place = 0
    try:
        while place < size and holes <= MAX_HOLES:
            begin = os.lseek(handle, place, os.SEEK_DATA)
            holes += begin - place
            place = os.lseek(handle, begin, os.SEEK_HOLE)
    except OSError as error:
        if error.errno == errno.ENXIO:  # nothing was written behind `place`
            holes += size - place
    finally:
        os.lseek(handle, 0, os.SEEK_SET)
    return holes
