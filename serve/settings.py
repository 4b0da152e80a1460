"""Settings of the server: its models, limits and keys, as the application's arguments give them."""

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from rerank.config import ScorerConfig, parse_config
from rerank.errors import ConfigError
from serve.http.limits import Limits

_SCORER = frozenset(ScorerConfig.model_fields)


class ServedModel(BaseModel):
    """A model under its public names, and how many replicas of it run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scorer: ScorerConfig
    name: str  # public; what the scorer loads if left out
    aliases: tuple[str, ...] = ()
    min_replicas: int = Field(default=1, ge=0)  # 0: gone when nobody asks, and the first who asks waits
    max_replicas: int = Field(default=1, ge=1)
    target_ongoing_requests: int = Field(default=16, ge=1)  # of the order of a batch: requests share batches
    upscale_delay_s: float = Field(default=30, gt=0)  # how long there must be too much to do for another replica
    downscale_delay_s: float = Field(default=600, gt=0)  # how long too little, to take one away
    max_surge_percent: int = Field(
        default=0, ge=0, le=100
    )  # replicas above their number while a redeploy replaces them
    max_waiting_pairs: int = Field(default=16_384, ge=1)  # per replica; above it requests are refused
    num_cpus: float = Field(default=1, ge=0)
    num_gpus: float | None = Field(default=None, ge=0)  # None: one where the cluster has any


class Settings(BaseModel):
    """Everything that `build` reads."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    models: tuple[ServedModel, ...] = Field(min_length=1)
    limits: Limits = Limits()
    keys_file: Path | None = None
    min_replicas: int = Field(default=1, ge=1)  # of the ingress, which holds no model
    max_replicas: int = Field(default=1, ge=1)


_OF_MODEL = _SCORER | set(ServedModel.model_fields)


def parse_settings(args: Mapping[str, Any]) -> Settings:
    """Check the application's arguments: `models` as a list, or one model's own settings beside the server's.

    Raises ConfigError with what is wrong and where.
    """
    values = dict(args)
    if "models" in values:
        entries = values.pop("models")
        if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
            raise ConfigError("models: must be a list of settings, one entry per model")
        models = [_parse_model(entry, f"models[{row}]") for row, entry in enumerate(entries)]
    else:
        of_model = _OF_MODEL - set(Settings.model_fields)
        entry = {key: values.pop(key) for key in list(values) if _belongs(key, of_model, beside=Settings.model_fields)}
        models = [_parse_model(entry, "arguments")]
    limits = parse_config(Limits, dict(values.pop("limits", {})), source="limits")
    settings = parse_config(Settings, {**values, "models": models, "limits": limits}, source="arguments")
    _check_names(settings.models)
    return settings


def _parse_model(entry: Mapping[str, Any], source: str) -> ServedModel:
    """A model's settings lie side by side: those of the scorer, and those of its replicas."""
    scorer = {key: value for key, value in entry.items() if _belongs(key, _SCORER, beside=ServedModel.model_fields)}
    config = parse_config(ScorerConfig, scorer, source=source)
    rest = {key: value for key, value in entry.items() if key not in scorer}
    return parse_config(ServedModel, {"name": config.model, **rest, "scorer": config}, source=source)


def _belongs(key: str, names: Collection[str], *, beside: Collection[str]) -> bool:
    """Whether a key is one of `names`, or a misspelling that is nearer to them than to those `beside` them."""
    if key in names or key in beside:
        return key in names
    return any(near in names for near in get_close_matches(key, [*names, *beside], n=1))


def _check_names(models: tuple[ServedModel, ...]) -> None:
    seen: set[str] = set()
    for name in (name for model in models for name in (model.name, *model.aliases)):
        if name in seen:
            raise ConfigError(f"models: two models are called {name!r}, and each name and alias must be unique")
        seen.add(name)
