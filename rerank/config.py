"""Settings of the scorer, and how a settings mapping becomes a checked model."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rerank.errors import ConfigError

BUNDLED = "docs-mini"
_MODELS = Path(__file__).parent / "models"

Model = TypeVar("Model", bound=BaseModel)


class ScorerConfig(BaseModel):
    """Which model scores pairs, and how. Everything here but the device section may change a logit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = BUNDLED  # a folder, a Hub id, or the name of the bundled model
    revision: str | None = None  # branch, tag or commit of a Hub model
    max_length: int | None = Field(default=None, ge=8)  # tokens per pair; None: what the model says
    trust_remote_code: bool = False
    deterministic: bool = False  # each pair by itself: the same bits in any company, given as many threads

    device: str = "auto"  # auto, cpu, cuda, cuda:1, ...
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    batch_tokens: int | None = Field(default=None, ge=1)  # tokens per forward, with padding; None: by device
    threads: int | None = Field(default=None, ge=1)  # CPU threads of the engine; None: all that it is given

    @property
    def location(self) -> str:
        """The folder or Hub id that the model is loaded from."""
        return str(_MODELS / BUNDLED) if self.model == BUNDLED else self.model


def parse_config(kind: type[Model], values: dict[str, Any], *, source: str) -> Model:
    """Check `values` against the pydantic model `kind`.

    Raises ConfigError with one line per problem; an unknown key names the nearest known one.
    """
    if not isinstance(values, dict):
        raise ConfigError(f"{source}: settings must be a mapping of names to values, got {values!r}")
    try:
        return kind.model_validate(values)
    except ValidationError as problem:
        lines = [_explain(kind, error) for error in problem.errors()]
        raise ConfigError(f"{source}: " + "; ".join(lines)) from problem


def _explain(kind: type[BaseModel], error: Any) -> str:
    name = ".".join(str(part) for part in error["loc"])
    if error["type"] != "extra_forbidden":
        return f"{name}: {error['msg'].lower()}, got {error['input']!r}"
    near = get_close_matches(name, kind.model_fields, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"accepted are {', '.join(kind.model_fields)}"
    return f"unknown setting {name!r}: {hint}"
