"""Attention over a packed sequence on a CPU where our kernel cannot compute it, with one matrix per row and head.

In bf16 this is two matrix products with powers of two between them, for a few heads at a time, so that the scores stay
in a core's cache; the second product also computes the sums of the softmax. Measured on one core of an AMD EPYC (Zen 5)
for heads of width 32 and rows of 48 to 512 tokens, torch's own function takes 2.5 to 4 times as long, and two products
with torch's softmax 1.3 to 2.5 times. torch keeps the scores in float32; here they are rounded to bf16 between the
products, which adds 4 to 16 % to the error of a logit in bf16, measured on seven models.

On a processor with AMX torch's own function is the faster one, in bf16 too: measured on one core of an Intel Xeon with
rows of 24 to 500 tokens, the products take 1.2 to 2 times as long, and all of late interaction 7 % more.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention

from rerank.arrays import Offsets, offsets_of, positions

_SIDES = 16  # matrices are padded to multiples of this, so that rows of similar lengths share one product
_TILE_BYTES = 2**20  # of scores: fits into the cache of one core
_LEAST = 2.0**-100  # if the divisor is larger, only negligible parts of it can have underflowed
_PARTS = 8  # the divisor is summed in this many columns, because each is rounded; they cost no extra time
# The precisions in which the products are faster than torch's function.
_IN_PRODUCTS = set() if torch.cpu._is_amx_tile_supported() else {torch.bfloat16}
_LOG2_E = math.log2(math.e)
EVERYTHING = (-1, -1)

Window = tuple[int, int]
Bias = Callable[[int], torch.Tensor]
"""Returns what is added to the scores of rows of a length, [heads, length, length]."""
PairBias = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Returns what queries and keys [rows, heads, length, width] add to the scores, [rows, heads, length, length]."""


@dataclass(frozen=True, slots=True)
class _Run:
    """Rows with the same padded lengths: each of their matrices has `side` places of queries, `key_side` of keys."""

    matrices: slice
    queries: slice
    keys: slice
    side: int
    key_side: int


@dataclass(frozen=True, slots=True)
class _Scoring:
    """What makes scores of the products of queries and keys, see `Tiles.attend`."""

    scale: float
    window: Window
    softcap: float | None
    bias: Bias | None
    pair_bias: PairBias | None


class Tiles:
    """The layout of a packed sequence as concatenated matrices, one per row and head."""

    def __init__(
        self,
        lengths: Offsets,
        heads: int,
        key_heads: int,
        attended: Offsets | None = None,
        prefix_of: Offsets | None = None,
    ) -> None:
        """Plan the layout for rows of these lengths, none empty; several `heads` may share one key head.

        Only the first `attended` tokens [rows] of a row are attended to, at least one; None: all. `prefix_of` [rows] is
        the row whose tokens stand before a row's own, -1: none.
        """
        self._heads, self._count = heads, len(lengths) * heads
        self._masks: dict[tuple[int, int, Window], torch.Tensor] = {}
        self._factors: dict[int, torch.Tensor] = {}
        starts, sides = offsets_of(lengths)[:-1], _padded(lengths)
        before, key_sides, order = np.zeros_like(lengths), sides, np.arange(len(lengths))
        if prefix_of is not None:
            before = np.where(prefix_of < 0, 0, lengths[prefix_of])
            key_sides = sides + _padded(before)
            order = np.lexsort((-sides, -key_sides))
        places, row, head, position = _matrices(order, sides, heads)
        token = starts[row] + np.minimum(position, lengths[row] - 1)
        begin = np.empty((len(lengths), heads), dtype=np.int64)
        begin[order] = places[:-1].reshape(-1, heads)
        back = np.repeat(begin, lengths, axis=0) + positions(lengths)[:, None]
        self._queries = torch.from_numpy(token * heads + head)
        self._back = torch.from_numpy(back.ravel())
        key_places = places
        if prefix_of is not None:  # which ends where the row's own tokens begin, so that distances are right
            key_places, row, head, position = _matrices(order, key_sides, heads)
            position -= (key_sides - sides)[row]
            own = starts[row] + np.minimum(position, lengths[row] - 1)
            shared = starts[prefix_of[row]] + np.maximum(before[row] + position, 0)
            token = np.where(position < 0, shared, own)
        is_key = (position < (lengths if attended is None else attended)[row]) & (position >= -before[row])
        self._keys = torch.from_numpy(token * key_heads + head // (heads // key_heads))
        self._is_key = torch.from_numpy(is_key)
        self._hidden = torch.from_numpy(np.flatnonzero(~is_key))
        self._parts = torch.eye(_PARTS, dtype=torch.bfloat16).repeat(int(key_places[-1]) // _PARTS, 1)
        sides, key_sides = sides[order], key_sides[order]
        cuts = np.flatnonzero((np.diff(sides) != 0) | (np.diff(key_sides) != 0)) + 1
        self._runs = [
            _Run(
                slice(first * heads, last * heads),
                slice(int(places[first * heads]), int(places[last * heads])),
                slice(int(key_places[first * heads]), int(key_places[last * heads])),
                int(sides[first]),
                int(key_sides[first]),
            )
            for first, last in pairwise([0, *cuts.tolist(), len(order)])
        ]

    def attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        scale: float | None = None,
        window: Window = EVERYTHING,
        first: bool = False,
        softcap: float | None = None,
        bias: Bias | None = None,
        pair_bias: PairBias | None = None,
    ) -> torch.Tensor:
        """Return attention of queries [tokens, heads, width] to keys, values [tokens, key heads, width] of their row.

        If `first`, the queries are those of each row's first token only, [rows, heads, width], and there is no window.
        `softcap` bounds the scores, as softcap · tanh(score / softcap), before `bias` is added to them, or
        `pair_bias`, which is for rows without a prefix.
        """
        width = query.shape[-1]
        shape, scale = query.shape, width**-0.5 if scale is None else scale
        query = query.reshape(-1, width)
        query = query if first else query.index_select(0, self._queries)
        key, value = (states.reshape(-1, width).index_select(0, self._keys) for states in (key, value))
        matrices = (query, key, value, _Scoring(scale, window, softcap, bias, pair_bias))
        if query.dtype in _IN_PRODUCTS and pair_bias is None:
            mixed = self._by_token(self._multiplied(*matrices), first)
            lowest, highest = mixed.aminmax()
            divisor = mixed[:, width:].sum(1, keepdim=True, dtype=torch.float32)
            least, most = divisor.aminmax()
            if bool(lowest.isfinite() & highest.isfinite() & most.isfinite() & (least > _LEAST)):
                return (mixed[:, :width] / divisor).to(query.dtype).view(shape)
        return self._by_token(self._by_torch(*matrices), first).view(shape)

    def _multiplied(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scoring: _Scoring
    ) -> torch.Tensor:
        """Return the dividend of the softmax, and in `_PARTS` more columns the parts of its divisor.

        The maximum is not subtracted from the scores first, so that both may overflow or underflow.
        """
        value = torch.cat([value, self._parts], dim=1).index_fill_(0, self._hidden, 0.0)
        output, nothing = value.new_empty(len(query), value.shape[1]), value.new_empty(1)
        scale, softcap, bias = scoring.scale, scoring.softcap, scoring.bias
        scale, growth = (scale * _LOG2_E, 1.0) if softcap is None else (scale / softcap, softcap * _LOG2_E)
        for run in self._runs:
            q, k, v, o = self._matrices(run, query, key, value, output)
            seen = self._seen(run, scoring.window, dtype=q.dtype)
            factors = None if bias is None else self._factors_of(run.side, bias)[:, : q.shape[1]]
            most = max(1, _TILE_BYTES // (run.key_side * q.element_size()))
            step = max(1, most // q.shape[1])
            step = step if factors is None else _aligned(step, self._heads)
            for part, rows in product(_slices(len(q), step), _slices(q.shape[1], most)):
                powers = torch.baddbmm(nothing, q[part, rows], k[part].transpose(1, 2), beta=0, alpha=scale)
                powers = (powers if softcap is None else powers.tanh_().mul_(growth)).exp2_()
                if factors is not None:
                    heads = factors[part.start % self._heads :][:step, rows]
                    powers.view(-1, *heads.shape[:1], *powers.shape[1:]).mul_(heads)
                torch.bmm(powers if seen is None else powers.mul_(seen[rows]), v[part], out=o[part, rows])
        return output

    def _by_torch(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scoring: _Scoring) -> torch.Tensor:
        """Return the attention by torch's own function, for all numbers and precisions."""
        output = torch.empty_like(query)
        scale, softcap = scoring.scale, scoring.softcap
        for run in self._runs:
            q, k, v, o = (
                matrices.view(-1, self._heads, *matrices.shape[1:])
                for matrices in self._matrices(run, query, key, value, output)
            )
            is_key = self._is_key[run.keys].view(-1, self._heads, 1, run.key_side)[:, :1]
            seen = self._seen(run, scoring.window, dtype=torch.bool)
            mask = is_key if seen is None else is_key & seen
            added = None if scoring.bias is None else scoring.bias(run.side)[:, : q.shape[2]].to(q.dtype)
            added = added if scoring.pair_bias is None else scoring.pair_bias(q, k)
            if softcap is None:
                mask = mask if added is None else torch.where(mask, added, -math.inf)
                o.copy_(scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale))
            else:  # which torch's function cannot do
                scores = torch.tanh(q @ k.transpose(-1, -2) * (scale / softcap)) * softcap
                scores = scores if added is None else scores + added
                o.copy_(scores.masked_fill(~mask, -math.inf).softmax(-1, dtype=torch.float32).to(v.dtype) @ v)
        return output

    def _by_token(self, mixed: torch.Tensor, first: bool) -> torch.Tensor:
        """Return the output of the matrices in the order of the queries, without padding."""
        return mixed if first else mixed.index_select(0, self._back)

    def _matrices(
        self, run: _Run, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, output: torch.Tensor
    ) -> list[torch.Tensor]:
        """Return a run's part of states [places, width] as [matrices, side or key side, width].

        Queries and outputs with one place per matrix, [matrices, width], are returned as [matrices, 1, width].
        """
        if len(query) == self._count:
            q, o = (states[run.matrices, None] for states in (query, output))
        else:
            q, o = (states[run.queries].view(-1, run.side, states.shape[1]) for states in (query, output))
        k, v = (states[run.keys].view(-1, run.key_side, states.shape[1]) for states in (key, value))
        return [q, k, v, o]

    def _seen(self, run: _Run, window: Window, *, dtype: torch.dtype) -> torch.Tensor | None:
        """Return 1 where a place of a query (row) sees one of a key (column), else 0; None if all places see all."""
        side, key_side = run.side, run.key_side
        before, behind = (key_side if reach < 0 else reach for reach in window)
        if min(before, behind) >= key_side - 1:
            return None
        if (side, key_side, window) not in self._masks:
            own = key_side - side  # the column of the row's first own token
            mask = torch.ones(side, key_side, dtype=dtype).triu_(own - before).tril_(own + behind)
            self._masks[side, key_side, window] = mask
        return self._masks[side, key_side, window].to(dtype)

    def _factors_of(self, side: int, bias: Bias) -> torch.Tensor:
        """Return by how much the bias multiplies the powers, [heads, side, side]; all layers have the same bias."""
        if side not in self._factors:
            self._factors[side] = bias(side).exp()
        return self._factors[side]


def _padded(lengths: Offsets) -> Offsets:
    padded: Offsets = -(-lengths // _SIDES) * _SIDES
    return padded


def _matrices(order: Offsets, sides: Offsets, heads: int) -> tuple[Offsets, Offsets, Offsets, Offsets]:
    """Return the offsets of the matrices of rows in this order, and of each place its row, head and position in it."""
    sizes = np.repeat(sides[order], heads)
    number, head = np.divmod(np.repeat(np.arange(len(sizes)), sizes), heads)
    return offsets_of(sizes), order[number], head, positions(sizes)


def _aligned(step: int, heads: int) -> int:
    """Return the largest number up to `step` that divides `heads` or is a multiple of them."""
    return step // heads * heads if step >= heads else max(each for each in range(1, step + 1) if heads % each == 0)


def _slices(total: int, step: int) -> list[slice]:
    return [slice(at, at + step) for at in range(0, total, step)]
