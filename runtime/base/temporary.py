"""Temporary files and folders; those that a killed process left behind are removed, those in use are not.

The process that makes a temporary holds a lock on it (flock), which the system releases when the process ends, also
when it is killed. So a temporary of ours that can be locked is abandoned, and the next process that makes a temporary
of that name removes it. On systems without flock none is removed.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has no fcntl
    fcntl = None  # type: ignore[assignment]

PARTIAL, OLD = ".partial", ".old"
_TOKEN = "[a-z0-9_]{8}"  # the random part of a name, ours or tempfile's


@contextmanager
def temporary_file(folder: Path, name: str) -> Iterator[Path]:
    """An empty file `.NAME.xxxxxxxx.partial` in `folder`, removed at the end if it is still there.

    Its permissions are those that the umask leaves, as it will be renamed. Raises OSError when the folder cannot be
    written.
    """
    remove_abandoned(folder, f".{name}.")
    while True:
        path = _new_path(folder, f".{name}.")
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            continue
        if _keep(handle, path):
            break
        os.close(handle)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def temporary_folder(folder: Path, name: str) -> AbstractContextManager[Path]:
    """An empty folder `.NAME.xxxxxxxx.partial` in `folder`, removed with its contents at the end.

    Its permissions are those that the umask leaves, as it will be renamed. Entering raises OSError when the folder
    cannot be written.
    """
    return _folder(folder, f".{name}.", _make_by_umask)


def scratch_folder() -> AbstractContextManager[Path]:
    """An empty folder in the system's folder for temporary files, removed with its contents at the end.

    Only its owner may read it.
    """
    return _folder(Path(tempfile.gettempdir()), "rectexport-scratch.", _make_private)


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Lock `path` while the block runs, so that no other process takes it for abandoned."""
    handle = _lock(path)
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


def remove_abandoned(folder: Path, prefix: str) -> None:
    """Remove the temporaries `PREFIXxxxxxxxx.partial` and `.old` in `folder` whose processes have ended."""
    for path in [*siblings(folder, prefix, PARTIAL), *siblings(folder, prefix, OLD)]:
        handle = _lock(path)
        if handle is None:
            continue
        try:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        finally:
            os.close(handle)


def siblings(folder: Path, prefix: str, suffix: str) -> list[Path]:
    """The temporaries `PREFIXxxxxxxxxSUFFIX` in `folder`, of any process, sorted by name."""
    pattern = re.compile(re.escape(prefix) + _TOKEN + re.escape(suffix))
    try:
        return sorted(folder / name for name in os.listdir(folder) if pattern.fullmatch(name))
    except OSError:
        return []


def is_abandoned(path: Path) -> bool:
    """Whether no process holds a lock on the temporary."""
    handle = _lock(path)
    if handle is not None:
        os.close(handle)
    return handle is not None


def _new_path(folder: Path, prefix: str) -> Path:
    return folder / f"{prefix}{secrets.token_hex(4)}{PARTIAL}"


def _make_by_umask(parent: Path, prefix: str) -> Path:
    while True:
        path = _new_path(parent, prefix)
        with suppress(FileExistsError):
            path.mkdir()
            return path


def _make_private(parent: Path, prefix: str) -> Path:
    return Path(tempfile.mkdtemp(prefix=prefix, suffix=PARTIAL, dir=parent))


@contextmanager
def _folder(parent: Path, prefix: str, make: Callable[[Path, str], Path]) -> Iterator[Path]:
    remove_abandoned(parent, prefix)
    while True:
        path = make(parent, prefix)
        try:
            handle = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            continue  # another process took it for abandoned before it was locked
        except OSError:  # a folder cannot be opened on Windows
            handle = os.open(os.devnull, os.O_RDONLY)
            break
        if _keep(handle, path):
            break
        os.close(handle)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(handle)


def _keep(handle: int, path: Path) -> bool:
    """Lock a new temporary; False if another process took it for abandoned before that and removed it."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError:
        return True  # a file system without locks, where nothing is removed either
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False


def _lock(path: Path) -> int | None:
    """A handle that locks the file or folder; None if another process holds it or it cannot be locked."""
    if fcntl is None:
        return None
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        kind = os.fstat(handle).st_mode
        if stat.S_ISREG(kind) or stat.S_ISDIR(kind):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
    except OSError:
        pass
    os.close(handle)
    return None
