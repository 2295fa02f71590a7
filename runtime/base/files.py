"""Files that others trust: hashed, and never seen half-written."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from rectexport.runtime.base.temporary import OLD, held, is_abandoned, siblings, temporary_file, temporary_folder
from rectexport.runtime.errors import BadInput

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
#: What renameat2 answers where the system or the file system cannot exchange two folders.
_CANNOT_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def replaced_directory(out: Path, owned_marker: str) -> Iterator[Path]:
    """A temporary sibling of `out` that takes its place when the block ends well, and vanishes otherwise.

    An existing `out` is replaced only if it is empty or holds `owned_marker`, a JSON file with a format of ours.
    What a process that was killed has left beside it is cleared away. Raises BadInput when `out` is something
    else, or when its parent cannot be written.
    """
    _recover(out, owned_marker)
    _refuse_strangers(out, owned_marker)
    with ExitStack() as stack:
        work = _enter(stack, out, temporary_folder(out.parent, out.name))
        work.chmod(0o755)
        yield work
        _refuse_strangers(out, owned_marker)  # the block takes a while: others may have been here
        try:
            _swap(work, out)
        except OSError as error:
            raise BadInput(f"{out}: cannot be replaced: {error.strerror}") from None


@contextmanager
def replaced_file(out: Path) -> Iterator[Path]:
    """A temporary sibling of `out` that takes its place when the block ends well, and vanishes otherwise.

    Raises BadInput when `out` is a folder or a device, or cannot be written.
    """
    check_replaceable(out)
    with ExitStack() as stack:
        work = _enter(stack, out, temporary_file(out.parent, out.name))
        yield work
        work.chmod(0o644)
        os.replace(work, out)


def check_replaceable(out: Path) -> None:
    """Raise BadInput where `replaced_file` would, for what stands there."""
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


def _refuse_strangers(out: Path, marker: str) -> None:
    """Raise BadInput unless `out` is free, empty, or ours."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        kind = "a symbolic link" if out.is_symlink() else "a file"
        raise BadInput(f"{out}: is {kind}, not a folder; choose another output with -o")
    if out.name in ("", "..") or os.path.ismount(out):
        raise BadInput(f"{out}: cannot be replaced as a whole; name a folder in it, as in -o {out / 'net'}")
    if out.exists() and any(out.iterdir()) and not _is_ours(out / marker):
        raise BadInput(f"{out}: already holds other files (no {marker} of ours); choose another output with -o")


def _is_ours(marker: Path) -> bool:
    try:
        document = json.loads(marker.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(document, dict) and str(document.get("format")).startswith("rectexport-")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, alone among all processes of this machine, while the block runs.

    The operating system keeps the lock for the process, not the file for the lock: it is free again when its holder
    ends, killed or not, and the empty file stays for the next. Raises BadInput where the file cannot be made.
    """
    import fcntl  # not on Windows, where nothing asks for a lock

    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise BadInput(f"{path.parent}: cannot be written here: {error.strerror}") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _swap(work: Path, out: Path) -> None:
    """Give `out` the contents of `work`; then `work` has the old ones, if there were any. Raises OSError."""
    if not out.exists():
        os.rename(work, out)
    elif not _exchange(work, out):
        _set_aside(work, out)


def _exchange(work: Path, out: Path) -> bool:
    """Swap two folders at once, so that `out` is there at every moment; False where that cannot be done."""
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
    """Swap in two steps; a process that is killed between them leaves what `_recover` puts back."""
    old = work.with_suffix(OLD)
    with held(out):
        try:
            os.rename(out, old)
            os.rename(work, out)
        except BaseException:
            if old.exists() and not out.exists():
                os.rename(old, out)
            raise
        os.rename(old, work)  # removed as the temporary folder is


def _recover(out: Path, marker: str) -> None:
    """Put back a package that was set aside by a process that was killed before the new one stood in its place."""
    if out.exists() or out.is_symlink():
        return
    for old in siblings(out.parent, f".{out.name}.", OLD):
        if _is_ours(old / marker) and is_abandoned(old):
            os.rename(old, out)
            return
