"""Settings of a pool of actors: how many there are, and what each of them reserves on a cluster."""

import json
import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from rerank.config import parse_config, without_none
from rerank.errors import ConfigError

_RANGE = re.compile(r"(?P<least>\d+)(:(?P<most>\d+))?")
_NOT_CUSTOM = {"CPU": "", "GPU": ": give the GPUs of an actor by themselves", "memory": "", "object_store_memory": ""}
_MARK = 0.001  # of a resource that only says what kind of node it is, as Ray itself reserves accelerator types


@dataclass(frozen=True, slots=True)
class ActorRange:
    """Number of actors of a pool: it begins with `least`, and grows to `most` while there is work and room."""

    least: int
    most: int

    @classmethod
    def parse(cls, text: object) -> "ActorRange | None":
        """Return the range that `N` or `MIN:MAX` stands for; None and a range as they are. Raises ValueError."""
        if text is None or isinstance(text, cls):
            return text
        match = _RANGE.fullmatch(str(text))
        if match is not None:
            least, most = int(match["least"]), int(match["most"] or match["least"])
            if 1 <= least <= most:
                return cls(least, most)
        raise ValueError(f"must be N or MIN:MAX with 1 <= MIN <= MAX, got {text!r}")


def _check_resources(resources: Any) -> dict[str, float]:
    """Return custom resources as they came. Raises ValueError for those that are none."""
    if not isinstance(resources, dict):
        raise ValueError(f"must be a mapping of names to amounts, got {resources!r}")
    for name, amount in resources.items():
        if name in _NOT_CUSTOM:
            raise ValueError(f"{name} is not a custom resource{_NOT_CUSTOM[name]}")
        if isinstance(amount, bool) or not isinstance(amount, int | float) or amount <= 0:
            raise ValueError(f"the amount of {name} must be greater than 0, got {amount!r}")
        if amount > 1 and amount != int(amount):
            raise ValueError(f"the amount of {name} must be a whole number above 1, got {amount!r}")
    return resources


class PoolSettings(BaseModel):
    """How many actors, and what each of them reserves. Raises pydantic's ValidationError.

    - `actors`: `N`, or `MIN:MAX` for a pool that grows; None: as many as suit the cluster
    - `gpus`: GPUs of each actor, such as 0.5; 0 for CPUs; None: an equal share for each stage that runs on GPUs
    - `resources`: custom resources of each actor, by which nodes can be told apart
    - `accelerator_type`: the type of GPU, as Ray names it, such as L4
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    actors: Annotated[ActorRange | None, BeforeValidator(ActorRange.parse)] = None
    gpus: float | None = Field(default=None, ge=0)
    resources: Annotated[dict[str, float], BeforeValidator(_check_resources)] = Field(default_factory=dict)
    accelerator_type: str | None = Field(default=None, min_length=1)

    @field_validator("gpus")
    @classmethod
    def _check_gpus(cls, gpus: float | None) -> float | None:
        if gpus is not None and gpus > 1 and gpus != int(gpus):
            raise ValueError(f"must be a whole number above 1, got {gpus:g}")
        return gpus

    @property
    def most_actors(self) -> int:
        """Return how many actors there may be; 1 if nothing says so."""
        return self.actors.most if self.actors else 1

    @property
    def all_resources(self) -> dict[str, float]:
        """Return the custom resources of each actor, that of its accelerator type among them."""
        mark = {} if self.accelerator_type is None else {f"accelerator_type:{self.accelerator_type}": _MARK}
        return {**self.resources, **mark}

    def as_given(self) -> dict[str, Any]:
        """Return the settings that somebody chose."""
        return {name: getattr(self, name) for name in self.model_fields_set}


DEFAULT_POOL = PoolSettings()


def pool_settings(
    *, actors: str | None, gpus: float | None = None, resources: str | None = None, accelerator_type: str | None = None
) -> PoolSettings:
    """Return the settings that the flags of a command stand for; None: the flag is not given. Raises ConfigError."""
    given = without_none(actors=actors, gpus=gpus, accelerator_type=accelerator_type) or {}
    if resources is not None:
        given["resources"] = parse_resources(resources, option="--resources")
    return parse_config(PoolSettings, given, source="flags")


def parse_resources(text: str | None, *, option: str) -> dict[str, float]:
    """Return the custom resources in a JSON object, as `ray start --resources` has them. Raises ConfigError."""
    try:
        return {} if text is None else _check_resources(json.loads(text))
    except ValueError as problem:
        example = """'{"cpu_node": 0.001}'"""
        raise ConfigError(f"{option} must be a JSON object such as {example}, got {text!r}: {problem}") from problem
