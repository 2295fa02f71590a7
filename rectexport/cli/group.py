"""The `rectexport` command itself: its commands, loaded when one is run; a first word that is none is a model."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from rectexport.cli.command import without_metavars
from rectexport.cli.failure import reported

EXPORT = "export"
#: Commands whose modules lie in a folder of commands/.
FOLDERS = {"profile": "measuring", "tune": "measuring", "sign": "signing", "keygen": "signing"}


class Entry(NamedTuple):
    """A command in the overview: the panel it stands in, and one line of help."""

    panel: str
    help: str


def module_of(name: str) -> str:
    """The module whose `app` is the command."""
    folder = f"{FOLDERS[name]}." if name in FOLDERS else ""
    return f"rectexport.cli.commands.{folder}{name.replace('-', '_')}"


class LazyCommand(TyperCommand):
    """A command's line in the overview; its module is imported when it parses words."""

    def __init__(self, name: str, entry: Entry) -> None:
        super().__init__(name, short_help=entry.help, help=entry.help, rich_help_panel=entry.panel)

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        # The words go along as the context's object, for the line that says how to run the command again.
        words = list(args)
        with reported(["rectexport", *([] if self.name == EXPORT else [self.name or ""]), *words], "--json" in words):
            command = typer.main.get_command(import_module(module_of(self.name or "")).app)
        return command.make_context(info_name, args, parent=parent, obj=words, **extra)


class Group(TyperGroup):
    """All commands; `rectexport MODEL` is short for `rectexport export MODEL`."""

    entries: Mapping[str, Entry] = {}

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.entries)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        entry = self.entries.get(cmd_name)
        return None if entry is None else LazyCommand(cmd_name, entry)

    def get_params(self, ctx: Any) -> Any:
        return without_metavars(super().get_params(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.entries and args[0].partition("=")[0] not in self._own_flags(ctx):
            args = [EXPORT, *args]
        return super().parse_args(ctx, args)

    def _own_flags(self, ctx: Any) -> set[str]:
        return {word for option in self.get_params(ctx) for word in option.opts}
