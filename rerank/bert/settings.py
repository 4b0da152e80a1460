"""Read the configuration of a BERT classifier, if its files prove that transformers would add nothing to them."""

from dataclasses import dataclass
from typing import Any

from rerank.config import ScorerConfig
from rerank.model_files import ModelFiles

_SHAPE = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
)
# Keys of config.json that change nothing in a forward of a classifier.
_IGNORED = frozenset(
    {
        "_name_or_path",
        "attention_probs_dropout_prob",
        "bos_token_id",
        "classifier_dropout",
        "dtype",
        "eos_token_id",
        "gradient_checkpointing",
        "hidden_dropout_prob",
        "id2label",
        "initializer_range",
        "label2id",
        "num_labels",
        "sentence_transformers",
        "tie_word_embeddings",
        "torch_dtype",
        "transformers_version",
        "use_cache",
    }
)
# Keys that must have these values, if they are there.
_FIXED = {
    "model_type": "bert",
    "architectures": ["BertForSequenceClassification"],
    "hidden_act": "gelu",
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "chunk_size_feed_forward": 0,
}
_REQUIRED = frozenset({"model_type", "architectures", "hidden_act", "layer_norm_eps", "pad_token_id", *_SHAPE})
_KNOWN = _IGNORED | _FIXED.keys() | _REQUIRED


@dataclass(frozen=True, slots=True)
class BertSettings:
    """The configuration of a BERT with one label, under the names that transformers gives it."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    type_vocab_size: int
    layer_norm_eps: float
    pad_token_id: int
    model_type: str = "bert"
    architectures: tuple[str, ...] = ("BertForSequenceClassification",)
    num_labels: int = 1
    is_decoder: bool = False
    add_cross_attention: bool = False
    _attn_implementation: str = "packed"


def bert_settings(config: ScorerConfig) -> BertSettings | None:
    """Return the configuration of a BERT classifier; None for any other model, or if it may need transformers.

    Raises ModelError if a file is damaged, and UnavailableError if the Hub cannot be reached.
    """
    files = ModelFiles.of(config)
    if config.trust_remote_code or files.hold_more_than_a_model():
        return None
    declared = files.json("config.json")
    if not isinstance(declared, dict) or not declared.keys() <= _KNOWN or not declared.keys() >= _REQUIRED:
        return None
    if any(declared.get(name, value) != value for name, value in _FIXED.items()) or _label_count(declared) != 1:
        return None
    shape = {name: declared[name] for name in (*_SHAPE, "pad_token_id")}
    if not all(type(value) is int and value >= 0 for value in shape.values()):
        return None
    if not isinstance(declared["layer_norm_eps"], float) or shape["hidden_size"] % shape["num_attention_heads"]:
        return None
    return BertSettings(layer_norm_eps=declared["layer_norm_eps"], **shape)


def _label_count(declared: dict[str, Any]) -> int:
    """Return the number of labels, as transformers counts them."""
    names = declared.get("id2label")
    return len(names) if names is not None else declared.get("num_labels", 2)
