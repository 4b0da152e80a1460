"""The identity of a scorer: everything that changes a logit, and the fingerprint that scores are stored under."""

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from socket import gethostname
from typing import Any

from xxhash import xxh3_128

from rerank.config import ScorerConfig
from rerank.encoding.pairs import PairTemplate
from rerank.errors import ModelError

_SUFFIXES = frozenset({".safetensors", ".bin", ".json", ".txt", ".model", ".py", ".jinja", ".metadata"})
_NOT_LOADED = re.compile(r"\..*|onnx|openvino|checkpoint-\d+|__pycache__")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_CHUNK = 4 << 20
# Fields that older fingerprints do not have. With these values they are left out, so that old scores stay usable.
_LATER = {
    "deterministic": False,
    "split_special_tokens": False,
    "kind": "sequence classifier",
    "text_format": "",
}


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Everything that changes a logit beyond rounding, and the name of the model.

    The precision is part of it: bf16 moves logits by about 0.01, enough to swap neighbours, so that a run in float32
    must not read scores of bf16. The engine, device, batches and torch version are not part of it: they only change the
    order in which the same numbers are added, as the other pairs of a batch do within a single run. A deterministic
    run must not read scores that depend on their batch, so `deterministic` is part of it.
    """

    name: str
    content: str  # "hub:REPO@COMMIT", or "files:DIGEST" of a folder's weights, tokeniser and configuration
    max_length: int
    template: PairTemplate
    dtype: str
    trust_remote_code: bool = False
    truncation: str = "longest_first"
    passages: str = "whole"  # always: a passage of a document is a text of its own, with a score of its own
    deterministic: bool = False
    split_special_tokens: bool = False
    kind: str = "sequence classifier"
    text_format: str = ""  # the encoder's: prompts, a chat template that is no PairTemplate, query expansion

    @property
    def fingerprint(self) -> str:
        """Return 32 hexadecimal digits: a hash of all fields, except `name` and later ones with their defaults."""
        excluded = {"name"} | {field for field, default in _LATER.items() if getattr(self, field) == default}
        fields = {field: value for field, value in self.as_json().items() if field not in excluded}
        return xxh3_128(json.dumps(fields, sort_keys=True).encode()).hexdigest()

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON values; `ScoreStore.describe` writes them beside the scores."""
        return asdict(self)


def identify(
    config: ScorerConfig,
    *,
    max_length: int,
    template: PairTemplate,
    dtype: str,
    kind: str = "sequence classifier",
    text_format: str = "",
) -> ModelIdentity:
    """Return the identity of the scorer.

    `max_length`, `template` and `text_format` are its encoder's, `dtype` is its engine's.

    Raises ModelError if the model does not exist.
    """
    return ModelIdentity(
        config.model,
        config.content or content_of(config),
        max_length,
        template,
        dtype,
        trust_remote_code=config.trust_remote_code,
        deterministic=config.deterministic,
        split_special_tokens=config.split_special_tokens,
        kind=kind,
        text_format=text_format,
    )


def pin(config: ScorerConfig) -> ScorerConfig:
    """Return the settings with the model's present content: processes that load another one raise ModelError.

    Of a Hub model the commit is loaded from then on, wherever its branch moves. Raises ModelError if the model does not
    exist, or is not the one that `config` names.
    """
    check_content(config)
    content = config.content or content_of(config)
    _, mark, commit = content.partition("@")
    is_commit = content.startswith("hub:") and mark
    return config.model_copy(update={"content": content} | ({"revision": commit} if is_commit else {}))


def check_content(config: ScorerConfig) -> None:
    """Raise ModelError if `config` says what the model must consist of, and this machine has something else.

    Called after the model was loaded, it also tells files that changed meanwhile.
    """
    if config.content is not None and (content := content_of(config)) != config.content:
        raise ModelError(
            f"{config.model!r} on {gethostname()} is another model: it has the content {content}, expected "
            f"{config.content}; every node must have the same files, which must not change while they are used"
        )


def content_of(config: ScorerConfig) -> str:
    """Return "hub:REPO@COMMIT", or "files:DIGEST" of a folder.

    A folder is read completely at 2 GB/s or more (0.02 s for the bundled model). Raises ModelError if the model does
    not exist.
    """
    folder = Path(config.location).expanduser()
    return f"files:{_digest(folder)}" if folder.is_dir() else _hub_content(config)


def _hub_content(config: ScorerConfig) -> str:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        snapshot = Path(hf_hub_download(config.location, "config.json", revision=config.revision)).parent
    except (OSError, HfHubHTTPError, HFValidationError) as problem:
        raise ModelError(f"{config.model!r} is neither a folder nor a model on the Hub: {problem}") from problem
    if not _COMMIT.fullmatch(snapshot.name):  # the Hub's cache names a revision's folder by its commit
        return f"files:{_digest(snapshot)}"
    return f"hub:{config.location}@{snapshot.name}"


def _digest(folder: Path) -> str:
    """Return a hash of the names and contents of all files that a model may be loaded from."""
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
