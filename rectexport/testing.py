"""For other projects' tests: `assert_parity`, as a function and as a fixture of pytest.

pytest finds the fixture by itself where rectexport is installed; nothing else is imported until a test uses it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from rectexport.runtime.parity.outcome import ParityOutcome

__all__ = ["assert_parity"]


def assert_parity(package: Any, model: Any = None, **options: Any) -> ParityOutcome:
    """Fail the test if a package's answers differ from the model's; the failure shows them by layer and region.

    package, model, options   as `rectexport.compare` takes them

    Returns the ParityOutcome of a package that agrees. Raises what `rectexport.compare` raises.
    """
    __tracebackhide__ = True
    from rectexport.exporter.compare import compare
    from rectexport.runtime.parity.tables import outcome_text

    outcome = compare(package, model, **options)
    if not outcome.passed:
        path: str | Path = getattr(package, "path", package)
        pytest.fail(f"{path}: its answers differ from the model's\n\n{outcome_text(outcome)}", pytrace=False)
    return outcome


@pytest.fixture(name="assert_parity")
def assert_parity_fixture() -> Callable[..., ParityOutcome]:
    """`rectexport.testing.assert_parity`: fails the test if a package's answers differ from the model's."""
    return assert_parity
