"""Check the stages of a cascade before any model is loaded."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from rerank.errors import ConfigError


@dataclass(frozen=True, slots=True)
class StagePlan:
    """A stage in short: the name of its model, and how many candidates of a query it keeps for the next one.

    Only the last stage may have None: all candidates are returned, also those that earlier stages did not keep. With a
    number it is how many are returned.
    """

    model: str
    keep: int | None


def check_stages(stages: Sequence[StagePlan], *, source: str) -> None:
    """Raise ConfigError that names the stage and what is wrong; `source` says where the stages come from."""
    if len(stages) < 2:
        raise ConfigError(f"{source}: a cascade must have at least 2 stages, got {len(stages)}")
    for number, stage in enumerate(stages[:-1], start=1):
        if stage.keep is None:
            raise ConfigError(
                f"{source}: stage {number} ({stage.model}) must say how many candidates it keeps; "
                "only the last stage may leave that out"
            )
    for number, (before, stage) in enumerate(pairwise(stages), start=2):
        if before.keep is not None and stage.keep is not None and stage.keep > before.keep:
            raise ConfigError(
                f"{source}: stage {number} ({stage.model}) must keep at most the {before.keep} candidates that it "
                f"gets, got {stage.keep}"
            )
    seen: dict[str, int] = {}
    for number, stage in enumerate(stages, start=1):
        if stage.model in seen:
            raise ConfigError(
                f"{source}: stages {seen[stage.model]} and {number} have the same model {stage.model!r}; "
                "each stage must have another one"
            )
        seen[stage.model] = number
