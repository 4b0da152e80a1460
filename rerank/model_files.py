"""Read what a model's files declare, from its folder or from its repository on the Hub, without loading weights."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from rerank.config import ScorerConfig
from rerank.errors import ModelError, UnavailableError

# Files with which sentence-transformers does more than load the model and pass it the tokeniser's output.
_MORE_THAN_A_MODEL = ("modules.json", "adapter_config.json")


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The files of a model at a revision: `location` is a folder or a Hub id. Reads from the Hub fill its cache."""

    location: str
    revision: str | None = None

    @classmethod
    def of(cls, config: ScorerConfig) -> "ModelFiles":
        """Return the files of the model that these settings name."""
        return cls(config.location, config.revision)

    def path(self, name: str) -> Path | None:
        """Return where a file lies on this machine, None if the model has none of this name.

        `name` is relative to the model and may contain folders. Raises ModelError or UnavailableError if there is no
        such model.
        """
        folder = Path(self.location).expanduser()
        if folder.is_dir():
            return folder / name if (folder / name).is_file() else None
        return _from_hub(self.location, self.revision, name)

    def hold_more_than_a_model(self) -> bool:
        """Return whether there are files with modules of sentence-transformers, or with an adapter."""
        return any(self.path(name) for name in _MORE_THAN_A_MODEL)

    def config_folder(self) -> str:
        """Return the folder of config.json with a slash behind it: empty, or that of the first module."""
        return "" if self.path("config.json") else transformer_folder(self.json("modules.json") or ())

    def json(self, name: str) -> Any:
        """Return the content of a JSON file, None if the model has none of this name. Raises ModelError if damaged."""
        path = self.path(name)
        if path is None:
            return None
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except ValueError as problem:
            raise ModelError(f"cannot load {self.location!r}: {name} is not JSON: {problem}") from problem


def load_failure(config: ScorerConfig, what: str, problem: BaseException) -> ModelError | UnavailableError:
    """Return the error for what a library raised while it loaded `what`: UnavailableError if the Hub is unreachable."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    files = ModelFiles.of(config)
    if not Path(config.location).expanduser().is_dir():
        cause: BaseException | None = problem
        while cause is not None:
            is_network = type(cause).__module__.partition(".")[0] == "httpx"  # which this package does not import
            if is_network or isinstance(cause, LocalEntryNotFoundError | ConnectionError | TimeoutError):
                return UnavailableError(f"cannot fetch {what} of {config.model!r} from the Hub: {problem}")
            cause = cause.__cause__ or cause.__context__
    declared = files.json("config.json") or {}
    if "auto_map" in declared and not config.trust_remote_code:
        return ModelError(
            f"{config.model!r} brings Python code of its own (auto_map in config.json), which runs only with "
            "trust_remote_code"
        )
    return ModelError(f"cannot load {what} of {config.model!r}: {problem}")


def transformer_folder(modules: Sequence[dict[str, Any]]) -> str:
    """Return the folder of the first module in modules.json with a slash behind it; empty for the model's own."""
    path = str(modules[0].get("path", "")) if modules else ""
    return f"{path}/" if path else ""


@lru_cache(maxsize=256)
def _from_hub(repository: str, revision: str | None, name: str) -> Path | None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return Path(hf_hub_download(repository, name, revision=revision))
    except GatedRepoError as problem:
        raise ModelError(
            f"{repository!r} is gated: ask for access at https://huggingface.co/{repository} and set HF_TOKEN"
        ) from problem
    except RevisionNotFoundError as problem:
        raise ModelError(f"{repository!r} has no revision {revision!r} on the Hub") from problem
    except (RepositoryNotFoundError, HFValidationError) as problem:
        raise ModelError(f"cannot load {repository!r}: it is neither a folder nor a model on the Hub") from problem
    except LocalEntryNotFoundError as problem:
        if name != "config.json" and _from_hub(repository, revision, "config.json") is not None:
            return None  # the cache has the model without this file, and only the Hub could tell whether it has one
        raise UnavailableError(
            f"{repository!r} is no folder and not in the Hub's cache on this machine, and the Hub cannot be reached"
        ) from problem
    except EntryNotFoundError:
        return None
    except Exception as problem:  # of the network, whose errors share no class, or of the disk of the cache
        raise UnavailableError(f"{repository!r} cannot be fetched from the Hub: {problem}") from problem
