"""The call of torch's kernel for CUDA, against stand-ins with the signatures of several versions of torch."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from rerank.arrays import offsets_of
from rerank.engines.forward import attention
from rerank.engines.forward.attention import Packing, attend, attend_by_kernel

LENGTHS = np.array([5, 17, 1, 32])
CPU = torch.device("cpu")


def before_2_12(query, key, value, starts, key_starts, longest, longest_key, *, scale=None, window_size=(-1, -1)):
    """As in torch 2.11, whose heads cannot share keys."""
    assert query.shape[1] == key.shape[1] == value.shape[1]
    return from_2_12(query, key, value, starts, key_starts, longest, longest_key, scale=scale, window_size=window_size)


def from_2_12(
    query, key, value, starts, key_starts, longest, longest_key, *, scale=None, window_size=(-1, -1), enable_gqa=False
):
    assert enable_gqa == (query.shape[1] != key.shape[1])
    assert longest == int(starts.diff().max()) and longest_key >= int(key_starts.diff().max())
    parts = [torch.split(states, bounds.diff().tolist()) for states, bounds in
             ((query, starts), (key, key_starts), (value, key_starts))]  # fmt: skip
    outputs = []
    for rows in zip(*parts, strict=True):
        q, k, v = (row.transpose(0, 1)[None] for row in rows)
        distance = torch.arange(q.shape[2])[:, None] - torch.arange(k.shape[2])
        before, behind = (10**6 if reach < 0 else reach for reach in window_size)
        mask = (distance <= before) & (-distance <= behind)
        mixed = scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale, enable_gqa=enable_gqa)
        outputs.append(mixed[0].transpose(0, 1))
    return torch.cat(outputs)


@pytest.fixture(params=[before_2_12, from_2_12])
def kernel(request, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.nn.attention.varlen", SimpleNamespace(varlen_attn=request.param))
    attention._cuda_kernel.cache_clear()
    yield request.param
    attention._cuda_kernel.cache_clear()


@pytest.mark.parametrize("key_heads", [4, 2])
@pytest.mark.parametrize("attended", [None, np.array([5, 9, 1, 30])])
@torch.inference_mode()
def test_the_kernel_gets_what_its_version_takes(kernel, key_heads, attended):
    generator = torch.Generator().manual_seed(0)
    shapes = [(LENGTHS.sum(), heads, 8) for heads in (4, key_heads, key_heads)]
    query, key, value = (torch.randn(shape, generator=generator) for shape in shapes)
    packing = Packing.of(offsets_of(LENGTHS), CPU, attended)
    for options in ({}, {"window": (3, 3), "scale": 0.5} if attended is None else {"scale": 0.5}):
        expected = attend(query, key, value, packing=packing, **options)
        got = attend_by_kernel(query, key, value, packing=packing, **options)
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    firsts = query[packing.starts[:-1]]
    got = attend_by_kernel(firsts, key, value, packing=packing, first=True)
    torch.testing.assert_close(got, attend(firsts, key, value, packing=packing, first=True), atol=1e-5, rtol=1e-5)
