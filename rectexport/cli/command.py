"""What all commands share: their help, how they parse words, and one run from the first line to the exit code."""

from __future__ import annotations

import json
import sys
import time
from contextlib import AbstractContextManager
from typing import Any

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperCommand

from rectexport.cli.failure import NOTHING, print_failure, reported, show_verdict
from rectexport.cli.options import RUN, new_spellings
from rectexport.runtime.base.texts import printable

#: At the end of every help page.
EXIT_CODES = (
    "**Exit codes**: 0 success · 1 a file, model or package cannot be used · 2 wrong usage · 3 outputs differ from "
    "the reference · 4 slower, or more memory, than --fail-if-slower or --fail-if-more allows · 5 a dependency or "
    "device is missing · 128 + N ended by signal N"
)


def command_app() -> typer.Typer:
    """A Typer application for one command."""
    return typer.Typer(add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False)


def without_metavars(parameters: Any) -> Any:
    """The parameters; flags without a value show none in the help."""
    for option in parameters:
        if getattr(option, "is_flag", False):
            option.metavar = ""
    return parameters


class Command(TyperCommand):
    """Typer's command with plainer help, old spellings of flags, and wrong usage as a document with --json."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.epilog = self.epilog or EXIT_CODES

    def get_params(self, ctx: Any) -> Any:
        parameters = without_metavars(super().get_params(ctx))
        parameters[-1].rich_help_panel = RUN  # --help is the last
        return parameters

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        as_json = "--json" in args
        args, notices = new_spellings(self.name or "", args)
        if not ctx.resilient_parsing:
            for notice in notices:
                print(notice, file=sys.stderr)
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            if as_json and hasattr(error, "format_message"):
                print_failure(error.format_message(), "UsageError", 2)
            raise


class Run:
    """One run of a command: its words, its time, and where its output goes.

    With as_json or on_stderr everything for people goes to stderr; with quiet only errors and the last line appear.
    """

    def __init__(
        self,
        context: typer.Context,
        *,
        as_json: bool = False,
        quiet: bool = False,
        verbose: bool = False,
        on_stderr: bool = False,
    ) -> None:
        self._begin = time.perf_counter()
        self._as_json = as_json
        self._last = Console(stderr=as_json or on_stderr, highlight=False)
        self.console = Console(stderr=as_json or on_stderr, highlight=False, quiet=quiet)
        self.verbose = verbose
        name = context.command.name or ""
        self.again = ["rectexport", *([] if name == "export" else [name]), *(context.obj or ())]

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return time.perf_counter() - self._begin

    def reported(self, left: str = NOTHING) -> AbstractContextManager[None]:
        """Errors in the block end the command: a line, the verdict, a document with --json, the exit code.

        left says what the block leaves when it is interrupted.
        """
        return reported(self.again, self._as_json, left)

    def say(self, text: str, style: str = "") -> None:
        """A line for people; names in it may come from a file, so nothing in it acts on the terminal."""
        self.console.print(Text(printable(text), style=style), soft_wrap=True)

    def fault(self, text: str, word: str = "error") -> None:
        """Something that makes the command fail; printed with --quiet too."""
        self._last.print(f"{word}: ", style="bold red", end="")
        self._last.print(Text(printable(text)), soft_wrap=True)

    def conclude(self, text: str) -> None:
        """A last line that is no verdict."""
        self._last.print(Text(printable(text)), soft_wrap=True)

    def end(
        self,
        document: dict[str, Any] | None = None,
        *,
        code: int = 0,
        said: str = "",
        proven: str = "",
        again: list[str] | None = None,
    ) -> None:
        """The verdict, the document with --json, and the exit code; `said` goes before the time, `proven` after it.

        again, where given, is the command that shows a failure again.
        """
        show_verdict(self._last, not code, self.seconds, again or self.again, said, proven)
        self.write(document)
        if code:
            raise typer.Exit(code)

    def write(self, document: dict[str, Any] | None) -> None:
        """The document, with --json."""
        if self._as_json and document is not None:
            typer.echo(json.dumps(document, indent=2))
