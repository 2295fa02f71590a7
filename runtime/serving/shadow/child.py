"""The program of a shadow's process: runs the second package on a request, and compares with the served answer.

shadow.py starts it as `python -m rectexport.runtime.serving.shadow.child FD SPEC`. It runs at the lowest priority, so
that it takes little of a processor that the server needs.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import final

from rectexport.runtime.base.runner import Array
from rectexport.runtime.serving.shadow.distances import distances
from rectexport.runtime.serving.workers.hosted import Feeds, HostedModel, ModelSpec
from rectexport.runtime.serving.workers.worker import main

#: Prefixes of the tensors in a frame.
INPUT, OUTPUT = "input.", "output."
LOWEST_PRIORITY = 19


@final
class ComparedModel:
    """A hosted model that takes a request's inputs and served outputs, and answers with their distances."""

    def __init__(self, spec: ModelSpec) -> None:
        self._model = HostedModel(spec)
        self.signature, self.remark, self.seconds = self._model.signature, self._model.remark, self._model.seconds
        give_way()  # from now on: on a busy machine it would take minutes to open the model

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """{"distances": [outputs, columns] as distances() gives them}. Raises BadInput when the engine fails."""
        inputs = {name[len(INPUT) :]: array for name, array in feeds.items() if name.startswith(INPUT)}
        served = {name[len(OUTPUT) :]: array for name, array in feeds.items() if name.startswith(OUTPUT)}
        return {"distances": distances(served, self._model.run(inputs), list(served))}


def give_way() -> None:
    """Take the lowest priority, in the session and for it: Linux shares processors among sessions first (autogroup)."""
    with contextlib.suppress(OSError, AttributeError):  # Windows has no priorities of this kind
        os.nice(LOWEST_PRIORITY)
    with contextlib.suppress(OSError):  # no autogroups
        Path("/proc/self/autogroup").write_text(str(LOWEST_PRIORITY))


if __name__ == "__main__":
    main(ComparedModel)
