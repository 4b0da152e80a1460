"""Settings of the scorer, and the check of a settings mapping against a pydantic model."""

from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rerank.errors import ConfigError

BUNDLED = "docs-mini"
_MODELS = Path(__file__).parent / "models"

Model = TypeVar("Model", bound=BaseModel)


class PassageSettings(BaseModel):
    """How documents that are longer than a passage are scored. Raises pydantic's ValidationError.

    - `tokens`: length of a passage in the model's tokens; None: 256, or what the model's limit leaves beside a query
    - `overlap`: tokens that a passage repeats from the one before it
    - `aggregate`: what the logits of the passages make the document's logit: their `max` or `mean`, or the `first`
      passage alone, and then no other passage is scored
    - `max_passages`: score only so many passages from the beginning of a document; None: all
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    tokens: int | None = Field(default=None, ge=8)
    overlap: int = Field(default=32, ge=0)
    aggregate: Literal["max", "mean", "first"] = "max"
    max_passages: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _check_overlap(self) -> "PassageSettings":
        if self.tokens is not None and self.overlap >= self.tokens:
            raise ValueError(f"overlap must be smaller than a passage of {self.tokens} tokens, got {self.overlap}")
        return self

    @property
    def most(self) -> int | None:
        """Return how many passages of a document are scored at most; None: all."""
        return 1 if self.aggregate == "first" else self.max_passages


class ScorerConfig(BaseModel):
    """Which model scores pairs, and how. Raises pydantic's ValidationError for unknown or unusable settings.

    These may change a logit:

    - `model`: a folder, a Hub id, or `docs-mini`, the bundled model (default)
    - `revision`: branch, tag or commit of a Hub model; None: its default branch
    - `content`: what the model must consist of, as `content` in a manifest names it; None: whatever is there
    - `max_length`: tokens per pair, special tokens included; None: the model's own limit
    - `split_special_tokens`: read special tokens that a text spells out, such as `[SEP]`, as text
    - `trust_remote_code`: run Python code that comes with the model
    - `allow_pickle`: load weights that are no safetensors; such a file can run any code while it is read
    - `deterministic`: compute each pair by itself, so that its logit does not depend on the other pairs of its batch
    - `dtype`: precision of the weights; `auto`: bfloat16 or float16 where the device is faster with it. `int8`:
      products in int8 on a CPU, with bfloat16 or float32 between them, whichever the CPU has; a CPU without fast int8
      takes bfloat16 or float32 alone. `int8-bfloat16` and `int8-float32` name one of these; such a CPU refuses them
    - `passages`: score long documents passage by passage; None: truncate them

    This is part of what is scored, unless a query brings its own:

    - `instruction`: tells the model what makes a document relevant; None or blank: the model's own, if it has one

    These say where and in what portions the model runs:

    - `device`: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`, …; `auto` takes a GPU if there is one
    - `batch_tokens`: tokens per forward pass, padding included; None: a default for the device
    - `threads`: CPU threads of the engine; None: all cores that the process may use
    - `vector_cache`: bytes of text vectors that the engine of a model for single texts remembers
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = BUNDLED
    revision: str | None = None
    content: str | None = Field(default=None, pattern=r"^(hub|files):.+$")
    max_length: int | None = Field(default=None, ge=8)
    split_special_tokens: bool = False
    trust_remote_code: bool = False
    allow_pickle: bool = False
    passages: PassageSettings | None = None
    deterministic: bool = False  # the same bits in every batch, provided that `threads` is the same

    instruction: str | None = None

    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16", "int8", "int8-bfloat16", "int8-float32"] = "auto"
    batch_tokens: int | None = Field(default=None, ge=1)
    threads: int | None = Field(default=None, ge=1)
    vector_cache: int = Field(default=512 * 2**20, ge=0)

    @property
    def location(self) -> str:
        """Return the folder or Hub id that the model is loaded from."""
        return str(_MODELS / BUNDLED) if self.model == BUNDLED else self.model


def without_none(**settings: Any) -> dict[str, Any] | None:
    """Return the settings that are not None; None if there is none, so that the whole section keeps its default."""
    return {name: value for name, value in settings.items() if value is not None} or None


def parse_config(kind: type[Model], values: dict[str, Any], *, source: str) -> Model:
    """Return `values` as an instance of the pydantic model `kind`; `source` says where they come from.

    Raises ConfigError that lists all problems; for an unknown key it suggests the nearest known one.
    """
    if not isinstance(values, dict):
        raise ConfigError(f"{source}: settings must be a mapping of names to values, got {values!r}")
    try:
        return kind.model_validate(values)
    except ValidationError as problem:
        lines = [_explain(kind, error) for error in problem.errors()]
        raise ConfigError(f"{source}: " + "; ".join(lines)) from problem


def belongs(key: str, names: Collection[str], *, beside: Collection[str]) -> bool:
    """Return True if `key` is one of `names`, or a misspelling closer to one of them than to any name in `beside`."""
    if key in names or key in beside:
        return key in names
    return any(near in names for near in get_close_matches(key, [*names, *beside], n=1))


def _explain(kind: type[BaseModel], error: Any) -> str:
    name = ".".join(str(part) for part in error["loc"])
    if error["type"] == "value_error":  # raised by a validator of ours
        return f"{name}: {error['ctx']['error']}"
    if error["type"] != "extra_forbidden":
        return f"{name}: {error['msg'].lower()}, got {error['input']!r}"
    *path, last = error["loc"]
    names = _field_names(kind, path)
    matches = get_close_matches(str(last), names, n=1)
    hint = f"did you mean {matches[0]!r}?" if matches else f"accepted are {', '.join(names)}"
    return f"unknown setting {name!r}: {hint}"


def _field_names(kind: type[BaseModel], path: list[Any]) -> list[str]:
    """Return the names of the settings at a path of nested models."""
    for part in path:
        annotation = kind.model_fields[part].annotation
        options = (annotation, *get_args(annotation))
        kind = next(option for option in options if isinstance(option, type) and issubclass(option, BaseModel))
    return list(kind.model_fields)
