"""The program on the page: it loads the package and calls it, and runs as it is shown."""

from __future__ import annotations

from collections.abc import Sequence

from rectexport.runtime.package.manifest import TensorEntry
from rectexport.runtime.report.text import short

#: Names that are longer are shortened; no file system and no exporter writes such ones.
LONGEST = 255


def program(name: str, inputs: Sequence[TensorEntry]) -> str:
    """Python that loads the package in the folder `name` and calls it with zeros."""
    if len(inputs) == 1:
        made = f"x = {_zeros(inputs[0])}\n"
        call = "session(x)"
    else:
        made = "feeds = {\n" + "".join(f"    {_bounded(entry.name)!r}: {_zeros(entry)},\n" for entry in inputs) + "}\n"
        call = "session.run(feeds)"
    head = "import numpy as np\nimport rectexport\n\n"
    return f"{head}{made}with rectexport.load({_bounded(name)!r}) as session:\n    y = {call}\nprint(y)\n"


def _bounded(name: str) -> str:
    return name if len(name) <= LONGEST else short(name, LONGEST)


def _zeros(entry: TensorEntry) -> str:
    shape = entry.range.opt if entry.range else tuple(size if isinstance(size, int) else 1 for size in entry.shape)
    dtype = "np.bool_" if entry.dtype == "bool" else f"np.{entry.dtype}"
    return f"np.zeros({list(shape)}, {dtype})"
