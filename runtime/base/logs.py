"""The logger of this package: standard logging under the name "rectexport", silent until the caller adds a handler.

>>> import logging
>>> logging.basicConfig(level=logging.INFO)  # doctest: +SKIP
"""

from __future__ import annotations

import logging
from collections.abc import Callable

LOGGER = logging.getLogger("rectexport")
LOGGER.addHandler(logging.NullHandler())


def logged(tell: Callable[[str], None]) -> Callable[[str], None]:
    """A function that logs a line at INFO and passes it on."""

    def both(text: str) -> None:
        LOGGER.info("%s", text)
        tell(text)

    return both
