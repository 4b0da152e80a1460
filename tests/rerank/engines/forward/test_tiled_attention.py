"""Attention in tiles gives what torch's own gives for every row alone, in both ways in which it is computed."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from rerank.engines.forward import tiled_attention as tiled
from rerank.engines.forward.tiled_attention import EVERYTHING, Tiles

LENGTHS = [40, 33, 32, 17, 16, 16, 7, 1, 9]
WIDTH = 8


@pytest.fixture(params=[True, False], ids=["products", "torch"])
def way(request, monkeypatch):
    """The precision of the products is float32 here, to be compared closely; or there is none."""
    monkeypatch.setattr(tiled, "_IN_PRODUCTS", {torch.float32} if request.param else set())
    if request.param:
        monkeypatch.setattr(Tiles, "_by_torch", None)
    return request.param


def states(lengths, heads, seed=0):
    return torch.randn(sum(lengths), heads, WIDTH, generator=torch.Generator().manual_seed(seed))


def row_by_row(lengths, query, key, value, scale=None, window=EVERYTHING, bias=None):
    """Torch's attention in float64, each row alone."""
    outputs = []
    for q, k, v in zip(*(torch.split(part.double(), lengths) for part in (query, key, value)), strict=True):
        places = torch.arange(len(q))
        back = places[:, None] - places
        before, behind = (len(q) if reach < 0 else reach for reach in window)
        seen = (back <= before) & (-back <= behind)
        rows = (part.transpose(0, 1)[None] for part in (q, k, v))
        seen = seen if bias is None else torch.where(seen, bias(len(q)).double(), -math.inf)
        mixed = scaled_dot_product_attention(*rows, attn_mask=seen, scale=scale, enable_gqa=True)
        outputs.append(mixed[0].transpose(0, 1))
    return torch.cat(outputs)


@pytest.mark.parametrize(
    "tile_bytes", [1, 3 * 48 * 4, 3 * 48**2 * 4, 2**20], ids=["one row", "three rows", "three", "all"]
)
@pytest.mark.parametrize("key_heads", [4, 2, 1])
@pytest.mark.parametrize("scale", [None, 0.5])
@torch.inference_mode()
def test_equals_torchs_attention(way, monkeypatch, tile_bytes, key_heads, scale):
    monkeypatch.setattr(tiled, "_TILE_BYTES", tile_bytes)
    query, key, value = states(LENGTHS, 4), states(LENGTHS, key_heads, 1), states(LENGTHS, key_heads, 2)
    tiles = Tiles(np.array(LENGTHS), 4, key_heads)
    expected = row_by_row(LENGTHS, query, key, value, scale)
    got = tiles.attend(query, key, value, scale=scale)
    torch.testing.assert_close(got.double(), expected, atol=1e-5, rtol=1e-5)
    starts = np.cumsum([0, *LENGTHS[:-1]])
    firsts = tiles.attend(query[starts], key, value, scale=scale, first=True)
    torch.testing.assert_close(firsts.double(), expected[starts], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("window", [(-1, 0), (3, 3), (0, 0), (5, 0), (31, 31), (60, 60)])
@torch.inference_mode()
def test_a_window_hides_what_is_too_far(way, window):
    query, key, value = (states(LENGTHS, 2, seed) for seed in range(3))
    got = Tiles(np.array(LENGTHS), 2, 2).attend(query, key, value, window=window)
    expected = row_by_row(LENGTHS, query, key, value, window=window)
    torch.testing.assert_close(got.double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("tile_bytes", [1, 3 * 48**2 * 4, 2**20], ids=["one row", "three", "all"])
@pytest.mark.parametrize("window", [EVERYTHING, (3, 3)])
@torch.inference_mode()
def test_a_bias_is_added_by_position(way, monkeypatch, tile_bytes, window):
    monkeypatch.setattr(tiled, "_TILE_BYTES", tile_bytes)
    query, key, value = (states(LENGTHS, 4, seed) for seed in range(3))
    table = torch.randn(4, 48, 48, generator=torch.Generator().manual_seed(9))

    def bias(length):
        return table[:, :length, :length]

    expected = row_by_row(LENGTHS, query, key, value, window=window, bias=bias)
    tiles = Tiles(np.array(LENGTHS), 4, 4)
    got = tiles.attend(query, key, value, window=window, bias=bias)
    torch.testing.assert_close(got.double(), expected, atol=1e-5, rtol=1e-5)
    if window == EVERYTHING:
        starts = np.cumsum([0, *LENGTHS[:-1]])
        firsts = tiles.attend(query[starts], key, value, first=True, bias=bias)
        torch.testing.assert_close(firsts.double(), expected[starts], atol=1e-5, rtol=1e-5)


@settings(max_examples=60)
@given(
    st.lists(st.integers(1, 70), min_size=1, max_size=12),
    st.sampled_from([(4, 4), (4, 2), (3, 1)]),
    st.tuples(st.integers(-1, 40), st.integers(-1, 40)),
    st.booleans(),
)
@torch.inference_mode()
def test_any_lengths_in_any_order(lengths, heads, window, in_products):
    query, key, value = states(lengths, heads[0]), states(lengths, heads[1], 1), states(lengths, heads[1], 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiled, "_IN_PRODUCTS", {torch.float32} if in_products else set())
        got = Tiles(np.array(lengths), *heads).attend(query, key, value, window=window)
    expected = row_by_row(lengths, query, key, value, window=window)
    torch.testing.assert_close(got.double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("is_first", [False, True], ids=["all", "first"])
@pytest.mark.parametrize("level", [-1_000, -140, -127, -110, -101, -99, 0, 110, 120, 124, 125, 126, 127, 128, 1_000])
@torch.inference_mode()
def test_scores_out_of_range_are_left_to_torch(monkeypatch, level, is_first):
    """They are all about 2**level in one head, which does not change a softmax; in the other they are usual."""
    monkeypatch.setattr(tiled, "_IN_PRODUCTS", {torch.float32})
    query, key, value = (states(LENGTHS, 2, seed) for seed in range(3))
    query[:, 0, 0], key[:, 0, 0] = level / math.log2(math.e), WIDTH**0.5
    key[:, 0, 1:] = 0  # equal scores, whose sum is the larger the more there are
    expected = row_by_row(LENGTHS, query, key, value)
    rows = np.cumsum([0, *LENGTHS[:-1]]) if is_first else np.arange(sum(LENGTHS))
    got = Tiles(np.array(LENGTHS), 2, 2).attend(query[rows], key, value, first=is_first)
    torch.testing.assert_close(got.double(), expected[rows], atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_what_is_no_number_stays_in_its_row(monkeypatch):
    monkeypatch.setattr(tiled, "_IN_PRODUCTS", {torch.float32})
    query, key, value = (states(LENGTHS, 2, seed) for seed in range(3))
    expected = row_by_row(LENGTHS, query, key, value)
    value[50] = torch.nan
    got = Tiles(np.array(LENGTHS), 2, 2).attend(query, key, value).double()
    assert got[40:73].isnan().all()
    others = [place for place in range(sum(LENGTHS)) if not 40 <= place < 73]
    torch.testing.assert_close(got[others], expected[others], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("size", "times"), [(1, 2), (4, 4)])
@torch.inference_mode()
def test_bf16_is_multiplied_and_about_as_exact_as_torchs(monkeypatch, size, times):
    """Scores are rounded, which costs the more the larger they are: measured 1.7 and 3.1 times torch's error."""
    query, key, value = (states(LENGTHS, 4, seed).bfloat16() for seed in range(3))
    query *= size
    expected = row_by_row(LENGTHS, query, key, value)
    tiles = Tiles(np.array(LENGTHS), 4, 4)
    with monkeypatch.context() as patch:
        patch.setattr(tiled, "_IN_PRODUCTS", set())
        torchs = tiles.attend(query, key, value)
    monkeypatch.setattr(tiled, "_IN_PRODUCTS", {torch.bfloat16})
    monkeypatch.setattr(Tiles, "_by_torch", None)
    got = tiles.attend(query, key, value)
    assert got.dtype == torchs.dtype == torch.bfloat16
    error, usual = ((mixed.double() - expected).abs().mean() for mixed in (got, torchs))
    assert 0 < error < times * usual


PREFIX_OF = [-1, -1, 0, 1, 0, 0, -1, 1, 0]  # of LENGTHS: rows 0 and 1 are prefixes


def unshared(states):
    """Return states as rows without prefixes, where each row begins with the tokens of its prefix."""
    rows = torch.split(states, LENGTHS)
    return torch.cat([part for row, own in enumerate(rows) for part in _with_prefix(rows, row, own)])


def _with_prefix(rows, row, own):
    return (own,) if PREFIX_OF[row] < 0 else (rows[PREFIX_OF[row]], own)


@pytest.mark.parametrize("tile_bytes", [1, 2**20], ids=["one row", "all"])
@pytest.mark.parametrize("key_heads", [4, 2])
@pytest.mark.parametrize("softcap", [None, 1.5])
@pytest.mark.parametrize("window", [(-1, 0), (30, 0), (0, 0)])
@torch.inference_mode()
def test_rows_may_stand_behind_a_shared_prefix(way, monkeypatch, tile_bytes, key_heads, softcap, window):
    monkeypatch.setattr(tiled, "_TILE_BYTES", tile_bytes)
    query, key, value = (states(LENGTHS, heads, heads + seed) for seed, heads in enumerate((4, key_heads, key_heads)))
    prefix_of = np.array(PREFIX_OF)
    shared = Tiles(np.array(LENGTHS), 4, key_heads, prefix_of=prefix_of)
    got = shared.attend(query, key, value, window=window, softcap=softcap)
    before = np.where(prefix_of < 0, 0, np.array(LENGTHS)[prefix_of])
    whole = Tiles(before + LENGTHS, 4, key_heads)
    expected = whole.attend(*map(unshared, (query, key, value)), window=window, softcap=softcap)
    own = [part[skipped:] for part, skipped in zip(expected.split((before + LENGTHS).tolist()), before, strict=True)]
    torch.testing.assert_close(got, torch.cat(own), atol=1e-5, rtol=1e-5)
