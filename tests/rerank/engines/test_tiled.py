"""Tiled attention gives what torch's own attention gives, whatever the tiles, masks and groups of heads."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AutoModelForSequenceClassification

from rerank.engines import tiled
from rerank.engines.first_token import shorten_last_layer
from rerank.engines.tiled import TILED, tiled_attention, use_tiled_attention

LENGTHS = torch.tensor([40, 31, 7, 1, 40])


def states(heads):
    return torch.randn(5, heads, 40, 8)


@pytest.mark.parametrize("tile_bytes", [1, 4 * 4 * 40**2 * 2, 2**20], ids=["one pair", "two pairs", "all"])
@pytest.mark.parametrize("key_heads", [4, 2, 1])
@pytest.mark.parametrize("is_masked", [True, False])
@pytest.mark.parametrize("scale", [None, 0.5])
@torch.inference_mode()
def test_equals_torchs_attention(monkeypatch, tile_bytes, key_heads, is_masked, scale):
    monkeypatch.setattr(tiled, "_TILE_BYTES", tile_bytes)
    torch.manual_seed(key_heads)
    query, key, value = states(4), states(key_heads), states(key_heads)
    seen = (torch.arange(40) < LENGTHS[:, None])[:, None, None].expand(-1, 1, 40, -1) if is_masked else None
    expected = scaled_dot_product_attention(query, key, value, attn_mask=seen, scale=scale, enable_gqa=True)
    added = None if seen is None else torch.where(seen, 0.0, torch.finfo(torch.float32).min)
    got, weights = tiled_attention(None, query, key, value, added, scaling=scale)
    assert weights is None and got.is_contiguous()
    torch.testing.assert_close(got, expected.transpose(1, 2), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("is_short", [False, True], ids=["whole", "first token last"])
@torch.inference_mode()
def test_logits_stay_the_same_with_and_without_padding(model_folder, is_short):
    model = AutoModelForSequenceClassification.from_pretrained(model_folder).eval()
    ids = torch.randint(5, 190, (5, 40), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(40) < LENGTHS[:, None]).long()
    batches = [{"input_ids": ids, "attention_mask": mask}, {"input_ids": ids, "attention_mask": torch.ones_like(mask)}]
    expected = [model(**batch).logits for batch in batches]
    use_tiled_attention(model)
    assert model.config._attn_implementation == TILED
    if is_short:
        shorten_last_layer(model)
    for batch, logits in zip(batches, expected, strict=True):
        torch.testing.assert_close(model(**batch).logits, logits, atol=1e-5, rtol=1e-5)
