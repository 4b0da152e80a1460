"""Rank candidate sets: the one place that joins encoding, scoring and ranking."""

from collections.abc import Callable, Sequence
from math import inf

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from xxhash import xxh3_128_hexdigest

from rerank.arrays import FloatArray, IntArray, offsets_of
from rerank.config import BUNDLED, ScorerConfig
from rerank.encoding.pairs import EncodedPairs, PairEncoder
from rerank.encoding.reading import Checkpoint, never_stop
from rerank.engines import Engine, load_encoder, load_engine
from rerank.errors import InputError, ModelError
from rerank.fingerprint import check_content
from rerank.isolation.attempts import ScoringAttempts
from rerank.isolation.isolate import WORK, FaultIsolation, OnProgress
from rerank.prepare import INTERNAL_COLUMNS, REASON, encoded_pairs, is_prepared, pair_hashes_of, prepare, stored_logits
from rerank.ranking.candidates import CandidateSets, keep_columns
from rerank.ranking.instructions import effective_instruction
from rerank.ranking.options import DEFAULT_OPTIONS, RankingOptions
from rerank.ranking.rank import best_first, rank, with_source_score
from rerank.ranking.reject import Reason, mark_not_finite, rejected
from rerank.results import RankedQueries, RankedTexts
from rerank.store import Hashes
from rerank.types import RankedDocument, RerankRequest, RerankResult

REJECTED = "rejected"
USAGE = "usage"

_SLOW_BLOCK_S = 4.0  # a block that takes longer is scored in slices, where progress is reported

SaveScores = Callable[[Hashes, FloatArray, IntArray], None]


class Reranker:
    """A model with its tokeniser, for use in Python and notebooks.

    from rerank import Reranker

    print(Reranker().rank("how to return a parcel", ["Returns are free …", "Our offices …"]))
    """

    def __init__(
        self, model: str | ScorerConfig = BUNDLED, *, engine: Engine | None = None, encoder: PairEncoder | None = None
    ) -> None:
        """Load the tokeniser of a folder, a Hub id or (by default) the bundled model; the model is loaded at first use.

        `model` may be a ScorerConfig, to set device, precision and limits. `engine` and `encoder` replace what the
        model would bring. Raises ModelError if the model cannot be used.
        """
        self.config = ScorerConfig(model=model) if isinstance(model, str) else model
        self.encoder = encoder or load_encoder(self.config)
        self._engine = engine
        self._seconds_per_pair = inf  # of the last block

    @property
    def engine(self) -> Engine:
        """Return the engine, which is loaded at its first use. Raises ModelError or ConfigError."""
        if self._engine is None:
            try:
                engine = load_engine(self.config)
            finally:
                check_content(self.config)  # also where loading fails: a file that is another may be the reason
            self._engine = engine
        return self._engine

    def rank_table(
        self,
        table: pa.Table,
        *,
        options: RankingOptions = DEFAULT_OPTIONS,
        save_scores: SaveScores | None = None,
        attempts: ScoringAttempts | None = None,
        on_progress: OnProgress | None = None,
    ) -> pa.Table:
        """Return a table of candidate sets with its candidates ranked, one row per query as before.

        `table` has the columns `query_id`, `query` and `candidates: list<struct<doc_id, text, …>>`, or was made of
        such a table by `rerank.prepare`. Candidates of models that encode texts by themselves may bring `vectors`
        instead of a text, and queries an `instruction`. Other columns and fields are kept. The result has:

        - `candidates`, best first, with the fields `rank` (from 1), `score` (0 to 1), `logit`, `source_rank` (from 1)
          and, if the candidates had a `score`, `source_score`. `options` says which are kept and what sorts them
        - `rejected: list<struct<doc_id, source_rank, reason>>`, the candidates that could not be scored
        - `usage: struct<pairs_ranked, store_hits, pairs_scored, tokens, computed_tokens, padding_tokens, texts,
          remembered_texts, engine_seconds>`, to be added up over rows; from `pairs_scored` on, they are counted for the
          whole table, in its first row

        `save_scores` is called with the hashes, logits and tokens of pairs as soon as they are scored; the table must
        then have been prepared with a lookup. Pairs on which the engine fails are rejected, the others are ranked;
        with `attempts` this includes pairs that kill the process.

        `on_progress` is called with 0 when the model is loaded and scoring begins, then with how many more pairs were
        scored.

        Raises InputError if columns are missing or of other types, ModelError or ConfigError if the model cannot be
        loaded, EngineLostError if the device fails.
        """
        prepared = table
        if not is_prepared(table):
            prepared = prepare(table, self.encoder, depth=options.depth, instruction=self.config.instruction)
        sets = CandidateSets.from_table(prepared)
        pairs, rows = encoded_pairs(sets, self.encoder.row_template)
        logits = stored_logits(sets)
        hits = np.isfinite(logits)
        scored = self._score_block(
            sets, pairs, rows, save_scores=save_scores, attempts=attempts, on_progress=on_progress
        )
        logits = np.where(hits, logits, np.float32(np.nan))
        logits[rows] = scored.logits

        codes = sets.candidates.column(REASON).to_numpy().copy()
        codes[rows] = scored.codes
        codes = mark_not_finite(codes, logits)
        rejections = rejected(sets, sets.queries.column(REASON).to_numpy(), codes)
        clean, too_deep = _without_internal_columns(sets), codes == Reason.TOO_DEEP
        clean = clean.with_candidates(with_source_score(clean.candidates))
        sort_keys = options.sort_keys(clean, logits)
        scores = self.encoder.relevance.scores(logits, pairs.queries.lengths[sets.query_of])
        ranked = rank(
            clean,
            logits,
            scores,
            sort_keys=sort_keys,
            unscored=too_deep,
            top_k=options.top_k,
            min_score=options.min_score,
        ).to_table()
        usage = {
            "pairs_ranked": _per_query(sets, np.isfinite(logits) | too_deep),
            "store_hits": _per_query(sets, hits),
            "pairs_scored": _in_first_row(int(np.count_nonzero(scored.codes == Reason.OK)), len(sets)),
            "tokens": _in_first_row(int(pairs.lengths[scored.codes == Reason.OK].sum()), len(sets)),
            **{name: _in_first_row(scored.work[name], len(sets)) for name in WORK},
            "engine_seconds": _in_first_row(scored.seconds, len(sets)),
        }
        usages = pa.StructArray.from_arrays([pa.array(values) for values in usage.values()], names=list(usage))
        return ranked.append_column(REJECTED, rejections).append_column(USAGE, usages)

    def _score_block(
        self,
        sets: CandidateSets,
        pairs: EncodedPairs,
        rows: IntArray,
        *,
        save_scores: SaveScores | None,
        attempts: ScoringAttempts | None,
        on_progress: OnProgress | None,
    ) -> FaultIsolation:
        def on_scored(places: IntArray, logits: FloatArray) -> None:
            if save_scores is not None:
                save_scores(pair_hashes_of(sets, rows[places]), logits, pairs.lengths[places])

        name = _block_name(sets, pairs) if attempts else ""
        scored = FaultIsolation(
            pairs,
            rows,
            name=name,
            attempts=attempts,
            on_scored=on_scored,
            on_progress=on_progress,
            # Slices cost threads that share a block some percent, which a fast model would feel.
            in_slices=on_progress is not None and self._seconds_per_pair * len(pairs) > _SLOW_BLOCK_S,
        )
        if len(pairs):
            engine = self.engine
            if on_progress is not None:
                on_progress(0)
            scored.score(engine, 0, sets.pair_count)
            self._seconds_per_pair = scored.seconds / len(pairs)
        return scored

    def rank(
        self, query: str, documents: Sequence[str], *, top_k: int | None = None, instruction: str | None = None
    ) -> RankedTexts:
        """Return the documents ranked for a query, all or the best `top_k`.

        `instruction` tells the model what makes a document relevant; None or blank: that of the settings, if any.
        Raises InputError if a text is blank or not a string, ModelError if a logit is not finite.
        """
        if isinstance(documents, str):
            raise InputError(f"documents must be a list of strings, got one string: {documents[:80]!r}")
        request = RerankRequest(query, tuple(documents), top_k, instruction=instruction)
        return _with_texts(request, self.rerank(request))

    def rank_many(
        self, queries: Sequence[str], documents: Sequence[Sequence[str]], *, top_k: int | None = None
    ) -> RankedQueries:
        """Return documents[i] ranked for queries[i], all or the best `top_k`; the pairs of all queries share batches.

        Raises InputError if a text is blank or not a string, ModelError if a logit is not finite.
        """
        requests = _requests(queries, documents, top_k)
        if not requests:
            return RankedQueries(())
        bounds = offsets_of([len(request.documents) for request in requests])
        pairs = self._encode_all(requests)
        logits = self.engine.score(pairs).logits
        results = (
            self.finish(request, pairs.take(np.arange(start, stop)), logits[start:stop])
            for request, start, stop in zip(requests, bounds[:-1], bounds[1:], strict=True)
        )
        return RankedQueries(tuple(map(_with_texts, requests, results)))

    def rerank(self, request: RerankRequest) -> RerankResult:
        """Return the ranked documents of one request. Raises TooLongError, and ModelError if a logit is not finite."""
        pairs = self.encode(request)
        return self.finish(request, pairs, self.engine.score(pairs).logits)

    def encode(self, request: RerankRequest, checkpoint: Checkpoint = never_stop) -> EncodedPairs:
        """Return the pairs of a request, in document order. Raises TooLongError and InputError, see `TokenLimits`.

        `checkpoint` is called before each chunk of texts, and what it raises ends the work.
        """
        rows = np.arange(len(request.documents), dtype=np.int32)
        queries, query_of = _distinct(request.queries)
        if len(query_of) == 1:
            query_of = np.zeros_like(rows)
        instructions = self._instructions([request] * len(queries))
        return self.encoder.encode(
            queries, request.documents, query_of, rows, request.token_limits, checkpoint, instructions
        )

    def _instructions(self, requests: Sequence[RerankRequest]) -> list[str] | None:
        """Return the instruction of each request, empty for none; None if none has one."""
        chosen = [effective_instruction(request.instruction, self.config.instruction) for request in requests]
        return chosen if any(chosen) else None

    def _encode_all(self, requests: Sequence[RerankRequest]) -> EncodedPairs:
        """Return the pairs of all requests; each distinct document is tokenised once."""
        documents, document_of = _distinct([document for request in requests for document in request.documents])
        return self.encoder.encode(
            [query for request in requests for query in request.queries],
            documents,
            np.repeat(np.arange(len(requests), dtype=np.int32), [len(request.documents) for request in requests]),
            document_of,
            instructions=self._instructions(requests),
        )

    def finish(self, request: RerankRequest, pairs: EncodedPairs, logits: FloatArray) -> RerankResult:
        """Return the documents of a request ranked by logits [pairs]. Raises ModelError if a logit is not finite."""
        if not np.isfinite(logits).all():
            raise ModelError(f"{self.config.model!r} gave {np.count_nonzero(~np.isfinite(logits))} scores that are NaN")
        order = best_first(logits, np.zeros(len(logits), dtype=np.int32))[: request.top_k]
        scores = self.encoder.relevance.scores(logits, pairs.queries.lengths[pairs.query_of])
        ranked = (RankedDocument(int(row), float(scores[row]), float(logits[row])) for row in order)
        return RerankResult(tuple(ranked), int(pairs.lengths.sum()))


def _block_name(sets: CandidateSets, pairs: EncodedPairs) -> str:
    """Return a name that is the same when the block is retried, however many of its pairs were scored meanwhile."""
    query_ids = str(sets.queries.column("query_id").to_pylist())
    documents = np.ascontiguousarray(pairs.documents.values).data
    return xxh3_128_hexdigest(query_ids.encode()) + xxh3_128_hexdigest(documents)


def _requests(
    queries: Sequence[str], documents: Sequence[Sequence[str]], top_k: int | None
) -> tuple[RerankRequest, ...]:
    """Return one request per query. Raises InputError that names the query."""
    if isinstance(queries, str) or len(queries) != len(documents):
        raise InputError(
            f"rank_many takes a list of documents for each query, got {len(documents)} lists for "
            + (f"one string: {queries[:80]!r}" if isinstance(queries, str) else f"{len(queries)} queries")
        )
    requests = []
    for index, (query, texts) in enumerate(zip(queries, documents, strict=True)):
        if isinstance(texts, str):
            raise InputError(f"documents[{index}] must be a list of strings, got one string: {texts[:80]!r}")
        try:
            requests.append(RerankRequest(query, tuple(texts), top_k))
        except InputError as problem:
            raise InputError(f"queries[{index}]: {problem}") from None
    return tuple(requests)


def _distinct(texts: Sequence[str]) -> tuple[list[str], IntArray]:
    """Return the distinct texts, and for each text the number of its distinct text."""
    row_of = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    return list(row_of), np.fromiter(map(row_of.__getitem__, texts), dtype=np.int32, count=len(texts))


def _with_texts(request: RerankRequest, result: RerankResult) -> RankedTexts:
    texts = tuple(request.documents[document.index] for document in result.ranked)
    return RankedTexts(request.queries[0], result.ranked, texts, len(request.documents), result.tokens)


def _without_internal_columns(sets: CandidateSets) -> CandidateSets:
    queries = keep_columns(sets.queries, without=(*INTERNAL_COLUMNS, REJECTED, USAGE))
    return CandidateSets(queries, keep_columns(sets.candidates, without=INTERNAL_COLUMNS), sets.offsets)


def _per_query(sets: CandidateSets, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    return np.bincount(sets.query_of[mask], minlength=len(sets))


def _in_first_row(total: float, rows: int) -> npt.NDArray[np.number]:
    column = np.zeros(rows, dtype=np.asarray(total).dtype)
    column[:1] = total
    return column
