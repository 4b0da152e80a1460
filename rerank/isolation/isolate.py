"""Score a block, and find and reject the pairs on which the engine fails or which kill its process.

If scoring a range of pairs fails, it is split into pieces that are scored separately, down to single pairs. An
exception is handled at once. The death of the process is noticed when the same block is retried, by the marker that the
dead process left (`rerank.isolation.attempts`).
"""

import logging
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from time import perf_counter

import numpy as np
from xxhash import xxh3_128_hexdigest

from rerank.arrays import FloatArray, IntArray
from rerank.encoding.pairs import EncodedPairs
from rerank.engines import Engine, Scores
from rerank.errors import RerankError
from rerank.isolation.attempts import ScoringAttempts
from rerank.isolation.pace import Pace
from rerank.ranking.candidates import CandidateSets
from rerank.ranking.reject import Codes, Reason

# A death costs a restart and a model load, a piece next to nothing. With 16 pieces one pair of 4,096 is found in five
# deaths, one of 32,768 in six; halving would take fourteen and seventeen.
_PIECES = 16
# A block of documents with many passages is scored in slices of as many pairs as a large block without passages has.
_MOST_PAIRS_PER_SLICE = 32_768
# Deaths while scoring a single pair. One may be a coincidence, such as a lost node or an operator's kill.
_DEATHS = 2

WORK = ("computed_tokens", "padding_tokens", "texts", "remembered_texts")

_log = logging.getLogger(__name__)

OnScored = Callable[[IntArray, FloatArray], None]
OnProgress = Callable[[int], None]


class FaultIsolation:
    """The scoring of one block: `logits` (NaN if there is none) and Reason `codes`, both [pairs].

    `rows` are the candidate rows of the pairs, ascending. Pieces are ranges of rows, not of pairs: a retry cuts the
    same pieces although fewer pairs are left. `name` is unique among the blocks of a run.
    """

    def __init__(
        self,
        pairs: EncodedPairs,
        rows: IntArray,
        *,
        name: str = "",
        attempts: ScoringAttempts | None = None,
        on_scored: OnScored | None = None,
        on_progress: OnProgress | None = None,
        pace: Pace | None = None,
    ) -> None:
        """`on_scored` is called with the indices in `pairs` and the logits of pairs as soon as they are scored.

        `on_progress` is called with their number. Both are called every few seconds if there is a `pace`.
        """
        self.logits: FloatArray = np.full(len(pairs), np.nan, dtype=np.float32)
        self.codes: Codes = np.zeros(len(pairs), dtype=np.int8)
        self.work: Counter[str] = Counter()  # what `WORK` names, see Scores
        self.seconds = 0.0
        self._pairs, self._rows = pairs, rows
        self._name, self._attempts = name, attempts
        self._on_scored, self._on_progress, self._pace = on_scored, on_progress, pace
        self._deaths = attempts.unfinished(name) if attempts else {}
        if self._deaths:
            killers = [self._deaths.get(f"{name}-{row}", 0) >= _DEATHS for row in rows]
            self.codes[killers] = Reason.KILLED_WORKER
        self._unscored = self.codes == Reason.OK

    def score(self, engine: Engine, start: int, stop: int) -> None:
        """Score the pairs with rows from `start` up to but not including `stop`. Raises the engine's RerankErrors."""
        first, last = np.searchsorted(self._rows, (start, stop))
        indices = first.astype(np.int32) + np.flatnonzero(self._unscored[first:last]).astype(np.int32)
        if not len(indices):
            return
        is_alone = len(indices) == 1
        marker = f"{self._name}-{self._rows[indices[0]]}" if is_alone else f"{self._name}-{start}-{stop}"
        deaths = self._deaths.get(marker, 0)
        if self._attempts:
            self._attempts.begin(marker, deaths + 1)
        # A range that killed a process is split without a retry; a single pair with too many deaths was rejected above.
        reason = self._try(engine, indices) if is_alone or not deaths else Reason.KILLED_WORKER
        if is_alone:
            self.codes[indices] = reason
        elif reason != Reason.OK:
            for lower, upper in pairwise(np.linspace(start, stop, min(_PIECES, stop - start) + 1).astype(int).tolist()):
                self.score(engine, lower, upper)
        if self._attempts:
            self._attempts.end(marker, deaths + 1)

    def _try(self, engine: Engine, indices: IntArray) -> Reason:
        while len(indices):
            part, indices = np.split(indices, [self._next_slice(self._pairs.lengths[indices])])
            scores = self._score_slice(engine, part)
            if scores is None:
                return Reason.ENGINE_FAILED
            self.logits[part] = scores.logits
            self._unscored[part] = False
            self.work += _work(scores, self._pairs.lengths[part])
            if self._on_scored:
                self._on_scored(part, scores.logits)
            if self._on_progress:
                self._on_progress(len(part))
        return Reason.OK

    def _next_slice(self, lengths: IntArray) -> int:
        pairs = len(lengths) if self._pace is None else self._pace.next_slice(lengths)
        return min(pairs, _MOST_PAIRS_PER_SLICE)

    def _score_slice(self, engine: Engine, indices: IntArray) -> Scores | None:
        """Return the scores, None if the engine fails on these pairs. Raises the RerankError of the engine."""
        started = perf_counter()
        try:
            scores = engine.score(self._pairs.take(indices))
        except RerankError:
            raise
        except Exception:  # of any type: the other pairs must still be scored
            _log.warning("the engine failed on %d pairs", len(indices), exc_info=True)
            return None
        finally:
            seconds = perf_counter() - started
            self.seconds += seconds
        if self._pace is not None:
            self._pace.note(tokens=int(self._pairs.lengths[indices].sum()), seconds=seconds)
        return scores


def _work(scores: Scores, lengths: IntArray) -> Counter[str]:
    """Return what computing the scores of pairs of these lengths took."""
    padding = scores.padding_tokens
    return Counter(
        computed_tokens=scores.computed_tokens,
        padding_tokens=scores.computed_tokens - int(lengths.sum()) if padding is None else padding,
        texts=scores.texts,
        remembered_texts=scores.remembered_texts,
    )


def block_name(sets: CandidateSets, pairs: EncodedPairs) -> str:
    """Return a name that is the same when the block is retried, however many of its pairs were scored meanwhile."""
    query_ids = str(sets.queries.column("query_id").to_pylist())
    documents = np.ascontiguousarray(pairs.documents.values).data
    return xxh3_128_hexdigest(query_ids.encode()) + xxh3_128_hexdigest(documents)
