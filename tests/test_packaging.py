"""The wheel: its files, its requirements, and that importing it imports no other library."""

import configparser
import email
import shutil
import subprocess
import sys
import zipfile
from importlib import import_module, metadata

import pytest

import rectexport
from tests.places import ROOT

VERSION = rectexport.__version__
# Folder of the repository -> its place in the wheel.
PLACES = {
    "rectexport": "rectexport",
    "export": "rectexport/exporter",
    "models": "rectexport/models",
    "plugins": "rectexport/plugins",
    "runtime": "rectexport/runtime",
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of all files that git does not ignore, so that no ignored file is built in."""
    copy = tmp_path_factory.mktemp("checkout")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() or (ROOT / name).is_symlink():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name, follow_symlinks=False)
    return copy


@pytest.fixture(scope="module")
def wheel(checkout, tmp_path_factory):
    """The path of the wheel built from the copy."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-index", "--no-deps", "--no-build-isolation"]
    built = subprocess.run([*command, "-w", out, "."], cwd=checkout, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def names(wheel):
    """The files in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def unpacked(wheel, tmp_path_factory):
    """The wheel's contents on disk, and the folder of its metadata."""
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    (info,) = folder.glob("*.dist-info")
    return folder, info


def test_every_module_is_in_the_wheel(checkout, names):
    modules = {
        f"{place}/{path.relative_to(checkout / folder).as_posix()}"
        for folder, place in PLACES.items()
        for path in (checkout / folder).rglob("*.py")
    }
    assert modules, "no modules were found to look for"
    assert modules <= names


def test_data_files_of_modules_are_in_the_wheel(checkout, names):
    read = [*checkout.glob("runtime/package/*.schema.json"), *checkout.glob("runtime/report/templates/*")]
    assert {path.suffix for path in read} == {".json", ".j2", ".css"}
    assert {f"rectexport/{path.relative_to(checkout).as_posix()}" for path in read} <= names


def test_the_wheel_holds_no_files_outside_the_package(names):
    allowed = tuple(f"{place}/" for place in PLACES.values())
    strays = {name for name in names if not name.startswith((*allowed, f"rectexport-{VERSION}.dist-info/"))}
    assert not strays
    assert names >= {"rectexport/__init__.py", "rectexport/__main__.py", "rectexport/py.typed"}


def test_no_checkpoint_is_in_the_wheel(checkout, names):
    assert list(checkout.glob("models/checkpoints/*.pt")), "there is no checkpoint to leave out"
    assert not [name for name in names if name.endswith(".pt") or "/checkpoints/" in name]


def test_no_native_source_is_in_the_wheel(checkout, names):
    assert list(checkout.glob("plugins/rectify/*.cu")), "there is no source to leave out"
    assert not [name for name in names if "/plugins/rectify/" in name or name.endswith((".so", "CMakeLists.txt"))]


def test_the_wheel_is_for_every_platform_and_python_3_10(wheel, unpacked):
    _, info = unpacked
    assert wheel.name.endswith("-py3-none-any.whl")
    assert list(info.glob("licenses/LICENSE"))
    facts = email.message_from_string((info / "METADATA").read_text())
    assert facts["Requires-Python"] == ">=3.10"
    assert facts["License-Expression"] == "Apache-2.0"


def test_the_core_needs_no_engine_and_no_exporter(unpacked):
    _, info = unpacked
    facts = email.message_from_string((info / "METADATA").read_text())
    core = {line.split(">=")[0] for line in facts.get_all("Requires-Dist") if "extra ==" not in line}
    assert core == {"numpy", "rich", "typer"}


def test_the_command_is_the_clis_main(unpacked):
    _, info = unpacked
    scripts = configparser.ConfigParser()
    scripts.read(info / "entry_points.txt")
    assert dict(scripts["console_scripts"]) == {"rectexport": "rectexport.cli.main:main"}
    assert dict(scripts["pytest11"]) == {"rectexport.testing": "rectexport.testing"}


def test_importing_the_package_needs_only_the_standard_library(unpacked):
    folder, _ = unpacked
    script = f"""
import sys
sys.path.insert(0, {str(folder)!r})
import rectexport
assert rectexport.__file__.startswith({str(folder)!r}), rectexport.__file__
assert set(rectexport.__all__) <= set(dir(rectexport))
print(rectexport.__version__, *[name for name in sys.modules if name.startswith("rectexport.")])
"""
    # -S leaves site-packages out: a third-party import would fail.
    ran = subprocess.run([sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == [VERSION]


def test_the_version_is_the_installed_one():
    assert rectexport.__version__ == metadata.version("rectexport")


def test_public_names_come_from_their_documented_modules():
    assert set(rectexport.__all__) == set(rectexport._HOME)
    for name, home in rectexport._HOME.items():
        assert getattr(rectexport, name) is getattr(import_module(home), name)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'rectexport' has no attribute 'exprot'"):
        _ = rectexport.exprot


def test_the_package_runs_as_a_module(tmp_path):
    command = [sys.executable, "-m", "rectexport", "--help"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout
