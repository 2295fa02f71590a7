"""Zip archives from strangers, looked at before a library reads them.

Two readers of one archive may see different files in it: the last of two entries of one name or the first, with or
without what stands before the archive. So that what was checked is what is loaded, only archives that leave no
choice are accepted. They are also bounded: reading one never takes more than MAX_BYTES, or MAX_GROWTH times its size.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from rectexport.runtime.errors import BadInput

MAX_ENTRIES = 100_000
MAX_BYTES = 1 << 30
MAX_GROWTH = 32


def check_archive(path: Path) -> None:
    """Raise BadInput, saying what was found, if the archive is damaged, ambiguous or a bomb."""
    try:
        with zipfile.ZipFile(path) as archive:
            fault = next(_faults(path, archive), None)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise BadInput(f"{path}: damaged archive: {error}") from None
    if fault:
        raise BadInput(f"{path}: not an archive that is safe to read: {fault}")


def _faults(path: Path, archive: zipfile.ZipFile) -> Iterator[str]:
    entries = archive.infolist()
    if len(entries) > MAX_ENTRIES:
        yield f"{len(entries)} entries, more than {MAX_ENTRIES}"
        return
    allowed = max(MAX_BYTES, MAX_GROWTH * path.stat().st_size)
    total = sum(max(entry.file_size, entry.compress_size) for entry in entries)
    if total > allowed:
        yield f"its entries say that they hold {total} bytes, and {allowed} is the most that a file of this size may"
    if archive.comment or not entries or min(entry.header_offset for entry in entries):
        yield "there is something before the first entry, or after the last"
    seen: set[str] = set()
    for entry in entries:
        name = entry.filename
        if name != entry.orig_filename or "\\" in name or name.startswith("/") or ".." in PurePosixPath(name).parts:
            yield f"the entry {entry.orig_filename!r:.100} leads out of it"
        if name.casefold() in seen:
            yield f"the entry {name!r:.100} is there twice"
        seen.add(name.casefold())
