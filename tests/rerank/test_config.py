"""Settings: checked, and explained to the person who got them wrong."""

from pathlib import Path

import pytest

from rerank.config import ScorerConfig, parse_config
from rerank.errors import ConfigError


def complaint(values) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(ScorerConfig, values, source="scorer.yaml")
    return str(caught.value)


def test_settings_are_read():
    config = parse_config(ScorerConfig, {"model": "folder", "max_length": 128}, source="scorer.yaml")
    assert config == ScorerConfig(model="folder", max_length=128)
    assert parse_config(ScorerConfig, {}, source="scorer.yaml") == ScorerConfig()


def test_an_unknown_key_names_the_nearest():
    assert complaint({"modle": "x"}) == "scorer.yaml: unknown setting 'modle': did you mean 'model'?"
    assert complaint({"max-length": 9}) == "scorer.yaml: unknown setting 'max-length': did you mean 'max_length'?"


def test_an_unknown_key_near_nothing_lists_all():
    assert complaint({"colour": 1}).startswith("scorer.yaml: unknown setting 'colour': accepted are model, revision, ")


def test_every_problem_is_told_with_what_was_received():
    told = complaint({"max_length": 3, "dtype": "int4", "device": 5})
    assert "max_length: input should be greater than or equal to 8, got 3" in told
    assert "dtype: input should be 'auto', 'float32', 'bfloat16', 'float16', 'int8', " in told and "got 'int4'" in told
    assert "device: input should be a valid string, got 5" in told


@pytest.mark.parametrize("values", [None, [], "model: x"])
def test_settings_that_are_no_mapping_are_refused(values):
    assert complaint(values) == f"scorer.yaml: settings must be a mapping of names to values, got {values!r}"


def test_only_the_bundled_name_is_a_place_of_ours():
    assert Path(ScorerConfig().location).parts[-2:] == ("models", "docs-mini")
    assert ScorerConfig(model="org/name").location == "org/name"
