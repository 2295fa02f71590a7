"""Files that others trust: hashed, and never seen half-written."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rectexport.runtime.errors import BadInput


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

    An existing `out` is replaced only if it is empty or holds `owned_marker`, a JSON file with a format of
    ours. Raises BadInput when it is something else, or when its parent cannot be written.
    """
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        kind = "a symbolic link" if out.is_symlink() else "a file"
        raise BadInput(f"{out}: is {kind}, not a folder; choose another output with -o")
    if out.name in ("", "..") or os.path.ismount(out):
        raise BadInput(f"{out}: cannot be replaced as a whole; name a folder in it, as in -o {out / 'net'}")
    if out.exists() and any(out.iterdir()) and not _is_ours(out / owned_marker):
        raise BadInput(f"{out}: already holds other files (no {owned_marker} of ours); choose another output with -o")
    work = _make_sibling(out)
    try:
        yield work
        _swap(work, out)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _is_ours(marker: Path) -> bool:
    try:
        document = json.loads(marker.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(document, dict) and str(document.get("format")).startswith("rectexport-")


@contextmanager
def replaced_file(out: Path) -> Iterator[Path]:
    """A temporary sibling of `out` that takes its place when the block ends well, and vanishes otherwise.

    Raises BadInput when `out` is a folder or cannot be written.
    """
    if out.is_dir():
        raise BadInput(f"{out}: is a folder; name a file with -o")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{out.name}.", suffix=".partial", dir=out.parent)
        os.close(handle)
    except OSError as error:
        raise BadInput(f"{out}: cannot be written here: {error.strerror}") from None
    work = Path(name)
    try:
        yield work
        work.chmod(0o644)
        os.replace(work, out)
    finally:
        work.unlink(missing_ok=True)


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


def _make_sibling(out: Path) -> Path:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".partial", dir=out.parent))
        work.chmod(0o755)
    except OSError as error:
        file = next((parent for parent in out.parents if parent.exists() and not parent.is_dir()), None)
        reason = f"{file} is a file" if file else error.strerror
        raise BadInput(f"{out}: cannot be written here: {reason}") from None
    return work


def _swap(work: Path, out: Path) -> None:
    old = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".old", dir=out.parent))
    kept = old / out.name
    try:
        if out.exists():
            os.rename(out, kept)
        os.rename(work, out)
    except OSError as error:
        raise BadInput(f"{out}: cannot be replaced: {error.strerror}") from None
    finally:
        if kept.exists() and not out.exists():  # the second rename failed, or an interrupt came before it
            os.rename(kept, out)
        shutil.rmtree(old, ignore_errors=True)
