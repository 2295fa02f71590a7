"""Hashes files and replaces files and folders atomically, so that no reader sees a half-written one."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from rectexport.runtime.base.reading import open_regular, read_bounded
from rectexport.runtime.base.temporary import OLD, held, is_abandoned, siblings, temporary_file, temporary_folder
from rectexport.runtime.errors import BadInput

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
#: Longest document that shows that a folder is ours, in bytes.
_MAX_MARKER = 16 << 20
#: errno of renameat2 when the kernel or the file system cannot exchange two folders.
_CANNOT_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes. Raises BadInput for what is not a regular file (see `open_regular`)."""
    digest = hashlib.sha256()
    with open_regular(path) as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def replaced_directory(out: Path, owned_marker: str) -> Iterator[Path]:
    """A temporary folder beside `out` that replaces it when the block succeeds, and is removed otherwise.

    An existing `out` is replaced only if it is empty or holds `owned_marker`, a JSON file with a format of ours.
    Temporaries that a killed process left beside it are removed. Raises BadInput when `out` is anything else, or when
    its parent cannot be written.
    """
    _recover(out, owned_marker)
    check_replaceable_folder(out, owned_marker)
    with ExitStack() as stack:
        work = _enter(stack, out, temporary_folder(out.parent, out.name))
        yield work
        check_replaceable_folder(out, owned_marker)  # again: another process may have written here meanwhile
        try:
            _swap(work, out)
        except OSError as error:
            raise BadInput(f"{out}: cannot be replaced: {error.strerror}") from None


@contextmanager
def replaced_file(out: Path) -> Iterator[Path]:
    """A temporary file beside `out` that replaces it when the block succeeds, and is removed otherwise.

    Raises BadInput when `out` is a folder or a device, or cannot be written.
    """
    check_replaceable(out)
    with ExitStack() as stack:
        work = _enter(stack, out, temporary_file(out.parent, out.name))
        yield work
        os.replace(work, out)


def create_executable(path: str | Path) -> None:
    """Create an empty file that may be executed, with the permissions that the umask leaves. Raises OSError."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o777))


def copy_file(source: str | Path, out: str | Path) -> None:
    """Copy a file's bytes to a new file with the permissions that the umask leaves; a program stays executable.

    Raises OSError when `out` exists or cannot be written.
    """
    if os.stat(source).st_mode & stat.S_IXUSR:
        create_executable(out)
    shutil.copyfile(source, out)


def check_replaceable(out: Path) -> None:
    """Raise BadInput if `out` is a folder or a device, as `replaced_file` would."""
    if out.exists() and not out.is_file():
        raise BadInput(f"{out}: is {'a folder' if out.is_dir() else 'a device'}; expected the name of a file")


def _enter(stack: ExitStack, out: Path, temporary: AbstractContextManager[Path]) -> Path:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        return stack.enter_context(temporary)
    except OSError as error:
        file = next((parent for parent in out.parents if parent.exists() and not parent.is_dir()), None)
        reason = f"{file} is a file" if file else error.strerror
        raise BadInput(f"{out}: cannot be written here: {reason}") from None


def check_replaceable_folder(out: Path, marker: str) -> None:
    """Raise BadInput unless `out` does not exist, is empty, or is ours, as `replaced_directory` would."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        kind = "a symbolic link" if out.is_symlink() else "a file"
        raise BadInput(f"{out}: is {kind}, not a folder; choose another output with -o")
    if out.name in ("", "..") or os.path.ismount(out):
        raise BadInput(f"{out}: cannot be replaced as a whole; name a folder in it, as in -o {out / 'net'}")
    if out.exists() and any(out.iterdir()) and not _is_ours(out / marker):
        raise BadInput(f"{out}: already holds other files (no {marker} of rectexport); choose another output with -o")


def _is_ours(marker: Path) -> bool:
    try:
        document = json.loads(read_bounded(marker, _MAX_MARKER))
    except (BadInput, ValueError, RecursionError):
        return False
    return isinstance(document, dict) and str(document.get("format")).startswith("rectexport-")


@contextmanager
def locked(path: Path, busy: str = "") -> Iterator[None]:
    """Hold an exclusive lock on the file `path` while the block runs.

    While another process of this machine holds it, this one waits; with `busy` it raises BadInput of that text
    instead. The operating system releases the lock when the process ends, also when it is killed; the empty file stays.
    On Windows nothing is locked. Raises BadInput when the file cannot be created.
    """
    if sys.platform == "win32":
        yield
        return
    import fcntl

    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise BadInput(f"{path.parent}: cannot be written here: {error.strerror}") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
        except BlockingIOError:
            raise BadInput(busy) from None
        yield
    finally:
        os.close(handle)


def _swap(work: Path, out: Path) -> None:
    """Swap the folders `work` and `out`; if `out` does not exist, rename `work` to it. Raises OSError."""
    if not out.exists():
        os.rename(work, out)
    elif not _exchange(work, out):
        _set_aside(work, out)


def _exchange(work: Path, out: Path) -> bool:
    """Swap two folders atomically, so that `out` exists at every moment; False if the system cannot."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if sys.platform == "linux" else None
    if rename is None:
        return False
    if rename(_AT_FDCWD, os.fsencode(work), _AT_FDCWD, os.fsencode(out), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _CANNOT_EXCHANGE:
        return False
    raise OSError(number, os.strerror(number))


def _set_aside(work: Path, out: Path) -> None:
    """Swap in two steps; if the process is killed between them, `_recover` restores the old folder."""
    old = work.with_suffix(OLD)
    with held(out):
        try:
            os.rename(out, old)
            os.rename(work, out)
        except BaseException:
            if old.exists() and not out.exists():
                os.rename(old, out)
            raise
        os.rename(old, work)  # removed with the temporary folder


def _recover(out: Path, marker: str) -> None:
    """Restore the old `out` if a process was killed between the two steps of `_set_aside`."""
    if out.exists() or out.is_symlink():
        return
    for old in siblings(out.parent, f".{out.name}.", OLD):
        if _is_ours(old / marker) and is_abandoned(old):
            os.rename(old, out)
            return
