"""The states of the tokens of texts by themselves, from a Transformer module of sentence-transformers."""

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from rerank.arrays import IntArray, Offsets
from rerank.engines.batches.plan import computed_tokens, pad, row_mask
from rerank.engines.device.choices import to_device
from rerank.engines.forward.families import positions_of
from rerank.engines.forward.packed import PackedBody, has_packed_kernel, pack_attention


class TextStates(Protocol):
    """Computes the states of a batch of rows."""

    @property
    def padded(self) -> bool:
        """Return whether rows are padded to the longest one."""
        ...

    def computed_tokens(self, lengths: npt.NDArray[np.integer]) -> int:
        """Return the tokens that are computed for a batch of these lengths, longest first."""
        ...

    def __call__(self, ids: IntArray, offsets: Offsets, attended: Offsets) -> torch.Tensor:
        """Return the states [tokens, width] of concatenated rows, of which the first `attended` tokens are attended to.

        There may be further states at the end.
        """
        ...


def can_pack(transformer: Any, device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether the rows of a Transformer module can be packed, and whether that is faster on this device."""
    reads_states = transformer.modality_config.get("text") == {
        "method": "forward",
        "method_output_name": "last_hidden_state",
    }
    known = positions_of(transformer.model) is not None
    return reads_states and known and has_packed_kernel(transformer.model, device, dtype)


class TextStatesPacked:
    """All rows of a batch in one sequence, with almost no padding."""

    padded = False

    def __init__(self, transformer: Any, device: torch.device) -> None:
        """Replace the attention function of the model. Raises ValueError if its family is unknown."""
        positions = positions_of(transformer.model)
        if positions is None:
            raise ValueError(f"{type(transformer.model).__name__} is not of a family that can be packed")
        pack_attention(transformer.model)
        self._body = PackedBody(transformer.model, device, positions=positions, takes_types=False)

    def computed_tokens(self, lengths: npt.NDArray[np.integer]) -> int:
        """Return the tokens that are computed for a batch of rows of these lengths."""
        return self._body.computed_tokens(lengths)

    def __call__(self, ids: IntArray, offsets: Offsets, attended: Offsets) -> torch.Tensor:
        """Return states, see `TextStates`."""
        return self._body(ids, np.zeros_like(ids), offsets, attended)[0]


class TextStatesPadded:
    """The rows of a batch as a grid, padded to the longest of them."""

    padded = True

    def __init__(self, transformer: Any, device: torch.device) -> None:
        """Use the module as it is."""
        self._transformer, self._device = transformer, device
        self._padding = transformer.tokenizer.pad_token_id or 0

    def computed_tokens(self, lengths: npt.NDArray[np.integer]) -> int:
        """Return the tokens that are computed for a batch of these lengths, longest first."""
        return computed_tokens(lengths, padded=True)

    def __call__(self, ids: IntArray, offsets: Offsets, attended: Offsets) -> torch.Tensor:
        """Return states, see `TextStates`."""
        lengths = np.diff(offsets)
        mask = row_mask(lengths)
        is_attended = np.arange(mask.shape[1]) < attended[:, None]
        inputs = {
            "input_ids": pad(ids, offsets, fill=self._padding),
            "attention_mask": is_attended.astype(np.int64),
        }
        features: dict[str, Any] = {name: to_device(grid, self._device) for name, grid in inputs.items()}
        states: torch.Tensor = self._transformer({**features, "modality": "text"})["token_embeddings"]
        return states.flatten(0, 1).index_select(0, to_device(np.flatnonzero(mask), self._device))
