"""Entry point: picks the command, turns what it did not expect into one line and an exit code."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from rectexport.cli.failure import debugging, explain, print_failure
from rectexport.runtime.base.texts import printable
from rectexport.runtime.errors import UsageError

#: Command -> module whose `app` runs it. Anything else on the command line is a model to export.
COMMANDS: dict[str, str] = {
    "bench": "rectexport.cli.commands.bench",
    "build": "rectexport.cli.commands.build",
    "doctor": "rectexport.cli.commands.doctor",
    "export": "rectexport.cli.commands.export",
    "keygen": "rectexport.cli.commands.keygen",
    "models": "rectexport.cli.commands.models",
    "optimize": "rectexport.cli.commands.optimize",
    "parity": "rectexport.cli.commands.parity",
    "ray-config": "rectexport.cli.commands.ray_config",
    "report": "rectexport.cli.commands.report",
    "serve": "rectexport.cli.commands.serve",
    "sign": "rectexport.cli.commands.sign",
    "triton": "rectexport.cli.commands.triton",
    "verify": "rectexport.cli.commands.verify",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    name = "export"
    if words and words[0] in COMMANDS:
        name = words.pop(0)
    try:
        if name == "export":
            _check_no_slip(words)
        module = import_module(COMMANDS[name])
        # The words go along as the context's object, for the line that says how to run the command again.
        module.app(args=words, prog_name="rectexport" if name == "export" else f"rectexport {name}", obj=words)
    except (Exception, KeyboardInterrupt) as error:
        if debugging():
            raise
        text, code = explain(error)
        print(f"error: {printable(text)}", file=sys.stderr)
        if "--json" in words:
            print_failure(printable(text), type(error).__name__, code)
        raise SystemExit(code) from None


def _check_no_slip(words: Sequence[str]) -> None:
    """Refuse a first word that is no file and nearly a command: as a MODEL it would be refused for another reason."""
    if not words or not words[0].isalpha() or Path(words[0]).exists():
        return  # model files have suffixes, options have dashes
    nearest = difflib.get_close_matches(words[0], COMMANDS, n=1, cutoff=0.7)
    if nearest:
        raise UsageError(f"{words[0]}: neither a command nor a file; did you mean rectexport {nearest[0]}?")


if __name__ == "__main__":
    main()
