"""Flags that several commands share: one declaration each, the same words everywhere, and old spellings."""

from __future__ import annotations

import json
from collections import defaultdict
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer.main

from rectexport.cli.failure import explain
from rectexport.cli.group import module_of
from rectexport.cli.main import COMMANDS
from rectexport.cli.options import BACKENDS, OLD_SPELLINGS, as_flag, new_spellings
from rectexport.runtime.engines.backends import BACKENDS as KNOWN
from rectexport.runtime.engines.backends import TORCH
from rectexport.runtime.errors import BadInput, Option, UsageError

#: Flags whose help differs where the commands do; their names, metavar and panel do not.
OWN_HELP = {
    *("--against", "--labels", "--backend", "--input", "--inputs", "--out", "--key", "--target", "--port"),
    *("--data", "--calibrate", "--metric", "--max-drop", "--batch", "--threads", "--duration", "--launches"),
    *("--memory", "--seed", "--source"),
}
#: One word that two commands need for two things.
OWN_PANEL = {"--memory", "--seed", "--source"}
OWN_METAVAR = {"--against", "--backend", "--out", "--batch", "--threads", "--source"}


def parameters() -> list[tuple[str, Any]]:
    found = []
    for name in COMMANDS:
        command: Any = typer.main.get_command(import_module(module_of(name)).app)
        inner = {f"{name} {key}": value for key, value in getattr(command, "commands", {}).items()}
        found += [(key, entry) for key, value in {name: command, **inner}.items() for entry in value.params]
    return found


def test_every_command_takes_json() -> None:
    with_json = {name for name, entry in parameters() if "--json" in entry.opts}
    assert with_json == {name for name, _ in parameters()}


def test_a_flag_of_several_commands_means_the_same_in_each() -> None:
    uses = defaultdict(list)
    for name, entry in parameters():
        for flag in entry.opts:
            if flag.startswith("-"):
                uses[flag].append((name, entry))
    shared = {flag: found for flag, found in uses.items() if len(found) > 1}
    assert {"--input", "--min-shapes", "--inputs", "--backend", "--json", "-o", "-q", "-v"} <= shared.keys()
    for flag, found in shared.items():
        long = next(word for word in found[0][1].opts if word.startswith("--"))
        seen = {
            (
                tuple(entry.opts),
                "" if long in OWN_PANEL else entry.rich_help_panel,
                "" if long in OWN_METAVAR else entry.metavar,
                "" if long in OWN_HELP else entry.help,
            )
            for _, entry in found
        }
        assert len(seen) == 1, f"{flag}: {seen}"


def test_a_package_is_called_package_everywhere() -> None:
    found = {name: entry.metavar for name, entry in parameters() if entry.name in ("package", "packages")}
    checked = {"build", "sign", "verify", "parity", "eval"}
    assert found.keys() == checked | {"run", "serve", "ray-config", "report", "bench", "profile"}
    assert set(found.values()) == {"PACKAGE"}


def test_commands_that_open_an_engine_can_allow_an_unproven_one() -> None:
    found = {name for name, entry in parameters() if "--allow-unproven" in entry.opts}
    assert found == {"verify", "parity", "serve", "ray-config", "bench", "run"}
    assert as_flag(Option("allow_unproven", True)) == "--allow-unproven"


@pytest.mark.parametrize(
    "name", ["export", "optimize", "build", "sign", "keygen", "verify", "parity", "eval", "doctor"]
)
def test_commands_can_be_quiet(name: str) -> None:
    assert any("--quiet" in entry.opts for command, entry in parameters() if command == name)


def test_every_backend_is_named_in_the_help() -> None:
    assert tuple(entry.name for entry in KNOWN if entry.name != TORCH) == BACKENDS


# Old spellings.


@pytest.mark.parametrize(
    ("words", "expected", "notices"),
    [
        (["net.pt", "--load-inputs", "a.npz"], ["net.pt", "--inputs", "a.npz"], 1),
        (["--load-inputs=a.npz"], ["--inputs=a.npz"], 1),
        (["--load-inputs", "a", "--load-inputs", "b"], ["--inputs", "a", "--inputs", "b"], 1),
        (["--inputs", "a.npz", "x=--load-inputs"], ["--inputs", "a.npz", "x=--load-inputs"], 0),
        (["--", "--load-inputs"], ["--", "--load-inputs"], 0),
    ],
)
def test_old_spellings_are_replaced(words: list[str], expected: list[str], notices: int) -> None:
    found, said = new_spellings("export", words)
    assert found == expected
    assert said == ["--load-inputs is now --inputs; the old spelling goes away in 0.3"] * notices
    assert new_spellings("verify", words) == (words, [])


@pytest.mark.parametrize(("name", "old"), [(name, old) for name, table in OLD_SPELLINGS.items() for old in table])
def test_an_old_spelling_works_with_a_notice(command: Any, tmp_path: Path, name: str, old: str) -> None:
    flags = {flag for command, entry in parameters() if command == name for flag in entry.opts}
    assert old not in flags and OLD_SPELLINGS[name][old] in flags
    ran = command(name, tmp_path / "nothing.onnx", old, "x:1", "--json")
    assert ran.code == 1 and json.loads(ran.out)["kind"] == "BadInput"
    assert ran.err.splitlines()[0] == f"{old} is now {OLD_SPELLINGS[name][old]}; the old spelling goes away in 0.3"
    assert old not in command(name, "--help").out.split()


# Parameters of the Python API in errors.


@pytest.mark.parametrize(
    ("option", "flag"),
    [
        (Option("opset", 5), "--opset 5"),
        (Option("rectify", "bend"), "--rectify bend"),
        (Option("fp16", True), "--fp16"),
        (Option("guard", False), "--no-guard"),
        (Option("tune"), "--tune"),
        (Option("shapes", {"x": (1, 3, 8, 8)}), "--input x:1x3x8x8"),
        (Option("target", "a\x1b"), "--target a\\x1b"),
    ],
)
def test_a_parameter_is_written_as_its_flag(option: Option, flag: str) -> None:
    assert as_flag(option) == flag


def test_an_error_names_the_parameter_in_python_and_the_flag_on_the_command_line() -> None:
    error = UsageError(Option("opset", 5), ": expected 18..23")
    assert str(error) == "opset=5: expected 18..23"
    assert explain(error) == ("--opset 5: expected 18..23", 2)
    wrapped = BadInput(*error.args, "; add ", Option("opset", 22))
    assert explain(wrapped) == ("--opset 5: expected 18..23; add --opset 22", 1)
