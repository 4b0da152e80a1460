"""Scoring whatever can be scored: pairs that the engine fails on, or that kill its process, are found and left out.

What fails is scored again in pieces, and a piece that fails in smaller ones, down to the pair. An exception is seen at
once; a death is seen by the note that the dead process left (`rerank.isolation.attempts`) when the same block comes
again.
"""

import logging
from collections.abc import Callable
from itertools import pairwise
from time import perf_counter

import numpy as np

from rerank.arrays import FloatArray, IntArray
from rerank.encoding.pairs import EncodedPairs
from rerank.engines import Engine, Scores
from rerank.errors import RerankError
from rerank.isolation.attempts import ScoringAttempts
from rerank.ranking.reject import Codes, Reason

# A death costs a restart with its model load, a piece next to nothing: 16 finds one of 256 pairs in four deaths, one of
# 32,768 in six, where halves would take ten and seventeen.
_PIECES = 16
# A block that takes long is scored in quarters, so that its progress is seen.
_SLICES = 4
_PAIRS_PER_SLICE = 64
# Of a pair alone. One may be chance: a node that goes away, an operator's kill.
_DEATHS = 2

_log = logging.getLogger(__name__)

OnScored = Callable[[IntArray, FloatArray], None]
OnProgress = Callable[[int], None]


class FaultIsolation:
    """The scoring of one block: `logits` (NaN where there is none) and Reason `codes`, both [pairs].

    `rows` are the pairs' places among the block's candidates, ascending: pieces are cut by them, so that they are the
    same when some pairs need no scoring any more. `name` tells the block from all others of the run.
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
        in_slices: bool = False,
    ) -> None:
        """`on_scored` gets the places in `pairs`, and the logits, of each piece as soon as it is scored.

        `on_progress` gets how many pairs were scored since its last call, and a negative number for those that will be
        scored again; `in_slices` has it called several times for a large block.
        """
        self.logits: FloatArray = np.full(len(pairs), np.nan, dtype=np.float32)
        self.codes: Codes = np.zeros(len(pairs), dtype=np.int8)
        self.computed_tokens = 0
        self.seconds = 0.0
        self._pairs, self._rows = pairs, rows
        self._name, self._attempts = name, attempts
        self._on_scored, self._on_progress, self._in_slices = on_scored, on_progress, in_slices
        self._deaths = attempts.unfinished(name) if attempts else {}
        if self._deaths:
            killers = [self._deaths.get(f"{name}-{row}", 0) >= _DEATHS for row in rows]
            self.codes[killers] = Reason.KILLED_WORKER
        self._open = np.flatnonzero(self.codes == Reason.OK).astype(np.int32)

    def score(self, engine: Engine, start: int, stop: int) -> None:
        """Score the pairs whose rows are from `start` to before `stop`. Raises what RerankError the engine raises."""
        first, last = np.searchsorted(self._rows[self._open], (start, stop))
        places = self._open[first:last]
        if not len(places):
            return
        is_alone = len(places) == 1
        note = f"{self._name}-{self._rows[places[0]]}" if is_alone else f"{self._name}-{start}-{stop}"
        deaths = self._deaths.get(note, 0)
        if self._attempts:
            self._attempts.begin(note, deaths + 1)
        # What died once is cut at once; of a pair alone too many deaths were seen above.
        reason = self._try(engine, places) if is_alone or not deaths else Reason.KILLED_WORKER
        if is_alone:
            self.codes[places] = reason
        elif reason != Reason.OK:
            for lower, upper in pairwise(np.linspace(start, stop, min(_PIECES, stop - start) + 1).astype(int).tolist()):
                self.score(engine, lower, upper)
        if self._attempts:
            self._attempts.end(note, deaths + 1)

    def _try(self, engine: Engine, places: IntArray) -> Reason:
        computed_tokens, done = 0, 0
        for part in self._slices(places):
            scores = self._score_slice(engine, part)
            if scores is None:
                self._report(-done)
                return Reason.ENGINE_FAILED
            self.logits[part] = scores.logits
            computed_tokens += scores.computed_tokens
            done += len(part)
            self._report(len(part))
        self.computed_tokens += computed_tokens
        if self._on_scored:
            self._on_scored(places, self.logits[places])
        return Reason.OK

    def _score_slice(self, engine: Engine, places: IntArray) -> Scores | None:
        """Return the scores, None where the engine fails on these pairs. Raises what RerankError the engine raises."""
        started = perf_counter()
        try:
            return engine.score(self._pairs.take(places))
        except RerankError:
            raise
        except Exception:  # whatever it is, the other pairs go on
            _log.warning("the engine failed on %d pairs", len(places), exc_info=True)
            return None
        finally:
            self.seconds += perf_counter() - started

    def _slices(self, places: IntArray) -> list[IntArray]:
        """Return the places, longest pairs first where there are several slices, so that each packs well."""
        count = min(_SLICES, len(places) // _PAIRS_PER_SLICE) if self._in_slices else 1
        if count <= 1:
            return [places]
        order = np.argsort(-self._pairs.lengths[places], kind="stable")
        return np.array_split(places[order], count)

    def _report(self, pairs: int) -> None:
        if self._on_progress and pairs:
            self._on_progress(pairs)
