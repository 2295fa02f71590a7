"""Entry point: picks the command, turns every expected error into one line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

#: Command -> module whose `app` runs it. Anything else on the command line is a model to export.
COMMANDS: dict[str, str] = {"export": "rectexport.cli.export", "optimize": "rectexport.cli.optimize"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    name = "export"
    if words and words[0] in COMMANDS:
        name = words.pop(0)
    if os.environ.get("RECTEXPORT_DEBUG") != "1":
        sys.excepthook = _one_line
    module = import_module(COMMANDS[name])
    module.app(args=words, prog_name="rectexport" if name == "export" else f"rectexport {name}")


def _one_line(kind: type[BaseException], error: BaseException, trace: object) -> None:
    """What a user sees of a bug: no traceback, but how to get one."""
    text = str(error).strip().splitlines()
    print(
        f"rectexport: internal error, please report it: {kind.__name__}: {text[0] if text else ''}\n"
        "  RECTEXPORT_DEBUG=1 shows the traceback",
        file=sys.stderr,
    )


if __name__ == "__main__":
    main()
