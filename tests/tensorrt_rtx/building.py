"""Options of a build, its progress, and how it is stopped."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rectexport.runtime.engines.tensorrt.profiles import make_profiles
from rectexport.runtime.errors import UsageError
from rectexport.runtime.package.folder import Package
from tests.runtime.engines.tensorrt.machines import flexible

__all__ = ["flexible"]
#: Polygraphy asks for the timing cache, which TensorRT for RTX keeps only in name.
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.quick]


def test_two_profiles_and_two_kinds_of_gpu(build: Callable[..., bytes], flexible: Path) -> None:
    inputs = Package.open(flexible).manifest.inputs
    profiles = make_profiles(inputs, ["x:1x1x8x8", "x:1x1x4x4..2x1x8x8..8x1x16x16"])
    one = build(flexible, profiles=profiles)
    both = build(flexible, profiles=profiles, targets=((8, 6), (12, 0)))
    assert len(both) > len(one) > 1000


def test_progress_is_reported(build: Callable[..., bytes], flexible: Path) -> None:
    said: list[str] = []
    build(flexible, said.append)
    assert said[0] == "building the engine" and any("/" in text for text in said)


def test_a_timing_cache_is_written_and_read(build: Callable[..., bytes], flexible: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    build(flexible, timing_cache=cache)
    assert cache.stat().st_size
    build(flexible, timing_cache=cache)


@pytest.mark.parametrize(
    "options",
    [
        {"version_compatible": True},
        {"hardware_compatibility": "ampere+"},
        {"plugins": (Path("a.so"),)},
        {"strip_plan": True},
    ],
)
def test_what_rtx_lacks_is_refused(build: Callable[..., bytes], flexible: Path, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="not in TensorRT for RTX"):
        build(flexible, **options)


def test_an_interrupt_stops_the_build(build: Callable[..., bytes], flexible: Path) -> None:
    """Ctrl-C in the midst of a build: its thread ends."""
    sent = []

    def interrupt(text: str) -> None:
        if "/" in text and not sent:
            sent.append(text)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            time.sleep(0.3)

    with pytest.raises(KeyboardInterrupt):
        build(flexible, interrupt)
    assert sent
    for thread in threading.enumerate():
        if thread.name == "tensorrt-build":
            thread.join(timeout=30)
            assert not thread.is_alive()
