"""Exports are compared on every installed engine here, whatever tests of the same process have chosen."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _every_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    from rectexport.exporter import targets
    from rectexport.exporter.checking.engines import installed_engines

    monkeypatch.setattr(targets, "installed_engines", installed_engines)
