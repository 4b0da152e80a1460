"""What a packed forward needs to know of a model family: its position numbers, pooling and classifier."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from rerank.arrays import IntArray, Offsets, positions
from rerank.engines.device.choices import to_device
from rerank.engines.forward.attention import Packing
from rerank.engines.forward.deberta import DEBERTA, is_disentangled
from rerank.engines.forward.last_token import LastTokenModel


@dataclass(frozen=True, slots=True)
class Packed:
    """Concatenated pairs: token ids [tokens], offsets [pairs + 1], and the id of the model's padding token."""

    ids: IntArray
    offsets: Offsets
    packing: Packing
    padding: int


@dataclass(frozen=True, slots=True)
class Family:
    """Functions that return positions [tokens], pool states [tokens, width] to [pairs, width], and classify these to
    logits [pairs, 1].

    If it `is_causal`, a token attends only to itself and those before it, and all positions count from 0.
    """

    positions: Callable[[Packed], Offsets]
    pool: Callable[[torch.Tensor, Packed], torch.Tensor]
    classify: Callable[[Any, torch.Tensor], torch.Tensor]
    is_causal: bool = False


def family_of(model: Any) -> Family | None:
    """Return the family of a sequence classifier of transformers or of a LastTokenModel; None if it is unknown."""
    if isinstance(model, LastTokenModel):
        positions = positions_of(model.model)
        return (
            Family(positions, _last_row, _decoder, is_causal=type(model.model).__name__ in _DECODERS)
            if positions
            else None
        )
    if not is_transformers_own(model) or _is_changed(model.config):
        return None
    return _FAMILIES.get((type(model).__name__, getattr(model.config, "classifier_pooling", None)))


def positions_of(body: Any) -> Callable[[Packed], Offsets] | None:
    """Return how a transformers model without a head numbers the positions of packed rows; None if it is unknown."""
    if not is_transformers_own(body) or _is_changed(body.config):
        return None
    return _BODIES.get(type(body).__name__)


def is_packable_decoder(architecture: str) -> bool:
    """Return whether a language model of this class name, with or without its head, can be packed."""
    return architecture.removesuffix("ForCausalLM").removesuffix("Model") + "Model" in _DECODERS


def _is_changed(config: Any) -> bool:
    """Return whether the model attends otherwise than its family does."""
    is_bidirectional = not getattr(config, "is_causal", True) or getattr(config, "use_bidirectional_attention", False)
    is_other_deberta = config.model_type == DEBERTA and not is_disentangled(config)
    return getattr(config, "is_decoder", False) or bool(is_bidirectional) or is_other_deberta


def is_stateless(model: Any) -> bool:
    """Return whether batches may be computed in parallel; some rotary embeddings depend on the longest text so far."""
    kinds = (str(getattr(module, "rope_type", "")) for module in model.modules())
    is_known = (family_of(model) or positions_of(model)) is not None
    return is_known and not any("dynamic" in kind or "longrope" in kind for kind in kinds)


def is_known(architecture: str) -> bool:
    """Return whether a transformers class of this name may be of one of these families."""
    return any(architecture == name for name, _ in _FAMILIES)


def is_transformers_own(model: Any) -> bool:
    """Return whether the model's code is part of transformers, or ours that equals it.

    Other code may use the name of a known class.
    """
    return type(model).__module__.startswith(("transformers.", "rerank."))


def _from_zero(packed: Packed) -> Offsets:
    return positions(np.diff(packed.offsets))


def _behind_padding(packed: Packed) -> Offsets:
    """RoBERTa counts from padding + 1 and skips padding tokens, even those that a text contains."""
    return _behind(packed, packed.padding)


def _behind_one(packed: Packed) -> Offsets:
    """MPNet does the same, and takes 1 as the padding whatever its config says."""
    return _behind(packed, 1)


def _behind(packed: Packed, padding: int) -> Offsets:
    is_counted = packed.ids != padding
    count = np.concatenate(([0], np.cumsum(is_counted)))
    before = np.repeat(count[packed.offsets[:-1]], np.diff(packed.offsets))
    positions: Offsets = padding + (count[1:] - before) * is_counted
    return positions


def _first(states: torch.Tensor, packed: Packed) -> torch.Tensor:
    return states.index_select(0, packed.packing.starts[:-1])


def _mean(states: torch.Tensor, packed: Packed) -> torch.Tensor:
    lengths = torch.diff(packed.packing.starts)
    # unsafe: checking the lengths would synchronise with the device
    means = torch.segment_reduce(states.float(), "mean", lengths=lengths, unsafe=True)
    return means.to(states.dtype)


def _last(states: torch.Tensor, packed: Packed) -> torch.Tensor:
    """Return the state of the last token that is not padding (a text may end with one), else of the first."""
    starts = packed.offsets[:-1]
    places = np.where(packed.ids != packed.padding, np.arange(len(packed.ids)), 0)
    last = np.maximum(np.maximum.reduceat(places, starts), starts)
    return states.index_select(0, to_device(last, states.device))


def _last_row(states: torch.Tensor, packed: Packed) -> torch.Tensor:
    """Return the state of the last token of each row."""
    return states.index_select(0, packed.packing.starts[1:] - 1)


def _head(model: Any, states: torch.Tensor) -> torch.Tensor:
    """Classify by a head that takes the first token of each row."""
    logits: torch.Tensor = model.classifier(states[:, None])
    return logits


def _bert(model: Any, states: torch.Tensor) -> torch.Tensor:
    logits: torch.Tensor = model.classifier(model.bert.pooler(states[:, None]))
    return logits


def _albert(model: Any, states: torch.Tensor) -> torch.Tensor:
    logits: torch.Tensor = model.classifier(model.albert.pooler_activation(model.albert.pooler(states)))
    return logits


def _distilbert(model: Any, states: torch.Tensor) -> torch.Tensor:
    logits: torch.Tensor = model.classifier(model.pre_classifier(states).relu())
    return logits


def _deberta(model: Any, states: torch.Tensor) -> torch.Tensor:
    logits: torch.Tensor = model.classifier(model.pooler(states[:, None]))
    return logits


def _modernbert(model: Any, states: torch.Tensor) -> torch.Tensor:
    logits: torch.Tensor = model.classifier(model.head(states))
    return logits


def _decoder(model: Any, states: torch.Tensor) -> torch.Tensor:
    logits: torch.Tensor = model.score(states)
    return logits


# By class name and the config's classifier_pooling.
_FAMILIES: dict[tuple[str, str | None], Family] = {
    ("BertForSequenceClassification", None): Family(_from_zero, _first, _bert),
    ("ElectraForSequenceClassification", None): Family(_from_zero, _first, _head),
    ("AlbertForSequenceClassification", None): Family(_from_zero, _first, _albert),
    ("DistilBertForSequenceClassification", None): Family(_from_zero, _first, _distilbert),
    ("DebertaV2ForSequenceClassification", None): Family(_from_zero, _first, _deberta),
    ("MPNetForSequenceClassification", None): Family(_behind_one, _first, _head),
    ("RobertaForSequenceClassification", None): Family(_behind_padding, _first, _head),
    ("XLMRobertaForSequenceClassification", None): Family(_behind_padding, _first, _head),
    ("ModernBertForSequenceClassification", "cls"): Family(_from_zero, _first, _modernbert),
    ("ModernBertForSequenceClassification", "mean"): Family(_from_zero, _mean, _modernbert),
    **{
        (f"{name}ForSequenceClassification", None): Family(_from_zero, _last, _decoder, is_causal=True)
        for name in ("Qwen3", "Qwen2", "Llama", "Gemma2", "Mistral")
    },
}

_DECODERS = frozenset({"Qwen3Model", "Qwen2Model", "LlamaModel", "Gemma2Model", "MistralModel"})
# By the class name of the model without a head.
_BODIES: dict[str, Callable[[Packed], Offsets]] = dict.fromkeys(_DECODERS, _from_zero) | {
    "AlbertModel": _from_zero,
    "BertModel": _from_zero,
    "DebertaV2Model": _from_zero,
    "DistilBertModel": _from_zero,
    "ElectraModel": _from_zero,
    "ModernBertModel": _from_zero,
    "MPNetModel": _behind_one,
    "RobertaModel": _behind_padding,
    "XLMRobertaModel": _behind_padding,
}
