"""The plugin's name, version, namespace and attributes equal the dialect's, so that one ONNX file works with both."""

from __future__ import annotations

import re

import pytest

from rectexport.exporter.graph import dialect
from tests.places import ROOT

SOURCES = ROOT / "plugins" / "rectify"


def source(name: str) -> str:
    return (SOURCES / name).read_text(encoding="utf-8")


def constant(name: str) -> str:
    found = re.search(rf'{name} = "(\w+)"', source("plugin.h"))
    assert found, f"{name} is not in plugin.h"
    return found[1]


def test_the_attributes_are_the_dialects_in_its_order() -> None:
    _, _, kinds = dialect.SIGNATURES["Rectify"]
    assert re.findall(r'visit\("(\w+)"', source("attributes.cpp")) == list(kinds)


def test_the_name_and_version_are_the_dialects() -> None:
    assert constant("kPluginName") == "Rectify"
    assert constant("kPluginVersion") == str(dialect.VERSION)


def test_one_namespace_is_the_domain_and_one_is_where_tensorrts_parser_looks() -> None:
    creators = re.findall(r'RectifyCreator \w+\("(\w*)"\)', source("library.cpp"))
    assert creators == [dialect.DOMAIN, ""]


@pytest.mark.parametrize(("constant_name", "position"), [("kY", 0), ("kX", 1), ("kBias", 2)])
def test_the_inputs_are_in_the_dialects_order(constant_name: str, position: int) -> None:
    inputs, _, _ = dialect.SIGNATURES["Rectify"]
    assert f"{constant_name} = {position};" in source("tensors.h")
    assert inputs[position] == constant_name.removeprefix("k").lower()
