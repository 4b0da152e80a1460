"""Score a decoder's pairs from the state of their last token: by rows of the vocabulary head, or by a dense layer."""

from types import SimpleNamespace
from typing import Any

import torch
from torch import nn


class LastTokenModel(nn.Module):
    """A decoder without its vocabulary head, and a layer that turns the last token's state into a logit.

    Its rows are padded on the right, and every token of a row counts, padding tokens in the text included.
    """

    base_model_prefix = "model"

    def __init__(self, model: Any, score: nn.Module) -> None:
        """`score` takes states [pairs, width] and returns logits [pairs, 1]."""
        super().__init__()
        self.model, self.score = model, score

    @property
    def config(self) -> Any:
        """Return the configuration of the decoder."""
        return self.model.config

    def set_attn_implementation(self, name: str) -> None:
        """Make the decoder use the attention function of this name."""
        self.model.set_attn_implementation(name)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> SimpleNamespace:
        """Return an object with `logits` [pairs, 1], as the classifiers of transformers do."""
        states = self.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).last_hidden_state
        last = attention_mask.sum(1) - 1
        return SimpleNamespace(logits=self.score(states[torch.arange(len(states), device=states.device), last]))


class TokenLogits(nn.Module):
    """The logit of one token of the vocabulary, or the difference of two, computed in the precision of `rows`."""

    rows: torch.Tensor

    def __init__(self, rows: torch.Tensor, *, softcap: float | None) -> None:
        """`rows` [1 or 2, width] of the vocabulary head; `softcap` bounds each logit, as some models do."""
        super().__init__()
        self.register_buffer("rows", rows)
        self._softcap = softcap

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Return logits [pairs, 1] of states [pairs, width]."""
        logits = nn.functional.linear(states.to(self.rows.dtype), self.rows)
        if self._softcap is not None:
            logits = torch.tanh(logits / self._softcap) * self._softcap
        return logits if logits.shape[1] == 1 else logits[:, :1] - logits[:, 1:]
