"""Sizes of pools and custom resources, as people write them."""

import pytest

from jobs.pipeline.stages.pool_settings import ActorRange, PoolSettings, parse_resources, pool_settings
from rerank.config import parse_config
from rerank.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4", ActorRange(4, 4)),
        (4, ActorRange(4, 4)),
        ("1:8", ActorRange(1, 8)),
        ("3:3", ActorRange(3, 3)),
        (None, None),
    ],
)
def test_a_number_of_actors_or_a_range(text: object, expected: ActorRange | None) -> None:
    assert parse_config(PoolSettings, {"actors": text}, source="flags").actors == expected


@pytest.mark.parametrize("text", ["0", 0, "4:2", "0:2", ":3", "2:", "-1", "1:2:3", "many", 1.5, True, ""])
def test_what_is_no_number_of_actors_is_refused(text: object) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_config(PoolSettings, {"actors": text}, source="flags")
    assert str(refused.value) == f"flags: actors: must be N or MIN:MAX with 1 <= MIN <= MAX, got {text!r}"


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"gpus": 1.5}, "gpus: must be a whole number above 1, got 1.5"),
        ({"gpus": -1}, "gpus: input should be greater than or equal to 0"),
        ({"resources": {"GPU": 1}}, "resources: GPU is not a custom resource: give the GPUs of an actor by themselves"),
        ({"resources": {"big": 0}}, "resources: the amount of big must be greater than 0, got 0"),
        ({"resources": {"big": "1"}}, "resources: the amount of big must be greater than 0, got '1'"),
        ({"resources": {"big": 1.5}}, "resources: the amount of big must be a whole number above 1, got 1.5"),
        ({"resources": ["big"]}, "resources: must be a mapping of names to amounts, got ['big']"),
        ({"accelerator_type": ""}, "accelerator_type: string should have at least 1 character"),
    ],
)
def test_what_an_actor_cannot_reserve_is_refused(settings: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_config(PoolSettings, settings, source="flags")
    assert str(refused.value).startswith(f"flags: {complaint}")


def test_an_accelerator_type_is_a_resource() -> None:
    settings = pool_settings(actors="2", gpus=0.5, resources='{"zone": 0.1}', accelerator_type="L4")
    assert settings.all_resources == {"zone": 0.1, "accelerator_type:L4": 0.001}
    assert settings.as_given().keys() == {"actors", "gpus", "resources", "accelerator_type"}
    assert pool_settings(actors=None).as_given() == {}


@pytest.mark.parametrize("text", ["cpu_node", "[1]", '{"CPU": 1}', '{"a": -1}'])
def test_resources_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--resources must be a JSON object such as '.*', got "):
        parse_resources(text, option="--resources")
