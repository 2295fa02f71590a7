"""What all commands share in their help and their usage errors."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from rectexport.cli.failure import print_failure

#: The panel of options that concern the run itself.
RUN = "The run"
#: Of every command that has something to say.
AsJson = Annotated[
    bool, typer.Option("--json", help="One JSON document on stdout; the rest on stderr.", rich_help_panel=RUN)
]


class Command(TyperCommand):
    """Typer's command, less what clutters its help; with --json, wrong options are a document too."""

    def get_params(self, ctx: Any) -> Any:
        parameters: Any = super().get_params(ctx)
        for option in parameters:
            if getattr(option, "is_flag", False):
                option.metavar = ""
        parameters[-1].rich_help_panel = RUN  # --help is the last
        return parameters

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        as_json = "--json" in args
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            if as_json and hasattr(error, "format_message"):
                print_failure(error.format_message(), "UsageError", 2)
            raise
