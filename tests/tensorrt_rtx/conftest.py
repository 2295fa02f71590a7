"""TensorRT for RTX: NVIDIA's own parser and builder, which need no GPU. `make test-tensorrt` installs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from rectexport.runtime.engines.tensorrt import versions
from rectexport.runtime.engines.tensorrt.building.builder import build_engine
from rectexport.runtime.engines.tensorrt.building.building import default_options, model_of
from rectexport.runtime.engines.tensorrt.versions import Api
from rectexport.runtime.errors import MissingDependency
from rectexport.runtime.package.folder import Package
from tests.export.conftest import _onnxruntime_alone, shared_traces

__all__ = ["_onnxruntime_alone", "shared_traces"]
#: Ampere: RTX 30. Whatever is parsed does not depend on it.
TARGETS = ((8, 6),)


@pytest.fixture(scope="session")
def api() -> Api:
    """The installed TensorRT for RTX."""
    try:
        return versions.installed_rtx()
    except MissingDependency as error:
        pytest.skip(str(error))


@pytest.fixture
def build(api: Api) -> Callable[..., bytes]:
    """Builds a package's engine; returns the plan."""

    def build(
        folder: Path, report: Any = lambda text: None, targets: Sequence[tuple[int, int]] = TARGETS, **options: Any
    ) -> bytes:
        package = Package.open(folder)
        wanted = default_options(package)
        for name, value in options.items():
            object.__setattr__(wanted, name, value)
        return build_engine(model_of(package), wanted, api, report, targets)

    return build
