"""Settings of the server, read from the application's arguments: models, limits and API keys."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from rerank.batching.admission import MAX_WAITING_BYTES
from rerank.config import ScorerConfig, belongs, parse_config
from rerank.errors import ConfigError
from serve.http.limits import Limits

_SCORER_SETTINGS = frozenset(ScorerConfig.model_fields)


class ServedModel(BaseModel):
    """A served model: its scorer, its public names, and its replicas."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scorer: ScorerConfig
    name: str  # the public name; the scorer's model if left out
    aliases: tuple[str, ...] = ()
    min_replicas: int = Field(default=1, ge=0)  # 0: none while idle, and the first request then waits for one
    max_replicas: int = Field(default=1, ge=1)
    target_ongoing_requests: int = Field(default=16, ge=1)  # about as many as a batch holds: requests share batches
    upscale_delay_s: float = Field(default=30, gt=0)  # seconds of overload before a replica is added
    downscale_delay_s: float = Field(default=600, gt=0)  # seconds of underload before one is removed
    max_surge_percent: int = Field(default=0, ge=0, le=100)  # extra replicas during a redeploy, in percent
    max_waiting_pairs: int = Field(default=16_384, ge=1)  # per replica; requests beyond it are refused
    max_waiting_bytes: int = Field(default=MAX_WAITING_BYTES, ge=1)  # per replica: the texts of those pairs
    num_cpus: float = Field(default=1, ge=0)
    num_gpus: float | None = Field(default=None, ge=0)  # None: 1 if the cluster has GPUs, else 0


class Settings(BaseModel):
    """All settings that `serve.app:build` reads."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    models: tuple[ServedModel, ...] = Field(min_length=1)
    limits: Limits = Limits()
    keys_file: Path | None = None
    min_replicas: int = Field(default=1, ge=1)  # of the ingress, which loads no model
    max_replicas: int = Field(default=1, ge=1)


_MODEL_SETTINGS = _SCORER_SETTINGS | set(ServedModel.model_fields)


def parse_settings(args: Mapping[str, Any]) -> Settings:
    """Return the settings in the application's arguments: `models` as a list, or one model's settings at the top level.

    Raises ConfigError with what is wrong and where.
    """
    values = dict(args)
    if "models" in values:
        entries = values.pop("models")
        if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
            raise ConfigError("models: must be a list of settings, one entry per model")
        models = [_parse_model(entry, f"models[{row}]") for row, entry in enumerate(entries)]
    else:
        names = _MODEL_SETTINGS - set(Settings.model_fields)
        entry = {key: values.pop(key) for key in list(values) if belongs(key, names, beside=Settings.model_fields)}
        models = [_parse_model(entry, "arguments")]
    limits = parse_config(Limits, dict(values.pop("limits", {})), source="limits")
    settings = parse_config(Settings, {**values, "models": models, "limits": limits}, source="arguments")
    _check_names(settings.models)
    return settings


def _parse_model(entry: Mapping[str, Any], source: str) -> ServedModel:
    """Split an entry into the settings of the scorer and those of its replicas."""
    scorer = {
        key: value for key, value in entry.items() if belongs(key, _SCORER_SETTINGS, beside=ServedModel.model_fields)
    }
    config = parse_config(ScorerConfig, scorer, source=source)
    rest = {key: value for key, value in entry.items() if key not in scorer}
    return parse_config(ServedModel, {"name": config.model, **rest, "scorer": config}, source=source)


def _check_names(models: tuple[ServedModel, ...]) -> None:
    seen: set[str] = set()
    for name in (name for model in models for name in (model.name, *model.aliases)):
        if name in seen:
            raise ConfigError(f"models: two models are called {name!r}, and each name and alias must be unique")
        seen.add(name)
