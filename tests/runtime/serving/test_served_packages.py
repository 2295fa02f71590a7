"""Names and versions of the packages that a command line asks to serve."""

from __future__ import annotations

from pathlib import Path

import pytest

from rectexport.runtime.errors import BadInput, UsageError
from rectexport.runtime.serving.served_packages import ServedPackage, find_packages


@pytest.fixture
def package(tmp_path: Path) -> Path:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "manifest.json").write_text("{}")
    return tmp_path / "net"


def test_a_repeated_name_gets_the_next_version(package: Path) -> None:
    found = find_packages([str(package), f"a={package}", f"a/7={package}", f"a={package}", f"b/03={package}"])
    named = [("net", "1"), ("a", "1"), ("a", "7"), ("a", "8"), ("b", "3")]
    assert found == [ServedPackage(name, version, package) for name, version in named]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a/0="], "version '0': expected a whole number from 1"),
        (["a/x="], "version 'x'"),
        (["a b="], "a model's name has letters"),
        (["a/1=", "a/1="], "model a version 1 is given twice"),
    ],
)
def test_bad_names_and_versions_are_refused(package: Path, words: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        find_packages([f"{word}{package}" for word in words])


def test_a_folder_is_searched_as_a_model_repository(package: Path, tmp_path: Path) -> None:
    for version in ("2", "10", "notes"):
        (tmp_path / "repo" / "m" / version).mkdir(parents=True)
        (tmp_path / "repo" / "m" / version / "manifest.json").write_text("{}")
    found = find_packages([str(tmp_path / "repo"), f"m={package}"])
    assert sorted(found, key=lambda entry: int(entry.version))[-1] == ServedPackage("m", "11", package)
    assert {(entry.name, entry.version) for entry in found} == {("m", "2"), ("m", "10"), ("m", "11")}


def test_folders_without_packages_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such package or model repository"):
        find_packages([str(tmp_path / "missing")])
    with pytest.raises(BadInput, match="neither a package"):
        find_packages([str(tmp_path)])
