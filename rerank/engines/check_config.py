"""Check what a model's files declare before its weights are read: that a kind of engine can score with it."""

from typing import Any

from rerank.bert.settings import bert_settings
from rerank.config import ScorerConfig
from rerank.encoding.tokenizer import load_settings
from rerank.engines.kinds import Kind, kind_of
from rerank.errors import ModelError
from rerank.model_files import load_failure


def check_config(config: ScorerConfig) -> None:
    """Raise ModelError where the files alone tell that the model cannot score pairs; loads no weights."""
    if kind_of(config) is not Kind.CLASSIFIER or bert_settings(config) is not None:
        return
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES as CLASSES

    try:
        settings = load_settings(config)
    except (OSError, ValueError, KeyError) as problem:
        raise load_failure(config, "the configuration", problem) from problem
    class_name = CLASSES.get(settings.model_type)
    has_own_code = config.trust_remote_code and hasattr(settings, "auto_map")  # of a class that only loading tells
    if class_name is not None and not has_own_code:
        check_classifier(config, settings, class_name)


def check_classifier(config: ScorerConfig, settings: Any, class_name: str) -> None:
    """Raise ModelError unless weights of this class's own were saved, with one label; `settings` are transformers'."""
    trained = settings.architectures or [class_name]
    if class_name not in trained:  # transformers gives it a random classifier and only warns
        raise ModelError(f"{config.model!r} has the weights of {', '.join(trained)}, without a classifier")
    if settings.num_labels != 1:
        raise ModelError(f"{config.model!r} gives {settings.num_labels} scores per pair, a cross-encoder gives 1")
