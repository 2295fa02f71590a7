"""Entry point: the table of commands; turns an unexpected error into one line and an exit code."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

import rectexport
from rectexport.cli.command import EXIT_CODES
from rectexport.cli.failure import debugging, explain, print_failure
from rectexport.cli.group import Entry, Group
from rectexport.cli.streams import make_safe
from rectexport.runtime.base.texts import printable
from rectexport.runtime.errors import UsageError

MAKE, CHECK, SERVE, LOOK = "Make a package", "Check", "Serve", "Look"
#: Every command, with its panel and its line in `rectexport --help`; group.module_of names its module.
COMMANDS: dict[str, Entry] = {
    "export": Entry(MAKE, "Export a PyTorch model or ONNX file into a verified package."),
    "optimize": Entry(MAKE, "Rewrite an ONNX file into the operators that are fastest on a target."),
    "tune": Entry(MAKE, "Find the fastest deployment within bounds of accuracy, latency and memory."),
    "build": Entry(MAKE, "Build a TensorRT engine for this machine and keep it in the package."),
    "sign": Entry(MAKE, "Sign a package."),
    "keygen": Entry(MAKE, "Make a key pair to sign packages with."),
    "models": Entry(MAKE, "List the zoo's networks, and save checkpoints of them."),
    "verify": Entry(CHECK, "Check a package on the machine where it is deployed."),
    "parity": Entry(CHECK, "Compare a package with a reference, by output, layer and region."),
    "eval": Entry(CHECK, "Measure a package's accuracy on labelled data."),
    "doctor": Entry(CHECK, "Examine an ONNX file or a package without running it."),
    "run": Entry(SERVE, "Answer files with a package: images, arrays, folders; in tiles if they are large."),
    "serve": Entry(SERVE, "Serve packages over HTTP and gRPC."),
    "triton": Entry(SERVE, "Write a package into a Triton model repository, or check one."),
    "ray-config": Entry(SERVE, "Write a serve.yaml for Ray Serve."),
    "report": Entry(LOOK, "Write a one-page report about a package."),
    "bench": Entry(LOOK, "Measure a package's latency, alone or against something else."),
    "profile": Entry(LOOK, "Show where a package's time and memory go, by layer, module and pass."),
}


class Commands(Group):
    """The group of all commands."""

    entries = COMMANDS


app = typer.Typer(
    cls=Commands,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
    subcommand_metavar="MODEL | COMMAND [ARGS]...",
    epilog=EXIT_CODES,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rectexport {rectexport.__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Take a trained PyTorch CNN to verified inference on ONNX Runtime, OpenVINO and TensorRT.

    `rectexport MODEL` is short for `rectexport export MODEL`. `rectexport COMMAND --help` describes a command.

    **Examples**

    - `rectexport net.pt` — export a checkpoint into the package out/net
    - `rectexport verify out/net` — check it where it is deployed
    - `rectexport bench out/net --backend onnxruntime,openvino`
    - `rectexport serve out/net`
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    make_safe(sys.stdout, sys.stderr)
    try:
        _check_no_slip(words)
        typer.main.get_command(app).main(args=words or ["--help"], prog_name="rectexport")
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
    if not words or words[0] in COMMANDS or not words[0].isalpha() or Path(words[0]).exists():
        return  # model files have suffixes, options have dashes
    nearest = difflib.get_close_matches(words[0], COMMANDS, n=1, cutoff=0.7)
    if nearest:
        raise UsageError(f"{words[0]}: neither a command nor a file; did you mean rectexport {nearest[0]}?")


if __name__ == "__main__":
    main()
