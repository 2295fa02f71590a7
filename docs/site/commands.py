"""Reference pages of the command line, made from the commands themselves."""

from __future__ import annotations

import html
from importlib import import_module
from typing import Any

import typer

from rectexport.cli.command import EXIT_CODES
from rectexport.cli.group import module_of
from rectexport.cli.main import COMMANDS, app

FOLDER = "reference/cli"
#: Heading of options that a command puts into no panel.
OWN_PANEL = "Options"


def overview() -> str:
    """The page of all commands, by panel."""
    lines = ["# Command line", "", (app.registered_callback.callback.__doc__ or "").split("\n\n")[0], ""]  # type: ignore[union-attr]
    lines += ["`rectexport MODEL` is short for `rectexport export MODEL`. Made from the commands' own help.", ""]
    for panel in dict.fromkeys(entry.panel for entry in COMMANDS.values()):
        lines += [f"## {panel}", "", "| command | does |", "|---|---|"]
        lines += [f"| [{name}]({name}.md) | {e.help} |" for name, e in COMMANDS.items() if e.panel == panel]
        lines += [""]
    hidden = ["```{toctree}", ":hidden:", "", *COMMANDS, "```"]
    return "\n".join([*lines, EXIT_CODES, "", *hidden, ""])


def command_page(name: str) -> str:
    """The page of one command, and of those below it: usage, help, arguments, options by panel."""
    command: Any = typer.main.get_command(import_module(module_of(name)).app)
    lines = [f"# rectexport {name}", "", *_command(f"rectexport {name}", command, "##")]
    for other, below in getattr(command, "commands", {}).items():
        lines += [f"## rectexport {name} {other}", "", *_command(f"rectexport {name} {other}", below, "###")]
    return "\n".join([*lines, EXIT_CODES, ""])


def _command(words: str, command: Any, level: str) -> list[str]:
    context = command.make_context(words, [], resilient_parsing=True)
    usage = " ".join([words, *command.collect_usage_pieces(context)])
    lines = ["```text", usage, "```", "", (command.help or "").strip(), ""]
    parameters = command.get_params(context)
    arguments = [one for one in parameters if one.param_type_name == "argument"]
    options = [one for one in parameters if one.param_type_name == "option" and not one.hidden]
    if arguments:
        lines += [f"{level} Arguments", "", "| argument | meaning |", "|---|---|"]
        lines += [f"| `{_metavar(one)}` | {_cell(one.help)} |" for one in arguments]
        lines += [""]
    for panel in dict.fromkeys(one.rich_help_panel or OWN_PANEL for one in options):
        lines += [f"{level} {panel}", "", "| option | meaning | default |", "|---|---|---|"]
        lines += [_row(one) for one in options if (one.rich_help_panel or OWN_PANEL) == panel]
        lines += [""]
    return lines


def pages() -> dict[str, str]:
    """Every page of the command line's reference, by its place on the site."""
    return {f"{FOLDER}/index.md": overview(), **{f"{FOLDER}/{name}.md": command_page(name) for name in COMMANDS}}


def _row(option: Any) -> str:
    names = ", ".join([*option.opts, *option.secondary_opts])
    value = "" if option.is_flag else f" {_metavar(option)}"
    known = option.show_default is True and not callable(option.default)
    told = "" if not known or option.default in (None, False, "", (), []) else f"`{_cell(str(option.default))}`"
    return f"| `{names}{value}` | {_cell(option.help)} | {told} |"


def _metavar(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper())


def _cell(text: str | None) -> str:
    """A text in a cell of a table."""
    return html.escape(" ".join((text or "").split()), quote=False).replace("|", "\\|")
