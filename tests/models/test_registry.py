"""The registry of the zoo."""

from __future__ import annotations

import pytest

from rectexport.models import create_model, model_names
from rectexport.models.registry import ModelEntry, model_entry, register


def test_a_duplicate_name_is_refused_with_its_key() -> None:
    entry = model_entry("digits")
    with pytest.raises(ValueError, match=r"'digits' is already registered, by rectexport.models.networks.digits"):
        register(entry)


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


def test_every_entry_has_a_name_a_paper_and_options() -> None:
    for name in model_names():
        entry = model_entry(name)
        assert isinstance(entry, ModelEntry)
        assert entry.name == name and entry.paper and len(entry.input_shape) == 3
        assert "width" in entry.options()
        assert set(entry.defaults) <= set(entry.options())
