"""Open a model in a process of its own first, where the engine is known to refuse something in it.

OpenVINO 2026.4.1 does not always live to say what it refuses: where it goes on after an operator that it cannot
convert, the types behind that operator are unknown, and a Clip without a lower bound then ends the process.

Started as `python -m rectexport.exporter.checking.trial_open MODEL`; ends with 0 whether OpenVINO takes the model or
not.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from onnx import ModelProto

from rectexport.exporter.engine_facts.facts import facts
from rectexport.exporter.engine_facts.view import View
from rectexport.runtime.engines.openvino_runner import OpenVinoRunner
from rectexport.runtime.errors import RectexportError

#: Seconds. A model that is not read by then is given to the engine here as well: it is large, not broken.
LIMIT = 600


def killed_by(engine: str, version: str, model: ModelProto, path: Path) -> str:
    """How opening the file ended a process, empty where it did not, or where no operator of the model is refused."""
    if engine != "openvino" or not _refused(engine, version, model):
        return ""
    try:
        code = subprocess.run(
            [sys.executable, "-m", __name__, str(path)], capture_output=True, timeout=LIMIT
        ).returncode
    except subprocess.TimeoutExpired:
        return ""
    return "" if code >= 0 else f"it ended the process by {signal.Signals(-code).name} while it read the model"


def _refused(engine: str, version: str, model: ModelProto) -> bool:
    view = View(model)
    rows = [row for row in facts() if row.engine == engine and row.verdict == "refused" and row.holds_for(version)]
    return any(row.matches(place.node, view) for row in rows for place in view.places)


def main(path: str) -> None:
    """Open the file."""
    with suppress(RectexportError):  # who asked learns it from its own attempt
        OpenVinoRunner(Path(path)).close()


if __name__ == "__main__":
    main(sys.argv[1])
