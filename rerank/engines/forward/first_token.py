"""The last layer for the first token alone: what a classifier reads is all that it computes."""

from typing import Any

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from rerank.engines.forward.attention import PACKED, Packing, attend
from rerank.engines.forward.families import is_transformers_own

# Encoders of one build, whose classifiers read nothing but the first token's output.
_FAMILIES = frozenset({"bert", "roberta", "xlm-roberta"})
_MASKED = frozenset({"eager", "sdpa"})  # all bring a mask of (pairs, 1, tokens or 1, tokens)


def shorten_last_layer(model: Any) -> bool:
    """Let the last layer of a sequence classifier compute the first token only; False where it is not of that build.

    The logits are the same: every other output of that layer is thrown away. It spares the layer its queries, its
    output projection and its feed-forward network, which is most of it: 83 % of one layer's work for short pairs.
    """
    config = model.config
    known = config.model_type in _FAMILIES and config._attn_implementation in _MASKED | {PACKED}
    if not known or config.is_decoder or config.add_cross_attention or not is_transformers_own(model):
        return False
    layers = getattr(model, model.base_model_prefix).encoder.layer
    layers[-1] = _FirstTokenLayer(layers[-1])
    return True


class _FirstTokenLayer(nn.Module):
    """A layer whose keys and values are of all tokens, and all else of the first."""

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
        """Hidden states (pairs, tokens, width) to those of first tokens (pairs, 1, width); packed ones (1, tokens,
        width) to (1, pairs, width).
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
    """Attention of each pair's first token to all its tokens, (pairs, tokens, heads, width) all of them."""
    seen = None if mask is None else mask[:, :, :1]
    query, key, value = (states.transpose(1, 2) for states in (query, key, value))
    return scaled_dot_product_attention(query, key, value, attn_mask=seen).transpose(1, 2)
