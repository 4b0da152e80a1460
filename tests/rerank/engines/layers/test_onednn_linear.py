"""Prepacked linear layers give the logits of torch's own, in every family, and only where the kernels are."""

import json
import os
import shutil

import pytest
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification

from rerank.engines.layers.onednn_linear import OneDnnLinear, bound_kernels, can_reorder_weights, reorder_weights

CPU = torch.device("cpu")
needs_kernels = pytest.mark.skipif(not can_reorder_weights(CPU, torch.float32), reason="this processor is none of x86")
needs_bf16 = pytest.mark.skipif(not can_reorder_weights(CPU, torch.bfloat16), reason="this processor has no AVX-512")


def batch():
    ids = torch.randint(5, 190, (4, 40), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(40) < torch.tensor([40, 31, 7, 1])[:, None]).long()
    return {"input_ids": ids, "attention_mask": mask}


@needs_kernels
@torch.inference_mode()
def test_logits_stay_the_same(model_folder):
    model = AutoModelForSequenceClassification.from_pretrained(model_folder).eval()
    expected = model(**batch()).logits
    reorder_weights(model)
    kinds = [type(module) for module in model.modules()]
    assert OneDnnLinear in kinds and nn.Linear not in kinds
    torch.testing.assert_close(model(**batch()).logits, expected, atol=1e-5, rtol=1e-5)


@needs_kernels
@pytest.mark.parametrize(
    ("name", "is_fused"),
    [("gelu", True), ("gelu_new", True), ("gelu_pytorch_tanh", True), ("gelu_python", False), ("relu", False)],
)
@torch.inference_mode()
def test_gelu_is_computed_in_the_same_pass(folder_of, tmp_path, name, is_fused):
    shutil.copytree(folder_of("bert"), tmp_path, dirs_exist_ok=True)
    settings = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(settings | {"hidden_act": name}))
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    expected = model(**batch()).logits
    reorder_weights(model)
    assert isinstance(model.bert.encoder.layer[0].intermediate.intermediate_act_fn, nn.Identity) == is_fused
    torch.testing.assert_close(model(**batch()).logits, expected, atol=1e-5, rtol=1e-5)


@needs_bf16
@pytest.mark.parametrize("then", ["none", "gelu"])
@torch.inference_mode()
def test_bf16_is_rounded_once(then):
    """Sums, bias and GELU are float32 inside: the result is at most half a unit in the last place off, and 1e-3."""
    torch.manual_seed(3)
    layer = nn.Linear(96, 48).bfloat16()
    states = torch.randn(7, 5, 96).bfloat16()
    exact = nn.functional.linear(states.double(), layer.weight.double(), layer.bias.double())
    exact = nn.functional.gelu(exact) if then == "gelu" else exact
    got = OneDnnLinear(layer, then=then)(states)
    assert got.dtype == torch.bfloat16 and got.shape == (7, 5, 48)
    torch.testing.assert_close(got.double(), exact, atol=1e-3, rtol=2**-8)


def test_other_devices_and_precisions_are_left_alone():
    assert not can_reorder_weights(torch.device("cuda"), torch.float32)
    assert not can_reorder_weights(CPU, torch.float16)


def test_kernels_are_bounded_unless_the_environment_says_how_many(monkeypatch):
    monkeypatch.setenv("LRU_CACHE_CAPACITY", "7")
    monkeypatch.delenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", raising=False)
    bound_kernels()
    assert os.environ["LRU_CACHE_CAPACITY"] == "7"
    assert 0 < int(os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"]) < 1_024
