"""The plugin library in NVIDIA's registry, and which of plugin and function the parser takes.

TensorRT for RTX takes no plugin layers: it ends the process when it adds one, after it has made the plugin. So the
parser runs in a process of its own, and its log is read.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rectexport.runtime.engines.tensorrt import cuda
from rectexport.runtime.engines.tensorrt.building.logger import LogMessages
from rectexport.runtime.engines.tensorrt.building.registry import load_plugins
from rectexport.runtime.engines.tensorrt.plugins import LIBRARY, plugin_library
from rectexport.runtime.engines.tensorrt.versions import Api
from rectexport.runtime.errors import BadInput
from tests.export.nets import Small, exported, image, seeded, source
from tests.places import ROOT

BUILT = ROOT / "build" / "native" / "plugins" / "rectify" / LIBRARY
PARSE = """
import sys
import tensorrt_rtx as trt

class Logger(trt.ILogger):
    def log(self, severity, message):
        print(message, flush=True)

logger = Logger()
assert trt.get_plugin_registry().load_library(sys.argv[2]) is not None
builder = trt.Builder(logger)
network = builder.create_network(0)
parser = trt.OnnxParser(network, logger)
if sys.argv[3] == "override":
    parser.set_flag(trt.OnnxParserFlag.ENABLE_PLUGIN_OVERRIDE)
print("parsed", parser.parse_from_file(sys.argv[1]))
"""


@pytest.fixture
def said(api: Api) -> Iterator[LogMessages]:
    """TensorRT's messages, also those of its registry, which a builder connects."""
    with LogMessages(api) as found:
        builder = api.module.Builder(found.logger)
        yield found
        del builder  # with the last of them the registry's messages are lost


@pytest.fixture(scope="module")
def library(api: Api) -> Path:
    found = plugin_library(BUILT if BUILT.is_file() else None)
    if found is None:
        pytest.skip("the plugin is not built: TENSORRT_INCLUDE_DIR=... make native")
    return found


@pytest.mark.parametrize(("flag", "taken"), [("override", True), ("", False)])
def test_a_plugin_is_preferred_with_the_flag_only(library: Path, flag: str, taken: bool, tmp_path: Path) -> None:
    net = source(seeded(Small()), image(2, 2, 6, 6))
    package = exported(net, tmp_path / "net", target="tensorrt", rectify="plugin").package
    words = [sys.executable, "-c", PARSE, package.model_file, library, flag]
    said = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=120).stdout
    assert ("Successfully created plugin: Rectify" in said) == taken
    assert ("parsed True" in said) != taken


def test_the_library_is_loaded_once(
    api: Api, said: LogMessages, library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The registry itself refuses a second load; the parser, the engine and a copy of the file share the first."""
    driver: Any = type("Driver", (), {"version": (13, 0)})
    monkeypatch.setattr(cuda, "driver", lambda: driver)
    copy = tmp_path / LIBRARY
    copy.write_bytes(library.read_bytes())
    for path in (library, library, copy):
        load_plugins([path], api, said)
    registry = api.module.get_plugin_registry()
    assert registry.get_creator("Rectify", "1", "rectexport") is not None
    assert registry.load_library(str(library)) is None and "exists already" in said.errors[0]


def test_a_file_that_is_no_library(api: Api, said: LogMessages, tmp_path: Path) -> None:
    path = tmp_path / "text.so"
    path.write_text("no library")
    with pytest.raises(BadInput, match=r"text\.so: TensorRT for RTX .*Unable to load library"):
        load_plugins([path], api, said)
