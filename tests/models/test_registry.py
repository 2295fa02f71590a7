"""The registry of the zoo."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from rectexport.models import create_model, model_names
from rectexport.models.catalog import ENTRIES
from rectexport.models.registry import by_name, model_entry

ZOO = """
import sys
from importlib import import_module
for module in sys.argv[1:]:
    import_module(f"rectexport.models.networks.{module}")
from rectexport.models.registry import model_entry, model_names
for name in model_names():
    print(model_entry(name))
print("torch" in sys.modules)
"""


def listed(*first: str) -> list[str]:
    """The entries that a new process lists after it has imported modules of networks, and whether it has torch."""
    ran = subprocess.run([sys.executable, "-c", ZOO, *first], capture_output=True, text=True, check=True)
    return ran.stdout.splitlines()


def test_the_list_does_not_depend_on_what_was_imported_before() -> None:
    entries = [str(model_entry(name)) for name in model_names()]
    assert listed() == [*entries, "False"]
    assert listed("dfn", "resnest", "pvanet", "digits") == [*entries, "True"]


def test_two_networks_of_one_name_are_refused() -> None:
    other = replace(model_entry("digits"), builder="vgg.vgg")
    with pytest.raises(ValueError, match=r"two networks have the name 'digits': digits\.digits and vgg\.vgg"):
        by_name([*ENTRIES, other])


def test_an_unknown_name_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="unknown model 'resnet_50': did you mean 'resnet50'"):
        create_model("resnet_50")


def test_an_unknown_option_is_named_with_those_allowed() -> None:
    with pytest.raises(ValueError, match="no option 'rectified': it takes conv, mode, width, num_classes"):
        create_model("digits", rectified=True)


@pytest.mark.parametrize("options", [{"conv": "partial"}, {"mode": "avg"}, {"width": 0}])
def test_a_bad_value_is_a_value_error_that_names_the_option(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        create_model("digits", **options)


def test_num_classes_overrides_the_entry() -> None:
    assert create_model("digits", num_classes=3).head.fc.out_features == 3


def test_every_entry_is_complete_and_its_defaults_are_options_of_its_builder() -> None:
    for name in model_names():
        entry = model_entry(name)
        assert entry.name == name and entry.paper and len(entry.input_shape) in (2, 3, 4)
        assert "width" in entry.options()
        assert set(entry.defaults) <= set(entry.options())
