"""MPNet over packed rows: transformers' own code knows no other attention function than its own."""

from typing import Any

import torch
from torch import nn

from rerank.engines.forward.attention import Packing, attend


class PackedMPNet(nn.Module):
    """An MPNetModel that computes packed rows; its attention adds a bias that depends on the distance of two tokens."""

    def __init__(self, model: Any) -> None:
        """Take over the layers of the model."""
        super().__init__()
        self.model, self.config = model, model.config
        self._longest_bias: torch.Tensor | None = None

    def forward(self, input_ids: torch.Tensor, position_ids: torch.Tensor, *, packing: Packing, **_: Any) -> Any:
        """Return a transformers output with `last_hidden_state` (1, tokens, width) for ids (1, tokens)."""
        from transformers.modeling_outputs import BaseModelOutput

        states = self.model.embeddings(input_ids=input_ids, position_ids=position_ids)
        for layer in self.model.encoder.layer:
            attention = layer.attention
            mixed = self._attend(attention.attn, states[0], packing)
            states = attention.LayerNorm(attention.attn.o(mixed)[None] + states)
            states = layer.output(layer.intermediate(states), states)
        return BaseModelOutput(last_hidden_state=states)

    def _attend(self, layer: Any, states: torch.Tensor, packing: Packing) -> torch.Tensor:
        heads = (
            project(states).unflatten(-1, (-1, layer.attention_head_size)) for project in (layer.q, layer.k, layer.v)
        )
        return attend(*heads, packing=packing, bias=self._bias).flatten(1)

    def _bias(self, length: int) -> torch.Tensor:
        """Return the bias of rows of this length, [heads, length, length]."""
        bias = self._longest_bias
        if bias is None or bias.shape[1] < length:
            weight = self.model.encoder.relative_attention_bias.weight
            self._longest_bias = bias = self.model.encoder.compute_position_bias(weight.new_empty(1, length, 0))[0]
        return bias[:, :length, :length]  # distances are the same in every corner
