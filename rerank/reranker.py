"""From candidate sets to ranked ones: the one place that joins encoding, scoring and ranking."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from time import perf_counter

import numpy as np
import pyarrow as pa

from rerank.candidates import CandidateSets, keep_columns
from rerank.config import BUNDLED, ScorerConfig
from rerank.encode import EncodedPairs
from rerank.engines import Engine, load_engine
from rerank.errors import ModelError
from rerank.load import load_encoder
from rerank.prepare import (
    DOCUMENT_TOKENS,
    QUERY_LENGTH,
    QUERY_TOKENS,
    REASON,
    encoded_pairs,
    is_prepared,
    prepare,
)
from rerank.rank import FloatArray, best_first, rank, relevance_scores
from rerank.reject import mark_not_finite, rejected
from rerank.types import RankedDocument, RerankRequest, RerankResult

REJECTED = "rejected"
USAGE = "usage"


@dataclass(frozen=True, slots=True)
class Usage:
    """What a block came to: pairs ranked, pairs the engine scored, their tokens, those computed with padding, and the
    seconds that the engine took.
    """

    pairs_ranked: int = 0
    pairs_scored: int = 0
    tokens: int = 0
    computed_tokens: int = 0
    engine_seconds: float = 0.0


class Reranker:
    """A model with its tokeniser, ready to rank."""

    def __init__(self, model: str | ScorerConfig = BUNDLED, *, engine: Engine | None = None) -> None:
        """Load a folder, a Hub id or the bundled model; score with `engine` where one is given. Raises ModelError."""
        self.config = ScorerConfig(model=model) if isinstance(model, str) else model
        self.encoder = load_encoder(self.config)
        self.engine = engine or load_engine(self.config)

    def rank_table(self, table: pa.Table, *, top_k: int | None = None, min_score: float | None = None) -> pa.Table:
        """Rank a block: candidate sets, prepared (`rerank.prepare`) or not.

        The table comes back with a row per query: `candidates` best first with `rank, score, logit, source_rank`,
        `rejected: list<struct<doc_id, source_rank, reason>>` with those that could not be scored, and `usage`, whose
        first row holds the block's (add the column up).
        """
        prepared = table if is_prepared(table) else prepare(table, self.encoder)
        sets = CandidateSets.from_table(prepared)
        pairs, rows = encoded_pairs(sets, self.encoder.template)
        logits = np.full(sets.pair_count, np.nan, dtype=np.float32)
        logits[rows], usage = self._score(pairs)
        codes = mark_not_finite(sets.candidates.column(REASON).to_numpy(), logits)
        refused = rejected(sets, sets.queries.column(REASON).to_numpy(), codes)
        ranked = rank(_without_our_columns(sets), logits, top_k=top_k, min_score=min_score).to_table()
        usages = [asdict(usage if row == 0 else Usage()) for row in range(len(sets))]
        return ranked.append_column(REJECTED, refused).append_column(USAGE, pa.array(usages))

    def _score(self, pairs: EncodedPairs) -> tuple[FloatArray, Usage]:
        started = perf_counter()
        scores = self.engine.score(pairs)
        return scores.logits, Usage(
            pairs_ranked=int(np.isfinite(scores.logits).sum()),
            pairs_scored=len(pairs),
            tokens=int(pairs.lengths.sum()),
            computed_tokens=scores.computed_tokens,
            engine_seconds=perf_counter() - started,
        )

    def rank(self, query: str, documents: Sequence[str], *, top_k: int | None = None) -> RerankResult:
        """Rank documents for a query. Raises InputError, and ModelError where the model gives no number."""
        return self.rerank(RerankRequest(query, tuple(documents), top_k))

    def rerank(self, request: RerankRequest) -> RerankResult:
        """Rank the documents of one request. Raises ModelError where the model gives no number."""
        pairs = self.encode(request)
        return self.finish(request, pairs, self.engine.score(pairs).logits)

    def encode(self, request: RerankRequest) -> EncodedPairs:
        """The request's pairs, in document order."""
        count = len(request.documents)
        return self.encoder.pair(
            self.encoder.tokenize([request.query]),
            self.encoder.tokenize(request.documents),
            np.zeros(count, dtype=np.int32),
            np.arange(count, dtype=np.int32),
        )

    def finish(self, request: RerankRequest, pairs: EncodedPairs, logits: FloatArray) -> RerankResult:
        """The request's documents, best first. Raises ModelError where a logit is not finite."""
        if not np.isfinite(logits).all():
            raise ModelError(f"{self.config.model!r} gave {np.count_nonzero(~np.isfinite(logits))} scores that are NaN")
        order = best_first(logits, np.zeros(len(logits), dtype=np.int32))[: request.top_k]
        scores = relevance_scores(logits)
        ranked = (RankedDocument(int(row), float(scores[row]), float(logits[row])) for row in order)
        return RerankResult(tuple(ranked), int(pairs.lengths.sum()))


def _without_our_columns(sets: CandidateSets) -> CandidateSets:
    return CandidateSets(
        keep_columns(sets.queries, without=(QUERY_TOKENS, REASON)),
        keep_columns(sets.candidates, without=(DOCUMENT_TOKENS, QUERY_LENGTH, REASON)),
        sets.offsets,
    )
