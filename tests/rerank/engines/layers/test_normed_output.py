"""Sums and their norms in one pass are those of float64, rounded to bf16, and known outputs are replaced."""

import copy

import pytest
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification

from rerank.engines.kernels.library import has_bf16_kernels
from rerank.engines.kernels.norm import NormOfSum
from rerank.engines.layers.normed_output import NormedOutput, fuse_outputs

pytestmark = pytest.mark.skipif(not has_bf16_kernels(torch.bfloat16), reason="no kernel, or no AVX-512 BF16")


def norm_and_states(width, rows=(3, 7)):
    torch.manual_seed(6)
    norm = nn.LayerNorm(width, eps=1e-12).requires_grad_(False)
    norm.weight.normal_(1, 0.3)
    norm.bias.normal_()
    return norm.bfloat16(), *(torch.randn(*rows, width).mul(5).add(2).bfloat16() for _ in range(2))


@pytest.mark.parametrize("width", [3, 32, 100, 384])
def test_it_is_the_norm_of_the_sum(width):
    norm, states, added = norm_and_states(width)
    expected = copy.deepcopy(norm).double()(states.double() + added.double())
    torch.testing.assert_close(NormOfSum(norm)(states, added).double(), expected, atol=1e-4, rtol=2**-8)


def test_a_row_depends_on_no_other_row():
    norm, states, added = norm_and_states(40, (600,))
    fused = NormOfSum(norm)
    together = fused(states, added)
    assert torch.equal(torch.cat([fused(*row) for row in zip(states.split(1), added.split(1), strict=True)]), together)
    states[5, 3] = torch.nan
    assert fused(states, added)[5].isnan().all()
    others = torch.arange(600) != 5
    assert torch.equal(fused(states, added)[others], together[others])
    assert fused(states[:0], added[:0]).shape == (0, 40)


def test_states_that_do_not_fit_are_refused():
    norm, states, added = norm_and_states(40)
    for one, other in ((states, added[:1]), (states, added.float()), (states[..., :8], added[..., :8])):
        with pytest.raises(ValueError, match="a norm of 40 numbers got"):
            NormOfSum(norm)(one, other)


@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta", "electra", "deberta"])
@torch.inference_mode()
def test_known_outputs_are_replaced_and_nearer_to_float32(folder_of, family):
    model = AutoModelForSequenceClassification.from_pretrained(folder_of(family)).bfloat16().eval()
    body = getattr(model, model.base_model_prefix)
    ids = torch.randint(5, 590, (64, 40), generator=torch.Generator().manual_seed(7))
    exact = copy.deepcopy(body).float()(ids).last_hidden_state
    error = (body(ids).last_hidden_state - exact).std()
    fuse_outputs(body)
    replaced = sum(isinstance(module, NormedOutput) for module in body.modules())
    assert replaced == 2 * model.config.num_hidden_layers
    assert (body(ids).last_hidden_state - exact).std() < error
