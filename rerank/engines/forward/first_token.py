"""Compute the last layer for the first token only, if the classifier reads nothing else."""

from typing import Any

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from rerank.engines.forward.attention import PACKED, Packing, attend
from rerank.engines.forward.families import is_transformers_own

# Encoders with the same layers, whose classifiers read only the first token's output.
_FAMILIES = frozenset({"bert", "electra", "roberta", "xlm-roberta"})
_MASKED = frozenset({"eager", "sdpa"})  # their mask has the shape (pairs, 1, tokens or 1, tokens)


def shorten_last_layer(model: Any) -> bool:
    """Make the last layer of a sequence classifier compute the first token only; return False for other architectures.

    The logits stay the same, because the classifier ignores all other outputs. For these the layer saves the queries,
    the output projection and the feed-forward network: 83 % of its work for short pairs.
    """
    config = model.config
    known = config.model_type in _FAMILIES and config._attn_implementation in _MASKED | {PACKED}
    if not known or config.is_decoder or config.add_cross_attention or not is_transformers_own(model):
        return False
    layers = getattr(model, model.base_model_prefix).encoder.layer
    layers[-1] = FirstTokenLayer(layers[-1])
    return True


class FirstTokenLayer(nn.Module):
    """A layer that computes keys and values for all tokens, and everything else for the first one."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer

    def forward(
        self,
        hidden: torch.Tensor,
        mask: torch.Tensor | None = None,
        *_: Any,
        packing: Packing | None = None,
        **__: Any,
    ) -> torch.Tensor:
        """Return the first tokens' states (pairs, 1, width) for hidden states (pairs, tokens, width).

        If packed, returns (1, pairs, width) for (1, tokens, width).
        """
        attention = self.layer.attention
        first = hidden[:, :1] if packing is None else hidden.index_select(1, packing.starts[:-1])
        query, key, value = (
            project(states).unflatten(-1, (-1, attention.self.attention_head_size))
            for project, states in (
                (attention.self.query, first),
                (attention.self.key, hidden),
                (attention.self.value, hidden),
            )
        )
        if packing is None:
            mixed = _attend_masked(query, key, value, mask)
        else:
            mixed = attend(query[0], key[0], value[0], packing=packing, first=True)[None]
        output: torch.Tensor = self.layer.feed_forward_chunk(attention.output(mixed.flatten(2), first))
        return output


def _attend_masked(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None
) -> torch.Tensor:
    """Return attention of each pair's first token to all its tokens; all shapes are (pairs, tokens, heads, width)."""
    seen = None if mask is None else mask[:, :, :1]
    query, key, value = (states.transpose(1, 2) for states in (query, key, value))
    return scaled_dot_product_attention(query, key, value, attn_mask=seen).transpose(1, 2)
