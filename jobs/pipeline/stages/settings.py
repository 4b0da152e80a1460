"""Settings of the stages of a cascade, from `--stage MODEL:KEEP` or from a list in a YAML file."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from jobs.config_file import STAGES
from jobs.pipeline.stages.pool_settings import DEFAULT_POOL, PoolSettings
from rerank.cascade.stages import StagePlan, check_stages
from rerank.config import BUNDLED, ScorerConfig, belongs, parse_config
from rerank.errors import ConfigError
from rerank.ranking.options import RankingOptions

_KEEP = re.compile(r"(?P<model>.+):(?P<keep>-?\d+)")  # a model id may have a colon too


class StageConfig(BaseModel):
    """One stage: its scorer, how many candidates of a query it keeps, and what it runs on.

    - `keep`: the best that go on to the next stage, or come out of the last one; None: all, for the last stage only
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    scorer: ScorerConfig = Field(default_factory=ScorerConfig)
    keep: int | None = Field(default=None, ge=1)
    pool: PoolSettings = Field(default_factory=PoolSettings)


_SCORER_SETTINGS = frozenset(ScorerConfig.model_fields)
_POOL_SETTINGS = frozenset(PoolSettings.model_fields)
_OWN_SETTINGS = frozenset({"keep"})


def parse_stages(
    entries: Any, *, defaults: Mapping[str, Any], pool: PoolSettings = DEFAULT_POOL, source: str = "stages"
) -> tuple[StageConfig, ...]:
    """Return the stages that a list of settings describes, each with `model` and `keep`.

    A stage may have every setting of `ScorerConfig` and `PoolSettings`; `defaults` and `pool` are for those that it
    does not have. Raises ConfigError.
    """
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ConfigError(f"{source}: must be a list of settings such as {{model: NAME, keep: 100}}, got {entries!r}")
    stages = []
    for number, entry in enumerate(entries, start=1):
        place = f"{source}: stage {number}"
        if "model" not in entry:
            raise ConfigError(f"{place}: must name its model, got {entry!r}")
        own = _chosen(entry, _OWN_SETTINGS, beside=_SCORER_SETTINGS | _POOL_SETTINGS)
        of_pool = _chosen(entry, _POOL_SETTINGS, beside=_SCORER_SETTINGS | _OWN_SETTINGS)
        settings = {key: value for key, value in entry.items() if key not in own and key not in of_pool}
        scorer = parse_config(ScorerConfig, {**defaults, **settings}, source=place)
        stage_pool = parse_config(PoolSettings, {**pool.as_given(), **of_pool}, source=place)
        stages.append(parse_config(StageConfig, {**own, "scorer": scorer, "pool": stage_pool}, source=place))
    check_stages([StagePlan(stage.scorer.model, stage.keep) for stage in stages], source=source)
    return tuple(stages)


def _chosen(entry: Mapping[str, Any], names: Collection[str], *, beside: Collection[str]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if belongs(key, names, beside=beside)}


def stage_entries(flags: Sequence[str]) -> list[dict[str, Any]]:
    """Return the settings that `--stage MODEL:KEEP` flags stand for; without `:KEEP` there is no limit."""
    entries: list[dict[str, Any]] = []
    for flag in flags:
        match = _KEEP.fullmatch(flag)
        entries.append({"model": match["model"], "keep": int(match["keep"])} if match else {"model": flag})
    return entries


def read_stages(
    flags: Sequence[str], config_file: Any, scorer: Mapping[str, Any], *, pool: PoolSettings = DEFAULT_POOL
) -> tuple[StageConfig, ...]:
    """Return the stages that `--stage` names, or else the YAML file of `--config`; none for a single model.

    `scorer` and `pool` are the settings of the flags: all stages have them, unless the YAML file says something else.
    Raises ConfigError.
    """
    entries = (config_file or {}).get(STAGES)
    if entries is None and not flags:
        return ()
    if scorer["model"] != BUNDLED or scorer["revision"] is not None:
        raise ConfigError("--model and --revision cannot be combined with stages: each stage names its own model")
    defaults = {name: value for name, value in scorer.items() if name not in {"model", "revision"}}
    if flags:
        return parse_stages(stage_entries(flags), defaults=defaults, pool=pool, source="--stage")
    return parse_stages(entries, defaults=defaults, pool=pool)


def check_cascade(stages: Sequence[StageConfig], options: RankingOptions, *, stage_logits: bool) -> None:
    """Raise ConfigError for options that a cascade, or a job without one, does not have."""
    if stages and options.fusion is not None:
        raise ConfigError(f"--mix {options.fusion} cannot be combined with stages: their logits are not comparable")
    if stage_logits and not stages:
        raise ConfigError("--stage-logits is for a cascade: give --stage twice or more, or stages in --config")
