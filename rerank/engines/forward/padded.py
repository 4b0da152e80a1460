"""The padded forward: the pairs of a batch as a grid, padded to the longest of them."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from rerank.encoding.pairs import EncodedPairs
from rerank.engines.batches.plan import computed_tokens, pad, row_mask
from rerank.engines.device.choices import to_device
from rerank.engines.forward.first_token import shorten_last_layer


class PaddedForward:
    """Computes batches by a transformers sequence classifier."""

    padded = True

    def __init__(
        self,
        model: Any,
        device: torch.device,
        *,
        takes_types: bool,
        pads_left: bool = False,
        takes_positions: bool = False,
    ) -> None:
        """Shorten the model's last layer if its classifier reads only the first tokens.

        If it `takes_positions`, the first token of each row gets position 0, wherever the row is padded.
        """
        shorten_last_layer(model)
        self._model, self._device, self._takes_types = model, device, takes_types
        self._pads_left, self._takes_positions = pads_left, takes_positions
        self._padding = getattr(model.config, "pad_token_id", None) or 0

    def prefixes(self, pairs: EncodedPairs) -> None:
        """Return None: rows of a grid share nothing."""

    def count_tokens(self, pairs: EncodedPairs, batch: npt.NDArray[np.integer]) -> tuple[int, int]:
        """Return the tokens that are computed for a batch, longest pair first, and how many of them are padding."""
        lengths = pairs.lengths[batch]
        computed = computed_tokens(lengths, padded=True)
        return computed, computed - int(lengths.sum())

    def __call__(self, pairs: EncodedPairs, batch: npt.NDArray[np.integer]) -> torch.Tensor:
        """Return logits [pairs in the batch], on the device."""
        ids, types, offsets = pairs.join(batch)
        inputs = {
            "input_ids": pad(ids, offsets, fill=self._padding, left=self._pads_left),
            "attention_mask": row_mask(np.diff(offsets), left=self._pads_left).astype(np.int64),
        }
        if self._takes_types:
            inputs["token_type_ids"] = pad(types, offsets, fill=0, left=self._pads_left)
        if self._takes_positions:
            inputs["position_ids"] = np.maximum(inputs["attention_mask"].cumsum(1) - 1, 0)
        tensors = {name: to_device(grid, self._device) for name, grid in inputs.items()}
        logits: torch.Tensor = self._model(**tensors).logits
        return logits[:, 0]
