"""Measure what a session's stream gains over one step after the other; writes a section of docs/runtime.md.

python -m benchmarks.streaming [--seconds 8]

RF-ResNet-50 at batch 1, one thread of the engine. Preparing an image is resizing it until that takes as long as the
inference, so that it takes half of the time of both. The contestants take turns in rounds. About 2 minutes; needs two
cores that are idle.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

import rectexport
from benchmarks.common import machine, table, write_section
from benchmarks.serving import RESNET, prepare
from rectexport.runtime.session import Session

ENGINES, ROUNDS = ("onnxruntime", "openvino"), 5
SIZE = (224, 224)


def main() -> None:
    """Time both ways on each engine."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each contestant in all (default %(default)s)")
    seconds = parser.parse_args().seconds
    prepare(RESNET)
    rows = []
    for engine in ENGINES:
        with rectexport.load(RESNET.package, engine, threads=1) as session:
            ready = preparing(session)
            alone, whole = timed(partial(ready, 0)), timed(partial(one, session, ready, 0))
            count = max(int(seconds / ROUNDS / whole), 4)
            ways: dict[str, Callable[[Iterable[int]], Iterable[Any]]] = {
                "one after the other": partial(map, partial(one, session, ready)),
                "stream": partial(session.stream, prepare=ready),
            }
            rates: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(ROUNDS):
                for name, way in ways.items():
                    begin = time.perf_counter()
                    exhaust(way(range(count)))
                    rates[name].append(count / (time.perf_counter() - begin))
        slow, quick = (float(np.median(rates[name])) for name in ways)
        rows.append([engine, f"{alone / whole:.0%}", f"{slow:.1f}", f"{quick:.1f}", f"{quick / slow:.2f}"])
    headings = ("engine", "share of preparing", "images/s, one after the other", "images/s, stream", "ratio")
    write_section("runtime.md", "streaming", f"{table(headings, rows)}\n\n{machine()}")


def one(session: Session, ready: Callable[[int], Any], item: int) -> Any:
    """Prepare an item, then infer."""
    return session(ready(item))


def preparing(session: Session) -> Callable[[int], Any]:
    """Makes an input of an image; repeated so often that it takes as long as an inference."""
    pixels = np.random.default_rng(0).integers(0, 256, (600, 800, 3), np.uint8)

    def once() -> Any:
        image = Image.fromarray(pixels).resize(SIZE, Image.Resampling.BICUBIC)
        return np.ascontiguousarray(np.asarray(image, np.float32).transpose(2, 0, 1)[None] / 255)

    x = once()
    times = max(round(timed(partial(session, x)) / timed(once)), 1)
    return lambda item: [once() for _ in range(times)][-1]


def timed(call: Callable[[], Any]) -> float:
    """Median seconds of three calls, after one that is not counted."""
    call()
    seconds = []
    for _ in range(3):
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
    return float(np.median(seconds))


def exhaust(results: Iterable[Any]) -> None:
    """Take every result."""
    for _ in results:
        pass


if __name__ == "__main__":
    main()
