"""Runs a build in a thread of its own, so that its phases are reported and Ctrl-C takes effect at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from rectexport.runtime.engines.tensorrt.versions import Api

Result = TypeVar("Result")
Report = Callable[[str], None]
#: Seconds between two checks whether the build is done; Python handles Ctrl-C in between.
_LOOK = 0.1
#: Seconds to wait for a cancelled build, so that nothing runs on the GPU when the process exits.
_GRACE = 3.0


def make_monitor(api: Api, report: Report, cancelled: threading.Event) -> Any:
    """A tensorrt.IProgressMonitor that reports "phase 3/12" and stops the build when `cancelled` is set.

    None before TensorRT 10, whose builds report no progress and cannot be stopped.
    """
    if not api.progress:
        return None
    trt = api.module

    class Monitor(trt.IProgressMonitor):  # type: ignore[name-defined]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._steps[phase_name] = num_steps
            report(phase_name)

        def step_complete(self, phase_name: str, step: int) -> bool:
            total = self._steps.get(phase_name, 0)
            report(f"{phase_name} {step + 1}/{total}" if total > 1 else phase_name)
            return not cancelled.is_set()

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)

    return Monitor()


def interruptible(work: Callable[[], Result], cancelled: threading.Event) -> Result:
    """Run `work` in a thread and wait; an exception in this thread (Ctrl-C) sets `cancelled` and is raised.

    TensorRT builds outside of Python, so a signal to the building thread would be handled minutes later. The thread is
    a daemon: a build that cannot be stopped does not keep the process alive. Raises what `work` raises.
    """
    done: list[Result] = []
    failed: list[BaseException] = []
    ended = threading.Event()  # not join(): before Python 3.13, a signal makes it treat the thread as ended

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:  # handed to the waiting thread
            failed.append(error)
        finally:
            ended.set()

    threading.Thread(target=run, name="tensorrt-build", daemon=True).start()
    try:
        while not ended.wait(_LOOK):
            pass
    except BaseException:
        cancelled.set()
        ended.wait(_GRACE)
        raise
    if failed:
        raise failed[0]
    return done[0]
