"""What a packed forward must know of a model family: how it numbers positions, and what its classifier reads."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from rerank.arrays import IntArray, Offsets, positions
from rerank.engines.device.choices import to_device
from rerank.engines.forward.attention import Packing


@dataclass(frozen=True, slots=True)
class Packed:
    """Pairs one behind the other: token ids, where each pair begins, and the id that the model takes for padding."""

    ids: IntArray
    offsets: Offsets
    packing: Packing
    padding: int


@dataclass(frozen=True, slots=True)
class Family:
    """Positions [tokens]; states [tokens, width] to one per pair [pairs, width]; those to logits [pairs, 1]."""

    positions: Callable[[Packed], Offsets]
    pool: Callable[[torch.Tensor, Packed], torch.Tensor]
    classify: Callable[[Any, torch.Tensor], torch.Tensor]


def family_of(model: Any) -> Family | None:
    """The family of a sequence classifier of transformers' own; None where it is not known."""
    config = model.config
    is_changed = getattr(config, "is_decoder", False) or not getattr(config, "is_causal", True)
    if is_changed or not is_transformers_own(model):
        return None
    return _FAMILIES.get((type(model).__name__, getattr(config, "classifier_pooling", None)))


def is_stateless(model: Any) -> bool:
    """Whether batches may be computed at the same time; some position codes depend on the longest text seen."""
    kinds = (str(getattr(module, "rope_type", "")) for module in model.modules())
    return family_of(model) is not None and not any("dynamic" in kind or "longrope" in kind for kind in kinds)


def is_known(architecture: str) -> bool:
    """Whether a class of transformers' own, by its name, may be of one of these families."""
    return any(architecture == name for name, _ in _FAMILIES)


def is_transformers_own(model: Any) -> bool:
    """Whether transformers' code runs: a model may bring its own under the name of a known type."""
    return type(model).__module__.startswith("transformers.")


def _from_zero(packed: Packed) -> Offsets:
    return positions(np.diff(packed.offsets))


def _behind_padding(packed: Packed) -> Offsets:
    """RoBERTa counts from padding + 1 and leaves padding tokens out, those that a text spells too."""
    is_counted = packed.ids != packed.padding
    count = np.concatenate(([0], np.cumsum(is_counted)))
    before = np.repeat(count[packed.offsets[:-1]], np.diff(packed.offsets))
    positions: Offsets = packed.padding + (count[1:] - before) * is_counted
    return positions


def _first(states: torch.Tensor, packed: Packed) -> torch.Tensor:
    return states.index_select(0, packed.packing.starts[:-1])


def _mean(states: torch.Tensor, packed: Packed) -> torch.Tensor:
    lengths = torch.diff(packed.packing.starts)
    # unsafe: the check of the lengths would wait for the device
    means = torch.segment_reduce(states.float(), "mean", lengths=lengths, unsafe=True)
    return means.to(states.dtype)


def _last(states: torch.Tensor, packed: Packed) -> torch.Tensor:
    """Of the last token that is not the padding one, which a text may end with; of the first where all are."""
    starts = packed.offsets[:-1]
    places = np.where(packed.ids != packed.padding, np.arange(len(packed.ids)), 0)
    last = np.maximum(np.maximum.reduceat(places, starts), starts)
    return states.index_select(0, to_device(last, states.device))


def _roberta(model: Any, states: torch.Tensor) -> torch.Tensor:
    logits: torch.Tensor = model.classifier(states[:, None])
    return logits


def _bert(model: Any, states: torch.Tensor) -> torch.Tensor:
    logits: torch.Tensor = model.classifier(model.bert.pooler(states[:, None]))
    return logits


def _modernbert(model: Any, states: torch.Tensor) -> torch.Tensor:
    logits: torch.Tensor = model.classifier(model.head(states))
    return logits


def _decoder(model: Any, states: torch.Tensor) -> torch.Tensor:
    logits: torch.Tensor = model.score(states)
    return logits


# By the class and its config's classifier_pooling.
_FAMILIES = {
    ("BertForSequenceClassification", None): Family(_from_zero, _first, _bert),
    ("RobertaForSequenceClassification", None): Family(_behind_padding, _first, _roberta),
    ("XLMRobertaForSequenceClassification", None): Family(_behind_padding, _first, _roberta),
    ("ModernBertForSequenceClassification", "cls"): Family(_from_zero, _first, _modernbert),
    ("ModernBertForSequenceClassification", "mean"): Family(_from_zero, _mean, _modernbert),
    ("Qwen3ForSequenceClassification", None): Family(_from_zero, _last, _decoder),
}
