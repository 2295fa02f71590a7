"""Entry point: picks the command, turns what it did not expect into one line and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from rectexport.cli.failure import debugging, explain
from rectexport.runtime.texts import printable

#: Command -> module whose `app` runs it. Anything else on the command line is a model to export.
COMMANDS: dict[str, str] = {
    "bench": "rectexport.cli.bench",
    "build": "rectexport.cli.build",
    "doctor": "rectexport.cli.doctor",
    "export": "rectexport.cli.export",
    "keygen": "rectexport.cli.keygen",
    "models": "rectexport.cli.models",
    "optimize": "rectexport.cli.optimize",
    "parity": "rectexport.cli.parity",
    "ray-config": "rectexport.cli.ray_config",
    "report": "rectexport.cli.report",
    "serve": "rectexport.cli.serve",
    "sign": "rectexport.cli.sign",
    "triton": "rectexport.cli.triton",
    "verify": "rectexport.cli.verify",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    name = "export"
    if words and words[0] in COMMANDS:
        name = words.pop(0)
    try:
        module = import_module(COMMANDS[name])
        # The words go along as the context's object, for the line that says how to run the command again.
        module.app(args=words, prog_name="rectexport" if name == "export" else f"rectexport {name}", obj=words)
    except (Exception, KeyboardInterrupt) as error:
        if debugging():
            raise
        text, code = explain(error)
        print(f"error: {printable(text)}", file=sys.stderr)
        raise SystemExit(code) from None


if __name__ == "__main__":
    main()
