"""Load the sequence classifier of a model folder or Hub id onto a device."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError

from rerank.bert.settings import bert_settings
from rerank.bert.tokenizer import input_names
from rerank.config import ScorerConfig
from rerank.encoding.tokenizer import load_settings, load_tokenizer
from rerank.engines.check_config import check_classifier, check_config
from rerank.engines.forward.bert import load_bert
from rerank.engines.forward.families import is_known
from rerank.engines.library import LibraryModel, load_library, use_safetensors
from rerank.errors import ModelError
from rerank.model_files import ModelFiles, load_failure


@dataclass(frozen=True, slots=True)
class Classifier:
    """A transformers model in evaluation mode that returns one logit per pair."""

    model: Any
    takes_types: bool  # whether its input includes token types
    pads_left: bool = False
    takes_positions: bool = False  # whether padded rows need position numbers, because they are padded on the left

    @property
    def width(self) -> int | None:
        """Return the width of its hidden states; None if its config does not say."""
        return getattr(self.model.config, "hidden_size", None)


def load_plain_bert(config: ScorerConfig, dtype: torch.dtype) -> Classifier | None:
    """Return a BERT that must be packed, without importing transformers; None if the model needs more than its files.

    The logits equal those of `load_classifier`.
    """
    settings, files = bert_settings(config), ModelFiles.of(config)
    if settings is None:
        return None
    names, weights = input_names(files), files.path("model.safetensors")
    if names is None or weights is None:
        return None
    try:
        model = load_bert(settings, weights, dtype)
    except SafetensorError:  # transformers says what is wrong
        return None
    return None if model is None else Classifier(model.eval(), takes_types="token_type_ids" in names)


def load_classifier(config: ScorerConfig, device: torch.device, dtype: torch.dtype) -> Classifier:
    """Load what sentence-transformers' CrossEncoder loads as a classifier with one label, with equal logits.

    Raises ModelError for all other models.
    """
    check_config(config)
    with load_errors(config):
        model, tokenizer = _load_plain(config, dtype) or _load_any(config, device, dtype)
    check_classifier(config, model.config, type(model).__name__)
    # The tokeniser's input names decide, as in transformers: some BERT models were trained without token types.
    returns_types = "token_type_ids" in tokenizer.model_input_names
    parameters = inspect.signature(model.forward).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    takes_types = returns_types and (takes_any or "token_type_ids" in parameters)
    return Classifier(model.to(device).eval(), takes_types)


@contextmanager
def load_errors(config: ScorerConfig) -> Iterator[None]:
    """Turn what the libraries raise while a model is loaded into ModelError; hide their progress bars."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, AttributeError) as problem:
        if not config.allow_pickle and has_only_pickles(ModelFiles.of(config)):
            raise ModelError(
                f"{config.model!r} has no weights in safetensors; others are loaded only with allow_pickle, because "
                "such a file can run any code while it is read"
            ) from problem
        raise load_failure(config, "the weights", problem) from problem


def has_only_pickles(files: ModelFiles) -> bool:
    """Return whether the model's own weights are not in safetensors."""
    safe = any(files.path(f"model.safetensors{end}") for end in ("", ".index.json"))
    return not safe and any(files.path(f"pytorch_model.bin{end}") for end in ("", ".index.json"))


def load_as_library(config: ScorerConfig, device: torch.device, dtype: torch.dtype) -> Classifier:
    """Load a model of any modules with sentence-transformers, which then runs it, padded."""
    model = LibraryModel(load_library(config, device, dtype))
    returns_types = "token_type_ids" in model.library[0].tokenizer.model_input_names
    return Classifier(
        model.eval(),
        takes_types=returns_types,
        pads_left=model.is_causal,
        takes_positions=model.is_causal and model.takes_positions,
    )


def _load_plain(config: ScorerConfig, dtype: torch.dtype) -> tuple[Any, Any] | None:
    """Return a classifier of a known family and its tokeniser; None if the model needs more than these.

    sentence-transformers would load the same, but importing it takes three seconds and a hundred megabytes.
    """
    from transformers import AutoModelForSequenceClassification

    if config.trust_remote_code or ModelFiles.of(config).hold_more_than_a_model():
        return None
    settings = load_settings(config)
    if not all(map(is_known, settings.architectures or [""])):
        return None
    tokenizer = load_tokenizer(config)
    load = AutoModelForSequenceClassification.from_pretrained
    model = load(
        config.location, revision=config.revision, config=settings, dtype=dtype, use_safetensors=use_safetensors(config)
    )
    if hasattr(model.config, "use_cache"):
        model.config.use_cache = False
    return model, tokenizer


def _load_any(config: ScorerConfig, device: torch.device, dtype: torch.dtype) -> tuple[Any, Any]:
    """Load the model by sentence-transformers. Raises ModelError if it is more than a classifier."""
    loaded = load_library(config, device, dtype)
    if len(loaded) != 1 or loaded[0].transformer_task != "sequence-classification":
        modules = [type(part).__name__ for part in loaded]
        raise ModelError(f"{config.model!r} is not a sequence classifier: it has the modules {', '.join(modules)}")
    return loaded.model, loaded.tokenizer
