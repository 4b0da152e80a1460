"""The packed forward: all pairs of a batch in one sequence, with almost no padding."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from rerank.arrays import IntArray, Offsets
from rerank.encoding.pairs import EncodedPairs
from rerank.engines.batches.plan import computed_tokens
from rerank.engines.batches.prefixes import Prefixes, SharedRows
from rerank.engines.device.choices import to_device
from rerank.engines.forward.attention import PACKED, Packing, packed_attention
from rerank.engines.forward.bert import BertForSequenceClassification
from rerank.engines.forward.deberta import DEBERTA, PackedDeberta
from rerank.engines.forward.families import Packed, family_of
from rerank.engines.forward.first_token import shorten_last_layer
from rerank.engines.forward.mpnet import PackedMPNet

_WIDEST_HEAD = 256
_AMPERE = (8, 0)
_MPNET = "mpnet"
_REPLACED = {_MPNET: PackedMPNet, DEBERTA: PackedDeberta}  # models whose code knows no other attention than its own
_MULTIPLE = 32  # batches on a CPU are padded to a multiple of this: oneDNN makes a kernel for every number of tokens


def has_packed_kernel(model: Any, device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether packing is faster for a known family: on a CPU, or on CUDA in half precision, for most heads."""
    if device.type == "cpu":
        return True
    if device.type != "cuda" or dtype == torch.float32:
        return False
    config = model.config
    if getattr(config, "attn_logit_softcapping", None) is not None or config.model_type in _REPLACED:
        return False  # torch's kernel cannot change the scores
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return torch.cuda.get_device_capability(device) >= _AMPERE and width % 8 == 0 and width <= _WIDEST_HEAD


def _unchanged(body: Any) -> Any:
    return body


class PackedBody:
    """A transformers model without a head, which computes the states of packed rows of tokens."""

    def __init__(
        self, body: Any, device: torch.device, *, positions: Callable[[Packed], Offsets], takes_types: bool
    ) -> None:
        """Wrap a model that uses `packed_attention`. `positions` numbers the positions of its tokens."""
        self._body = _REPLACED.get(body.config.model_type, _unchanged)(body)
        self._device, self._positions, self._takes_types = device, positions, takes_types
        self._multiple = _MULTIPLE if device.type == "cpu" else 1
        self.padding: int = -1 if body.config.pad_token_id is None else body.config.pad_token_id

    def computed_tokens(self, lengths: npt.NDArray[np.integer]) -> int:
        """Return the tokens that are computed for a batch of rows of these lengths."""
        tokens = computed_tokens(lengths, padded=False)
        return tokens + self._padding_tokens(tokens)

    def __call__(
        self,
        ids: IntArray,
        types: IntArray,
        offsets: Offsets,
        attended: Offsets | None = None,
        prefix_of: Offsets | None = None,
    ) -> tuple[torch.Tensor, Packed]:
        """Return the states [tokens, width] of concatenated rows, on the device, and the packed rows.

        Only the first `attended` tokens [rows] of a row are attended to; None: all. The tokens of a row stand behind
        those of the row `prefix_of` [rows], -1: none. Both results may have an extra row of padding at the end.
        """
        if padding_tokens := self._padding_tokens(len(ids)):
            ids, types = (np.pad(row, (0, padding_tokens)) for row in (ids, types))
            offsets = np.append(offsets, len(ids))
            attended = None if attended is None else np.append(attended, padding_tokens)
            prefix_of = None if prefix_of is None else np.append(prefix_of, -1)
        packed = Packed(ids, offsets, Packing.of(offsets, self._device, attended, prefix_of), self.padding)
        positions = self._positions(packed)
        if prefix_of is not None:
            lengths = np.diff(offsets)
            positions += np.repeat(np.where(prefix_of < 0, 0, lengths[prefix_of]), lengths)
        positions[len(ids) - padding_tokens :] = positions[0]  # a position that every model has
        inputs: dict[str, npt.NDArray[np.integer]] = {"input_ids": ids, "position_ids": positions}
        if self._takes_types:
            inputs["token_type_ids"] = types
        tensors = {name: to_device(row[None].astype(np.int64), self._device) for name, row in inputs.items()}
        return self._body(**tensors, packing=packed.packing, use_cache=False).last_hidden_state[0], packed

    def _padding_tokens(self, tokens: int) -> int:
        return -tokens % self._multiple


def pack_attention(model: Any) -> None:
    """Make a transformers model use `packed_attention`; our own BERT knows no other."""
    if isinstance(model, BertForSequenceClassification):
        return
    from transformers import AttentionInterface

    AttentionInterface.register(PACKED, packed_attention)
    if model.config.model_type not in _REPLACED:  # which PackedBody replaces
        model.set_attn_implementation(PACKED)


class PackedForward:
    """Computes batches by the model without its classifier, then the classifier on one state per pair."""

    padded = False

    def __init__(self, model: Any, device: torch.device, *, takes_types: bool, shares_prefixes: bool = True) -> None:
        """Replace the model's attention function, and shorten its last layer if possible.

        What pairs of a query begin with is computed once per batch if the model is causal, unless `shares_prefixes`
        forbids it.

        Raises ValueError if `family_of` does not know the model's family.
        """
        family = family_of(model)
        if family is None:
            raise ValueError(f"{type(model).__name__} is not of a family that can be packed")
        pack_attention(model)
        self._is_short = shorten_last_layer(model)
        self._model, self._family = model, family
        body = getattr(model, model.base_model_prefix)
        self._body = PackedBody(body, device, positions=family.positions, takes_types=takes_types)
        # Not on CUDA: torch does not say which keys a causal kernel shows to fewer queries than keys.
        self._shares_prefixes = shares_prefixes and family.is_causal and device.type == "cpu"

    def prefixes(self, pairs: EncodedPairs) -> Prefixes | None:
        """Return the prefixes of pairs if those of a batch are computed once each."""
        return Prefixes.of(pairs, padding=self._body.padding) if self._shares_prefixes else None

    def count_tokens(self, pairs: EncodedPairs, batch: npt.NDArray[np.integer]) -> tuple[int, int]:
        """Return the tokens that are computed for a batch, and how many of them are padding."""
        shared = self._shared_rows(pairs, batch)
        lengths = pairs.lengths[batch] if shared is None else np.diff(shared.offsets)
        computed = self._body.computed_tokens(lengths)
        return computed, computed - int(lengths.sum())

    def __call__(self, pairs: EncodedPairs, batch: npt.NDArray[np.integer]) -> torch.Tensor:
        """Return logits [pairs in the batch], on the device."""
        ids, types, offsets = pairs.join(batch)
        shared = self._shared_rows(pairs, batch)
        if shared is None:
            states, packed = self._body(ids, types, offsets)
        else:
            rows = (ids[shared.tokens], types[shared.tokens], shared.offsets)
            states, packed = self._body(*rows, prefix_of=shared.prefix_of)
        pooled = states if self._is_short else self._family.pool(states, packed)
        first = shared.prefix_count if shared else 0
        return self._family.classify(self._model, pooled[first : first + len(batch)])[:, 0]

    def _shared_rows(self, pairs: EncodedPairs, batch: npt.NDArray[np.integer]) -> SharedRows | None:
        """Return the rows of a batch in which pairs share prefixes; None if each pair is a row."""
        if not self._shares_prefixes:
            return None
        return SharedRows.of(pairs.lengths[batch], Prefixes.of(pairs.take(batch), padding=self._body.padding))
