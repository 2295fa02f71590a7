"""What every test relies on."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from rectexport.runtime.base.environment import require


def _load_hypothesis_profile() -> None:
    """No deadline for an example, since machines differ in speed. HYPOTHESIS_PROFILE chooses the profile.

    default  random examples, other ones in every run
    ci       the same examples in every run; taken where CI is set, as Hypothesis itself does
    """
    if find_spec("hypothesis") is None:  # the runtime's tests also run with an engine and NumPy alone
        return
    from hypothesis import HealthCheck, Phase, settings

    phases = [phase for phase in Phase if phase is not Phase.explain]  # it may take ten minutes for one failure
    slow = {
        "deadline": None,
        "suppress_health_check": [HealthCheck.too_slow],
        "print_blob": True,
        "phases": phases,
    }
    settings.register_profile("default", **slow)
    settings.register_profile("ci", **slow, derandomize=True, database=None)
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if "CI" in os.environ else "default"))


def _send_no_usage_data() -> None:
    """Import the engines as rectexport does, before a test imports them itself."""
    for engine in ("onnxruntime", "openvino"):
        if find_spec(engine) is not None:
            require(engine)


_load_hypothesis_profile()
_send_no_usage_data()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow tests first: at the end one of them would keep one worker busy and leave the other idle."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session", autouse=True)
def _signals_as_at_a_terminal() -> Iterator[None]:
    """Ctrl-C and hang-up are heeded, also where whoever started the tests ignores them: processes inherit that."""
    before = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGHUP)]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in before:
        signal.signal(number, handler)


@pytest.fixture(scope="session", autouse=True)
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Verdicts and measurements are remembered for these tests alone, also by the processes that they start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield
