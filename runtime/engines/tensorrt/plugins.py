"""Finds the TensorRT plugin library: installed with rectexport, or given by the user."""

from __future__ import annotations

from pathlib import Path

from rectexport.runtime.base.reading import open_regular
from rectexport.runtime.errors import BadInput

LIBRARY = "librectexport_rectify.so"
_BUILT_IN = Path(__file__).resolve().parents[3] / "plugins" / LIBRARY
_ELF = b"\x7fELF"


def plugin_library(explicit: str | Path | None = None) -> Path | None:
    """The library for `tensorrt.get_plugin_registry().load_library`, as an absolute path.

    `explicit` (from --plugins) is preferred; otherwise the library that rectexport was installed with. None if there
    is neither: then models use the ONNX function bodies and need no library.

    Raises BadInput when the file is missing, cannot be read, or is not a shared library.
    """
    if explicit is None and not _BUILT_IN.is_file():
        return None
    path = _BUILT_IN if explicit is None else Path(explicit)
    _check(path)
    return path.resolve()


def _check(path: Path) -> None:
    if not path.exists():
        raise BadInput(f"{path}: no such plugin library; build it as docs/plugin.md says, or leave it out")
    try:
        with open_regular(path) as stream:
            start = stream.read(len(_ELF))
    except BadInput as error:
        raise BadInput(f"{error}; give the plugin library {LIBRARY}") from None
    if start != _ELF:
        raise BadInput(f"{path}: expected a shared library (ELF), found bytes {start!r}; give the file {LIBRARY}")
