"""What makes a logit what it is: the identity of a scorer, and the fingerprint that scores are stored under."""

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from xxhash import xxh3_128

from rerank.config import ScorerConfig
from rerank.encoding.pairs import PairTemplate
from rerank.errors import ModelError

_SUFFIXES = frozenset({".safetensors", ".bin", ".json", ".txt", ".model", ".py"})
_NOT_LOADED = re.compile(r"\..*|onnx|openvino|checkpoint-\d+|__pycache__")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_CHUNK = 4 << 20


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """All that changes a logit beyond rounding, and the name that people know the model by.

    The precision is part of it: bf16 moves logits by about 0.01, enough to swap neighbours, and who asks for float32
    must not be given bf16 scores. The engine, device, batch and torch version are not: they change the order in which
    the same numbers are added, as the neighbours in a batch do within a single run. Who asks for deterministic scores
    must not be given those of other batches either.
    """

    name: str
    content: str  # "hub:REPO@COMMIT", or "files:DIGEST" of a folder's weights, tokeniser and configuration
    max_length: int
    template: PairTemplate
    dtype: str
    trust_remote_code: bool = False
    truncation: str = "longest_first"
    passages: str = "whole"
    deterministic: bool = False

    @property
    def fingerprint(self) -> str:
        """32 hexadecimal digits over all fields but the name, for a folder may be moved, and what is not asked for."""
        left_out = {"name"} if self.deterministic else {"name", "deterministic"}
        fields = {field: value for field, value in self.as_json().items() if field not in left_out}
        return xxh3_128(json.dumps(fields, sort_keys=True).encode()).hexdigest()

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON values; `ScoreStore.describe` keeps them beside the scores."""
        return asdict(self)


def identify(config: ScorerConfig, *, max_length: int, template: PairTemplate, dtype: str) -> ModelIdentity:
    """The identity of the scorer: `max_length` and `template` as its encoder has them, `dtype` as its engine computes.

    A Hub model is known by its commit, a folder by the content of its files: read whole, at 2 GB/s and more (0.02 s
    for the bundled model). Raises ModelError where the model is not there.
    """
    folder = Path(config.location).expanduser()
    content = f"files:{_digest(folder)}" if folder.is_dir() else _hub_content(config)
    return ModelIdentity(
        config.model,
        content,
        max_length,
        template,
        dtype,
        trust_remote_code=config.trust_remote_code,
        deterministic=config.deterministic,
    )


def _hub_content(config: ScorerConfig) -> str:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        found = Path(hf_hub_download(config.location, "config.json", revision=config.revision)).parent
    except (OSError, HfHubHTTPError, HFValidationError) as problem:
        raise ModelError(f"{config.model!r} is neither a folder nor a model on the Hub: {problem}") from problem
    # The Hub's cache keeps a revision's files in a folder named by the commit.
    return f"hub:{config.location}@{found.name}" if _COMMIT.fullmatch(found.name) else f"files:{_digest(found)}"


def _digest(folder: Path) -> str:
    """One digest of the names and contents of all files that a model may be loaded from."""
    state = xxh3_128()
    for path in sorted(_model_files(folder)):
        state.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                state.update(chunk)
    return state.hexdigest()


def _model_files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        is_loaded = not any(_NOT_LOADED.fullmatch(part) for part in path.relative_to(folder).parts)
        if is_loaded and path.suffix in _SUFFIXES and path.is_file():
            yield path
