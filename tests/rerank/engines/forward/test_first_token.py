"""The shortened last layer gives the logits of the whole one, and only where it is known to."""

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from rerank.engines.forward.first_token import shorten_last_layer


def model_of(folder, attention="sdpa"):
    return AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation=attention).eval()


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", ["bert", "untyped-bert", "roberta", "xlm-roberta"])
@torch.inference_mode()
def test_logits_stay_the_same_with_and_without_padding(folder_of, family, attention):
    model = model_of(folder_of(family), attention)
    ids = torch.randint(5, 500, (4, 40), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(40) < torch.tensor([40, 31, 7, 1])[:, None]).long()
    batches = [{"input_ids": ids, "attention_mask": mask}, {"input_ids": ids, "attention_mask": torch.ones_like(mask)}]
    before = [model(**batch).logits for batch in batches]
    assert shorten_last_layer(model)
    for batch, expected in zip(batches, before, strict=True):
        torch.testing.assert_close(model(**batch).logits, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["modernbert", "qwen3"])
def test_other_builds_are_left_alone(folder_of, family):
    model = model_of(folder_of(family))
    modules = [type(module) for module in model.modules()]
    assert not shorten_last_layer(model)
    assert [type(module) for module in model.modules()] == modules
