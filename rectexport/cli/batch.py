"""`rectexport a.pt b.pt …`: one export for each model, in processes that share what has been imported.

Each model is exported as by a command of its own: with its own folder, output, reproduce.sh and exit code. What one of
them ends with does not concern the others.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from rectexport.cli.command import Run
from rectexport.cli.failure import explain
from rectexport.cli.options import new_spellings
from rectexport.runtime.base.texts import printable
from rectexport.runtime.errors import UsageError

#: What an export imports, which takes seconds.
_HEAVY = ("torch.onnx", "onnxruntime", "rectexport.exporter.frontend.load", "rectexport.exporter.pipeline")
#: Of the command for all models alone.
_OWN = ("-o", "--out", "--jobs")


@dataclass(frozen=True)
class Job:
    """One model: what stands for it in the output, and the words of its command."""

    model: str
    words: list[str]


@dataclass(frozen=True)
class Ended:
    """A finished job: its exit code, and what it wrote to stdout and stderr."""

    job: Job
    code: int
    out: str
    err: str


def jobs_of(words: Sequence[str], command: Any, folders: Sequence[Path]) -> list[Job]:
    """The words split into a command for each model, which goes into the folder at the same place.

    Raises UsageError where two models would be written to one folder.
    """
    for folder in folders:
        if list(folders).count(folder) > 1:
            raise UsageError(f"two of the models would be written to {folder}: rename one, or export it by itself")
    words, _ = new_spellings("export", list(words))
    shared, models = _parted(words, command)
    return [
        Job(model, [f"./{model}" if model.startswith("-") else model, *shared, "-o", str(folder)])
        for model, folder in zip(models, folders, strict=True)
    ]


def _parted(words: Sequence[str], command: Any) -> tuple[list[str], list[str]]:
    """The flags that all models share, and the models."""
    with_value = {
        name
        for parameter in command.params
        if parameter.param_type_name == "option" and not parameter.is_flag and not parameter.count
        for name in (*parameter.opts, *parameter.secondary_opts)
    }
    shared, models = list[str](), list[str]()
    rest = iter(words)
    for word in rest:
        if word == "--":
            models += rest
        elif not word.startswith("-") or word == "-":
            models.append(word)
        else:
            name = word.partition("=")[0] if word.startswith("--") else word[:2]
            separate = name in with_value and name == word
            given = [word, *([next(rest, "")] if separate else [])]
            shared += [] if name in _OWN else given
    return shared, models


def run_batch(run: Run, root: Any, jobs: Sequence[Job], most: int, as_json: bool) -> None:
    """Run the jobs as words of the command `root`, at most `most` at once; ends with the largest exit code."""
    results = dict[int, Ended]()
    for index, ended in _ended(root, jobs, most):
        results[index] = ended
        run.say(f"{ended.job.model}: exit code {ended.code}" if ended.code else f"{ended.job.model}: exported", "bold")
        for line in (*ended.err.splitlines(), *([] if as_json else ended.out.splitlines())):
            run.say(f"  {line}")
    ordered = [results[index] for index in range(len(jobs))]
    failed = [ended for ended in ordered if ended.code]
    models = [{"model": ended.job.model, "exit_code": ended.code, **_document(ended.out)} for ended in ordered]
    said = f"{len(ordered) - len(failed)} of {len(ordered)} models exported"
    if failed:
        said += f", not {', '.join(ended.job.model for ended in failed)}"
    run.end(
        {"passed": not failed, "seconds": round(run.seconds, 3), "models": models} if as_json else None,
        code=max(ended.code for ended in ordered),
        said=f"{said} ",
    )


def _document(text: str) -> dict[str, Any]:
    """What a job printed with --json; empty without it."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _ended(root: Any, jobs: Sequence[Job], most: int) -> Iterator[tuple[int, Ended]]:
    """Each job as soon as it has ended, with its place."""
    start = _start(root)
    with tempfile.TemporaryDirectory() as name:
        waiting, running = list(enumerate(jobs)), dict[Any, tuple[int, Job, Any, Path]]()
        try:
            while waiting or running:
                while waiting and len(running) < most:
                    index, job = waiting.pop(0)
                    place = Path(name) / str(index)
                    process = start(job.words, place)
                    running[process.sentinel] = (index, job, process, place)
                for sentinel in wait(list(running)):
                    index, job, process, place = running.pop(sentinel)
                    process.join()
                    code = process.exitcode if process.exitcode >= 0 else 128 - process.exitcode
                    out, err = (place.with_suffix(end).read_text(errors="replace") for end in (".out", ".err"))
                    yield index, Ended(job, code, out, err)
        finally:
            for _, _, process, _ in running.values():
                process.terminate()
                process.join()


def _start(root: Any) -> Callable[[list[str], Path], Any]:
    """How a job is started: as a copy of this process with all imports done, where the system has such copies."""
    forks = "fork" in multiprocessing.get_all_start_methods() and sys.platform != "darwin"
    if forks:
        for module in _HEAVY:
            import_module(module)
    context: Any = multiprocessing.get_context("fork" if forks else "spawn")

    def start(words: list[str], place: Path) -> Any:
        forked = context.Process(target=_forked, args=(root, words, place)) if forks else None
        process = forked or context.Process(target=_spawned, args=(words, place))
        process.start()
        return process

    return start


def _forked(root: Any, words: list[str], place: Path) -> None:
    for number, end in ((1, ".out"), (2, ".err")):
        with place.with_suffix(end).open("wb") as file:
            os.dup2(file.fileno(), number)
    try:
        root.main(args=["export", *words], prog_name="rectexport")
    except (Exception, KeyboardInterrupt) as error:
        text, code = explain(error)
        print(f"error: {printable(text)}", file=sys.stderr)
        sys.exit(code)


def _spawned(words: list[str], place: Path) -> None:
    with place.with_suffix(".out").open("wb") as out, place.with_suffix(".err").open("wb") as err:
        command = [sys.executable, "-m", "rectexport", "export", *words]
        sys.exit(subprocess.run(command, stdout=out, stderr=err, check=False).returncode)
