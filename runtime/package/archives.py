"""Checks untrusted zip archives before a library reads them.

Two readers may see different files in one archive: the first or the last of two entries with one name, with or without
data before the archive. To make sure that the checked data is the loaded data, ambiguous archives are refused. Their
size is bounded too: reading one never takes more than MAX_BYTES, or MAX_GROWTH times the archive's size.
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
    """Raise BadInput that names the fault if the archive is damaged, ambiguous or a decompression bomb."""
    try:
        with zipfile.ZipFile(path) as archive:
            fault = next(_faults(path, archive), None)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise BadInput(f"{path}: damaged archive: {error}") from None
    if fault:
        raise BadInput(f"{path}: unsafe archive: {fault}")


def _faults(path: Path, archive: zipfile.ZipFile) -> Iterator[str]:
    entries = archive.infolist()
    if len(entries) > MAX_ENTRIES:
        yield f"{len(entries)} entries, more than {MAX_ENTRIES}"
        return
    allowed = max(MAX_BYTES, MAX_GROWTH * path.stat().st_size)
    total = sum(max(entry.file_size, entry.compress_size) for entry in entries)
    if total > allowed:
        yield f"its entries declare {total} bytes, more than the {allowed} that a file of this size may hold"
    if archive.comment or not entries or min(entry.header_offset for entry in entries):
        yield "it holds data before the first entry or after the last"
    seen: set[str] = set()
    for entry in entries:
        name = entry.filename
        if name != entry.orig_filename or "\\" in name or name.startswith("/") or ".." in PurePosixPath(name).parts:
            yield f"the entry {entry.orig_filename!r:.100} has a path outside the archive"
        if name.casefold() in seen:
            yield f"the entry {name!r:.100} occurs twice"
        seen.add(name.casefold())
