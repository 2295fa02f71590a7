"""Coverage-guided fuzzing of one target with atheris: `python -m tests.fuzz.run TARGET SECONDS [FOLDER]`.

FOLDER keeps the corpus between runs (default: build/fuzz/TARGET). An input that fails is left in the current folder
as crash-…; copy it to tests/fuzz/saved/TARGET, where the test suite tries it from then on.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["rectexport"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Fuzz until the time is up; libFuzzer ends the process."""
    name, seconds, *rest = sys.argv[1:]
    folder = Path(rest[0] if rest else f"build/fuzz/{name}")
    folder.mkdir(parents=True, exist_ok=True)
    fuzz_one = TARGETS[name].hypothesis.fuzz_one_input  # type: ignore[attr-defined]
    arguments = [
        sys.argv[0],
        str(folder),
        f"-max_total_time={seconds}",
        "-rss_limit_mb=4096",
        "-timeout=60",
        "-max_len=8192",
        "-len_control=0",
    ]
    atheris.Setup(arguments, lambda data: fuzz_one(data) and None)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
