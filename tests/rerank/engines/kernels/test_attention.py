"""The kernel gives attention in float64, rounded to bf16, with every instruction set, and no row depends on others."""

import math

import numpy as np
import pytest
import torch

from rerank.engines.forward.attention import Packing, attend
from rerank.engines.forward.tiled_attention import EVERYTHING
from rerank.engines.kernels import attention
from rerank.engines.kernels.library import has_bf16_kernels

pytestmark = pytest.mark.skipif(not has_bf16_kernels(torch.bfloat16), reason="no kernel, or no AVX-512 BF16")
LENGTHS = np.array([1, 7, 33, 130, 16, 31, 317])
SOME = np.array([1, 4, 33, 100, 2, 31, 65])
PREFIXES = np.array([-1, -1, -1, 2, -1, -1, 3])
SHAPES = [(3, 3, 32), (4, 2, 64), (3, 1, 20), (2, 2, 96)]  # heads, heads of keys, width


@pytest.fixture(params=["as it is", "without AMX"], autouse=True)
def instructions(request, monkeypatch):
    if request.param == "without AMX":
        if not attention.has_amx():
            pytest.skip("this is what runs without AMX as it is")
        monkeypatch.setattr(attention, "has_amx", lambda: False)


def states(shape, tokens=535):
    heads, key_heads, width = shape
    generator = torch.Generator().manual_seed(5)
    query, key, value = (
        torch.randn(tokens, each, width, generator=generator) for each in (heads, key_heads, key_heads)
    )
    return (3 * query).bfloat16(), key.bfloat16(), value.bfloat16()


def packing(lengths=LENGTHS, attended=None, prefix_of=None):
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return Packing.of(offsets, torch.device("cpu"), attended, prefix_of)


def exact(query, key, value, *, attended=None, prefix_of=None, window=EVERYTHING, first=False):
    """Attention in float64, a row at a time."""
    starts, outputs = np.concatenate([[0], np.cumsum(LENGTHS)]), []
    for row, (start, length) in enumerate(zip(starts, LENGTHS, strict=False)):
        before = -1 if prefix_of is None else prefix_of[row]
        keys = [] if before < 0 else list(range(starts[before], starts[before + 1]))
        places = torch.arange(length)[:, None] + len(keys)
        keys += range(start, start + (length if attended is None else attended[row]))
        asking = query[row : row + 1] if first else query[start : start + length]
        k, v = (each[keys].double().repeat_interleave(query.shape[1] // key.shape[1], 1) for each in (key, value))
        scores = torch.einsum("qhd,khd->hqk", asking.double(), k) * query.shape[2] ** -0.5
        reach = [math.inf if side < 0 else side for side in window]
        seen = (torch.arange(len(keys)) >= places - reach[0]) & (torch.arange(len(keys)) <= places + reach[1])
        weights = scores.masked_fill(~seen[: len(asking)], -math.inf).softmax(-1)
        outputs.append(torch.einsum("hqk,khd->qhd", weights, v))
    return torch.cat(outputs)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "case",
    [
        {},
        {"attended": SOME},
        {"prefix_of": PREFIXES},
        {"window": (-1, 0)},
        {"window": (20, 9)},
        {"window": (-1, 0), "prefix_of": PREFIXES},
        {"attended": SOME, "prefix_of": PREFIXES},
    ],
)
def test_it_is_attention(shape, case):
    query, key, value = states(shape)
    rows = {name: case.get(name) for name in ("attended", "prefix_of")}
    got = attend(query, key, value, packing=packing(**rows), window=case.get("window", EVERYTHING))
    torch.testing.assert_close(got.double(), exact(query, key, value, **case), atol=0.02, rtol=2**-7)


def test_without_it_tiles_give_the_same(monkeypatch):
    query, key, value = states(SHAPES[0])
    got = attend(query, key, value, packing=packing())
    monkeypatch.setattr("rerank.engines.forward.attention.has_bf16_kernels", lambda dtype: False)
    tiles = attend(query, key, value, packing=packing())
    assert not torch.equal(tiles, got)
    torch.testing.assert_close(tiles, got, atol=0.04, rtol=2**-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_first_tokens_see_all_of_their_rows(shape):
    _, key, value = states(shape)
    query = states(shape, len(LENGTHS))[0]
    got = attend(query, key, value, packing=packing(), first=True, window=(3, 3))
    torch.testing.assert_close(got.double(), exact(query, key, value, first=True), atol=0.02, rtol=2**-7)


def test_states_may_lie_in_any_order():
    query, key, value = states(SHAPES[1])
    expected = attend(query, key, value, packing=packing())
    by_head = [each.transpose(0, 1).contiguous().transpose(0, 1) for each in (query, key, value)]
    by_number = [each.permute(2, 0, 1).contiguous().permute(1, 2, 0) for each in (query, key, value)]
    for same in (by_head, by_number):
        assert torch.equal(attend(*same, packing=packing()), expected)


def test_a_row_depends_neither_on_its_company_nor_on_threads():
    query, key, value = states(SHAPES[0])
    together = attend(query, key, value, packing=packing()).split(LENGTHS.tolist())
    rows = zip(*(each.split(LENGTHS.tolist()) for each in (query, key, value)), strict=True)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        alone = [attend(*row, packing=packing([len(row[0])])) for row in rows]
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, other) for one, other in zip(alone, together, strict=True))


@pytest.mark.parametrize("number", [math.nan, math.inf])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_what_is_not_finite_stays_so_in_its_row_alone(which, number):
    triple = states(SHAPES[0])
    expected = attend(*triple, packing=packing()).split(LENGTHS.tolist())
    triple[which][50] = number  # a token of row 3, of 130 tokens
    got = attend(*triple, packing=packing()).split(LENGTHS.tolist())
    others = got[3] if which > 0 and math.isnan(number) else got[3][50 - LENGTHS[:3].sum()]  # who sees it
    assert not others.isfinite().any()
    assert all(torch.equal(got[row], expected[row]) for row in range(len(LENGTHS)) if row != 3)


@pytest.mark.parametrize("factor", [40, 1e5, 1e15])
@pytest.mark.parametrize("scale", [None, 1.0])
def test_scores_of_any_size_are_scaled_without_overflow(factor, scale):
    query, key, value = states(SHAPES[0])
    got = attend(factor * query, factor * key, value, packing=packing(), scale=scale)
    assert got.isfinite().all() and got.abs().max() <= value.abs().max()
    assert (got.abs().amax((1, 2)) > 0).all()  # each query sees something


def test_queries_that_see_nothing_get_zeros():
    query, key, value = states(SHAPES[0])
    got = attend(query, key, value, packing=packing(attended=SOME), window=(3, 0))
    expected = exact(query, key, value, attended=SOME, window=(3, 0))
    sees = expected.isfinite().all(-1).all(-1)
    torch.testing.assert_close(got[sees].double(), expected[sees], atol=0.02, rtol=2**-7)
    assert sees.sum() < len(sees) and not got[~sees].any()


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("change", [lambda each: each.float(), lambda each: each[:-1], lambda each: each[:, :2]])
def test_states_that_do_not_fit_are_refused(which, change):
    query, key, value = (change(each) if place == which else each for place, each in enumerate(states((6, 3, 32))))
    with pytest.raises(ValueError, match=r"expected bfloat16 states \[|cannot share"):
        packing().rows.attend(query, key, value, scale=1.0, window=EVERYTHING, first=False)
