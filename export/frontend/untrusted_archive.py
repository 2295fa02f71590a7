"""Refuse an archive in which a check finds something that its author could misuse."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from rectexport.runtime.errors import BadInput, Option


def refuse_dangers(path: Path, find: Callable[[zipfile.ZipFile], Iterator[str]], kind: str, risk: str) -> None:
    """Raise BadInput with the first danger that `find` yields, or when the archive is damaged.

    kind names the kind of file, risk what loading it could do.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            found = next(find(archive), None)
    except (zipfile.BadZipFile, OSError, ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise BadInput(f"{path}: damaged {kind}: {error}") from None
    if found:
        raise BadInput(
            f"{path}: could {risk}: {found}. If you trust its author, add ",
            Option("trust_pickle", True),
            "; otherwise ask for a state_dict",
        )
