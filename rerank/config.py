"""Settings of the scorer, and the check of a settings mapping against a pydantic model."""

from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rerank.errors import ConfigError

BUNDLED = "docs-mini"
_MODELS = Path(__file__).parent / "models"

Model = TypeVar("Model", bound=BaseModel)


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
    - `dtype`: precision of the weights; `auto`: bfloat16 or float16 where the device is faster with it

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
    deterministic: bool = False  # the same bits in every batch, provided that `threads` is the same

    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    batch_tokens: int | None = Field(default=None, ge=1)
    threads: int | None = Field(default=None, ge=1)
    vector_cache: int = Field(default=512 * 2**20, ge=0)

    @property
    def location(self) -> str:
        """Return the folder or Hub id that the model is loaded from."""
        return str(_MODELS / BUNDLED) if self.model == BUNDLED else self.model


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
    if error["type"] != "extra_forbidden":
        return f"{name}: {error['msg'].lower()}, got {error['input']!r}"
    matches = get_close_matches(name, kind.model_fields, n=1)
    hint = f"did you mean {matches[0]!r}?" if matches else f"accepted are {', '.join(kind.model_fields)}"
    return f"unknown setting {name!r}: {hint}"
