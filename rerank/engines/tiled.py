"""Attention on a CPU in bf16: the scores of a few heads at a time, as two matrix products with a softmax between them.

torch's own function computes smaller tiles, whose products are so short that most of the time goes into calling them:
measured on one core of an AMD EPYC (Zen 5) it takes 2 to 3 times as long, for heads of 32 and 64 and 50 to 512 tokens.
"""

from typing import Any

import torch

TILED = "tiled"  # what transformers knows `tiled_attention` by
_TILE_BYTES = 2**20  # of scores; what stays in the cache of one core


def use_tiled_attention(model: Any) -> None:
    """Give a transformers model this attention function, and masks to add to the scores."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import eager_mask

    AttentionInterface.register(TILED, tiled_attention)
    AttentionMaskInterface.register(TILED, eager_mask)
    model.set_attn_implementation(TILED)


def tiled_attention(
    _: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    **__: Any,
) -> tuple[torch.Tensor, None]:
    """What transformers' layers call: (pairs, heads, tokens, width) each, keys and values with as many heads or fewer,
    to (pairs, tokens, heads, width) and no weights. The mask, (pairs or 1, 1, tokens, tokens), is added to the scores.
    """
    pairs, heads, tokens, width = query.shape
    scale = width**-0.5 if scaling is None else scaling
    query, key, value = (_by_head(states, heads) for states in (query, key, value))
    output = torch.empty_like(query)
    is_masked = attention_mask is not None
    mask = query.new_zeros(1, 1, 1, 1) if attention_mask is None else attention_mask
    mask = mask.expand(pairs, heads, -1, -1)
    step = max(1, _TILE_BYTES // (heads * tokens**2 * query.element_size()))
    for first in range(0, pairs, step):
        rows = slice(first * heads, (first + step) * heads)
        added = mask[first : first + step].flatten(0, 1)
        scores = torch.baddbmm(added, query[rows], key[rows].transpose(1, 2), beta=int(is_masked), alpha=scale)
        torch.bmm(scores.softmax(-1), value[rows], out=output[rows])
    return output.view(pairs, heads, tokens, width).transpose(1, 2).contiguous(), None


def _by_head(states: torch.Tensor, heads: int) -> torch.Tensor:
    """(pairs, heads or fewer, tokens, width) to (pairs * heads, tokens, width); fewer heads serve several each."""
    return states.repeat_interleave(heads // states.shape[1], dim=1).flatten(0, 1)
