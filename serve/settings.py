"""Settings of the server, read from the application's arguments: models, limits and API keys."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from rerank.batching.admission import MAX_WAITING_BYTES
from rerank.cascade.stages import StagePlan, check_stages
from rerank.config import ScorerConfig, belongs, parse_config
from rerank.errors import ConfigError
from serve.cascade import OnStageFailure
from serve.http.limits import Limits

_ORIGIN = r"^(\*|[a-z][a-z0-9+.-]*://[^/?#\s]+)$"  # as browsers send it: without a path, and without a final slash
_SCORER_SETTINGS = frozenset(ScorerConfig.model_fields)


class ServedShadow(BaseModel):
    """The shadow of a served model: the name or alias of another one, and the share of the requests that it scores."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    share: float = Field(default=0.1, gt=0, le=1)


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
    shadow: ServedShadow | None = None  # another model that scores a share of the requests, and answers none


class ServedStage(BaseModel):
    """A stage of a served cascade: the name or alias of a served model, and how many documents it keeps."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    keep: int | None = Field(default=None, ge=1)  # None, for the last stage only: all


class ServedCascade(BaseModel):
    """A cascade of served models under a public name of its own; it runs nowhere but in its stages."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    stages: tuple[ServedStage, ...]
    aliases: tuple[str, ...] = ()
    on_stage_failure: OnStageFailure = "fail"  # of a stage after the first; "fallback" answers in the order before it


class Settings(BaseModel):
    """All settings that `serve.app:build` reads."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    models: tuple[ServedModel | ServedCascade, ...] = Field(min_length=1)
    limits: Limits = Limits()
    keys_file: Path | None = None
    cors_origins: tuple[Annotated[str, Field(pattern=_ORIGIN)], ...] = ()  # of pages that may call the server; "*": all
    min_replicas: int = Field(default=1, ge=1)  # of the ingress, which loads no model
    max_replicas: int = Field(default=1, ge=1)

    @property
    def deployed(self) -> tuple[ServedModel, ...]:
        """Return the models that run in deployments of their own."""
        return tuple(model for model in self.models if isinstance(model, ServedModel))

    @property
    def cascades(self) -> tuple[ServedCascade, ...]:
        """Return the models that are cascades of other models."""
        return tuple(model for model in self.models if isinstance(model, ServedCascade))


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
    _check_names(settings)
    for cascade in settings.cascades:
        _check_cascade(cascade, settings)
    for model in settings.deployed:
        _check_shadow(model, settings)
    return settings


def _parse_model(entry: Mapping[str, Any], source: str) -> ServedModel | ServedCascade:
    """Split an entry into the settings of the scorer and those of its replicas; one with `stages` is a cascade."""
    if "stages" in entry:
        return parse_config(ServedCascade, dict(entry), source=source)
    if "scorer" in entry:
        raise ConfigError(f"{source}: unknown setting 'scorer': the settings of the model stand beside its name")
    scorer = {
        key: value for key, value in entry.items() if belongs(key, _SCORER_SETTINGS, beside=ServedModel.model_fields)
    }
    config = parse_config(ScorerConfig, scorer, source=source)
    rest = {key: value for key, value in entry.items() if key not in scorer}
    return parse_config(ServedModel, {"name": config.model, **rest, "scorer": config}, source=source)


def _check_names(settings: Settings) -> None:
    seen: set[str] = set()
    for name in (name for model in settings.models for name in (model.name, *model.aliases)):
        if name in seen:
            raise ConfigError(f"models: two models are called {name!r}, and each name and alias must be unique")
        seen.add(name)


def _check_cascade(cascade: ServedCascade, settings: Settings) -> None:
    """Raise ConfigError for a cascade whose stages are not served, are cascades, or do not fit together."""
    source = f"models: cascade {cascade.name!r}"
    public = _public_names(settings)
    served = {model.name for model in settings.deployed}
    for stage in cascade.stages:
        name = public.get(stage.model)
        if name == cascade.name:
            raise ConfigError(f"{source}: names itself as a stage; its stages must be other models")
        if name is None:
            raise ConfigError(f"{source}: stage {stage.model!r} is not served here, accepted are {_quoted(served)}")
        if name not in served:
            raise ConfigError(f"{source}: stage {stage.model!r} is a cascade itself, accepted are {_quoted(served)}")
    check_stages([StagePlan(public[stage.model], stage.keep) for stage in cascade.stages], source=source)


def _check_shadow(model: ServedModel, settings: Settings) -> None:
    """Raise ConfigError for a shadow that is not served, is a cascade, or has a shadow itself."""
    if model.shadow is None:
        return
    name, source = model.shadow.model, f"models: {model.name!r}: shadow {model.shadow.model!r}"
    public = _public_names(settings).get(name)
    others = {other.name: other for other in settings.deployed if other.name != model.name}
    accepted = _quoted(other.name for other in others.values() if other.shadow is None) or "none of the models here"
    if public == model.name:
        raise ConfigError(f"{source} is the model itself, accepted are {accepted}")
    if public is None:
        raise ConfigError(f"{source} is not served here, accepted are {accepted}")
    if public not in others:
        raise ConfigError(f"{source} is a cascade, accepted are {accepted}")
    if others[public].shadow is not None:
        raise ConfigError(f"{source} has a shadow itself, accepted are {accepted}")


def _public_names(settings: Settings) -> dict[str, str]:
    """Return the public name of each model by its names and aliases."""
    return {alias: model.name for model in settings.models for alias in (model.name, *model.aliases)}


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(map(repr, sorted(names)))
