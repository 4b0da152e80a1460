"""Loading the sequence classifier of a model folder or Hub id, on a device."""

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rerank.config import ScorerConfig
from rerank.encoding.tokenizer import load_settings, load_tokenizer
from rerank.engines.declared import check_classifier, check_declared
from rerank.engines.forward.families import is_known
from rerank.errors import ModelError

# Files that tell sentence-transformers to do more than load the classifier and give it what the tokeniser gives.
_MODULES, _ADAPTER = "modules.json", "adapter_config.json"


@dataclass(frozen=True, slots=True)
class Classifier:
    """A transformers model that gives one logit per pair, in evaluation mode."""

    model: Any
    takes_types: bool  # whether it is given token types

    @property
    def width(self) -> int | None:
        """Width of its states, None where its config does not tell."""
        return getattr(self.model.config, "hidden_size", None)


def load_classifier(config: ScorerConfig, device: torch.device, dtype: torch.dtype) -> Classifier:
    """Everything that sentence-transformers' CrossEncoder can load as a classifier with one label; as it would.

    Raises ModelError for all else.
    """
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    check_declared(config)
    try:
        model, tokenizer = _load_plain(config, dtype) or _load_any(config, device, dtype)
    except (OSError, ValueError, KeyError, RuntimeError) as problem:
        raise ModelError(f"cannot load {config.model!r}: {problem}") from problem
    check_classifier(config, model.config, type(model).__name__)
    # What the tokeniser says that it gives decides, as in transformers: some BERTs were trained without token types.
    given = "token_type_ids" in tokenizer.model_input_names
    takes_types = given and "token_type_ids" in inspect.signature(model.forward).parameters
    return Classifier(model.to(device).eval(), takes_types)


def _load_plain(config: ScorerConfig, dtype: torch.dtype) -> tuple[Any, Any] | None:
    """A classifier of a known family with its tokeniser; None where there is more to it than these.

    sentence-transformers loads the same, in three seconds and a hundred megabytes more for the import of itself.
    """
    from transformers import AutoModelForSequenceClassification

    if config.trust_remote_code or any(_holds(config, name) for name in (_MODULES, _ADAPTER)):
        return None
    settings = load_settings(config)
    if not all(map(is_known, settings.architectures or [""])):
        return None
    tokenizer = load_tokenizer(config)
    if tokenizer.chat_template is not None:
        return None
    load = AutoModelForSequenceClassification.from_pretrained
    model = load(config.location, revision=config.revision, config=settings, dtype=dtype)
    if hasattr(model.config, "use_cache"):
        model.config.use_cache = False
    return model, tokenizer


def _holds(config: ScorerConfig, name: str) -> bool:
    """Whether the model's folder, or its repository on the Hub, has such a file."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    folder = Path(config.location).expanduser()
    if folder.is_dir():
        return (folder / name).exists()
    try:
        return bool(hf_hub_download(config.location, name, revision=config.revision))
    except EntryNotFoundError:
        return False


def _load_any(config: ScorerConfig, device: torch.device, dtype: torch.dtype) -> tuple[Any, Any]:
    """What the oracle of the tests loads. Raises ModelError where it would give other numbers than a classifier's."""
    from sentence_transformers import CrossEncoder

    loaded = CrossEncoder(
        config.location,
        revision=config.revision,
        trust_remote_code=config.trust_remote_code,
        device=str(device),
        model_kwargs={"dtype": dtype},
    )
    if len(loaded) != 1 or loaded[0].transformer_task != "sequence-classification":
        modules = [type(part).__name__ for part in loaded]
        raise ModelError(f"{config.model!r} is no sequence classifier: it has the modules {', '.join(modules)}")
    if loaded.default_prompt_name is not None or set(loaded[0].modality_config) != {"text"}:
        raise ModelError(f"{config.model!r} wants a prompt or a chat template round its texts, which is not supported")
    return loaded.model, loaded.tokenizer
