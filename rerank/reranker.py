"""Rank candidate sets: the one place that joins encoding, scoring and ranking."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from threading import Thread

import numpy as np
import pyarrow as pa

from rerank.arrays import FloatArray, IntArray
from rerank.config import BUNDLED, ScorerConfig
from rerank.encoding.pairs import EncodedPairs, PairEncoder
from rerank.encoding.reading import Checkpoint, never_stop
from rerank.encoding.requests import encode_request, encode_requests
from rerank.encoding.windows import Splitter
from rerank.engines import Engine, import_engine, load_encoder, load_engine
from rerank.errors import InputError, ModelError
from rerank.fingerprint import check_content
from rerank.isolation.attempts import ScoringAttempts
from rerank.isolation.isolate import WORK, FaultIsolation, OnProgress, block_name
from rerank.isolation.pace import Pace
from rerank.prepare import prepare
from rerank.ranking.candidates import CandidateSets
from rerank.ranking.options import DEFAULT_OPTIONS, RankingOptions
from rerank.ranking.output_columns import REJECTED, USAGE
from rerank.ranking.passages import PASSAGES, Aggregate, aggregate, in_documents, pairs_of, score_documents
from rerank.ranking.rank import best_first, rank, with_source_score
from rerank.ranking.reject import Reason, mark_not_finite, rejected
from rerank.ranking.usage import usage_column
from rerank.results import RankedQueries, RankedTexts
from rerank.store import Hashes
from rerank.tables.frames import Frame, Unscored, rank_frame
from rerank.tables.prepared import (
    CUT,
    REASON,
    TRUNCATED,
    encoded_pairs,
    is_prepared,
    pair_hashes_of,
    stored_logits,
    without_internal_columns,
)
from rerank.types import Passage, RankedDocument, RerankRequest, RerankResult, requests_of

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
        self.splitter = Splitter(self.encoder, self.config.passages) if self.config.passages else None
        self._aggregate: Aggregate = self.config.passages.aggregate if self.config.passages else "max"
        self._engine = engine
        self._imports: Thread | None = None
        self._pace = Pace()

    def import_engine(self) -> None:
        """Begin to import what the engine needs, in a thread, while something else is done before it is used."""
        if self._engine is None:
            self._imports = Thread(target=import_engine, args=(self.config,), daemon=True)
            self._imports.start()

    @property
    def engine(self) -> Engine:
        """Return the engine, which is loaded at its first use. Raises ModelError or ConfigError."""
        if self._engine is None:
            if self._imports is not None:
                self._imports.join()
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
          and, if the candidates had a `score`, `source_score`. `options` says which are kept and what sorts them. If
          documents are split into passages, `passages` is how many each has, and `best_passage: struct<start, end>`
          the characters of the best one
        - `rejected: list<struct<doc_id, source_rank, reason>>`, the candidates that could not be scored
        - `usage: struct<pairs_ranked, store_hits, pairs_truncated, passages, documents_cut, pairs_scored, tokens,
          computed_tokens, padding_tokens, texts, remembered_texts, engine_seconds>`, to be added up over rows; from
          `pairs_scored` on, they are counted for the whole table, in its first row. `pairs_ranked` are candidates; the
          other pairs are their passages where they are split

        `save_scores` is called with the hashes, logits and tokens of pairs as soon as they are scored; the table must
        then have been prepared with a lookup. Pairs on which the engine fails are rejected, the others are ranked;
        with `attempts` this includes pairs that kill the process.

        `on_progress` is called with 0 when the model is loaded and scoring begins, then with how many more pairs were
        scored.

        Raises InputError if columns are missing or of other types, ModelError or ConfigError if the model cannot be
        loaded, EngineLostError if the device fails.
        """
        if not is_prepared(table):
            table = prepare(
                table,
                self.encoder,
                depth=options.depth,
                splitter=self.splitter,
                instruction=self.config.instruction,
            )
        sets = CandidateSets.from_table(table)
        paired = pairs_of(sets)
        pairs, rows = encoded_pairs(paired, self.encoder.row_template)
        logits = stored_logits(paired)
        hits = np.isfinite(logits)
        scored = self._score_block(
            paired,
            pairs,
            rows,
            save_scores=save_scores,
            attempts=attempts,
            on_progress=on_progress and in_documents(on_progress, sets.pair_count / max(1, paired.pair_count)),
        )
        logits = np.where(hits, logits, np.float32(np.nan))
        logits[rows] = scored.logits
        codes = paired.candidates.column(REASON).to_numpy().copy()
        codes[rows] = scored.codes
        codes = mark_not_finite(codes, logits)
        reasons = sets.candidates.column(REASON).to_numpy()
        sets, logits, codes = score_documents(sets, reasons, logits, codes, self._aggregate)

        rejections = rejected(sets, sets.queries.column(REASON).to_numpy(), codes)
        clean, too_deep = without_internal_columns(sets), codes == Reason.TOO_DEEP
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
        is_scored = scored.codes == Reason.OK
        usage = usage_column(
            len(sets),
            by_query={
                "pairs_ranked": sets.count(np.isfinite(logits) | too_deep),
                "store_hits": paired.count(hits),
                "pairs_truncated": sets.queries.column(TRUNCATED).to_numpy(),
                "passages": np.diff(paired.offsets) * (PASSAGES in sets.queries.column_names),
                "documents_cut": sets.queries.column(CUT).to_numpy(),
            },
            totals={
                "pairs_scored": int(np.count_nonzero(is_scored)),
                "tokens": int(pairs.lengths[is_scored].sum()),
                **{name: scored.work[name] for name in WORK},
                "engine_seconds": scored.seconds,
            },
        )
        return ranked.append_column(REJECTED, rejections).append_column(USAGE, usage)

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

        name = block_name(sets, pairs) if attempts else ""
        scored = FaultIsolation(
            pairs,
            rows,
            name=name,
            attempts=attempts,
            on_scored=on_scored,
            on_progress=on_progress,
            pace=None if on_progress is None else self._pace,
        )
        if len(pairs):
            engine = self.engine
            if on_progress is not None:
                on_progress(0)
            scored.score(engine, 0, sets.pair_count)
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
        return RankedTexts.of(request, self.rerank(request))

    def rank_many(
        self, queries: Sequence[str], documents: Sequence[Sequence[str]], *, top_k: int | None = None
    ) -> RankedQueries:
        """Return documents[i] ranked for queries[i], all or the best `top_k`; the pairs of all queries share batches.

        Raises InputError if a text is blank or not a string, ModelError if a logit is not finite.
        """
        requests = requests_of(queries, documents, top_k)
        if not requests:
            return RankedQueries(())
        pairs, pairs_of_each = encode_requests(requests, self.encoder, self.splitter, self.config.instruction)
        logits = np.split(self.engine.score(pairs).logits, np.cumsum([len(own) for own in pairs_of_each])[:-1])
        results = map(self.finish, requests, pairs_of_each, logits)
        return RankedQueries(tuple(map(RankedTexts.of, requests, results)))

    def rank_frame(self, frame: Frame, *, top_k: int | None = None, unscored: Unscored = "raise") -> Frame:
        """Return the rows of a pandas or Polars DataFrame or a PyArrow Table in ranked order, all or the best `top_k`.

        `frame` has a row per pair with the columns `query_id, query, doc_id, text`, in any order of queries; rows of a
        query that score the same keep their order. All columns are kept. Queries come in the order of their first rows.
        These columns are added at the end:

        - `rank`, from 1, and `score`, the relevance score from 0 to 1. As in a job, a `score` that the frame has
          becomes `source_score`; a `rank` becomes `input_rank`
        - for PyTerrier's column names, `qid, query, docno, text`: `rank` from 0 and `score`, the logit, which PyTerrier
          sorts by; they replace columns of these names, as in every stage of PyTerrier

        Raises InputError if columns are missing, or if pairs cannot be scored: it counts them by reason, such as blank
        texts or repeated documents. With `unscored="warn"` such rows are dropped with a warning that says the same.
        """
        rank_table = partial(self.rank_table, options=RankingOptions(top_k=top_k))
        return rank_frame(frame, rank_table, unscored=unscored)

    def rerank(self, request: RerankRequest) -> RerankResult:
        """Return the ranked documents of one request. Raises TooLongError, and ModelError if a logit is not finite."""
        pairs = self.encode(request)
        return self.finish(request, pairs, self.engine.score(pairs).logits)

    def encode(self, request: RerankRequest, checkpoint: Checkpoint = never_stop) -> EncodedPairs:
        """Return the pairs of a request, in document order. Raises TooLongError and InputError, see `TokenLimits`.

        `checkpoint` is called before each chunk of texts, and what it raises ends the work.
        """
        return encode_request(request, self.encoder, self.splitter, self.config.instruction, checkpoint)

    def finish(self, request: RerankRequest, pairs: EncodedPairs, logits: FloatArray) -> RerankResult:
        """Return the documents of a request ranked by logits [pairs]. Raises ModelError if a logit is not finite."""
        if not np.isfinite(logits).all():
            raise ModelError(f"{self.config.model!r} gave {np.count_nonzero(~np.isfinite(logits))} scores that are NaN")
        query_lengths, windows = pairs.queries.lengths[pairs.query_of], pairs.windows
        pair_scores = self.encoder.relevance.scores(logits, query_lengths)
        if windows is None:
            ranked = _ranked(logits, pair_scores, request.top_k)
        else:
            logits, best = aggregate(logits, windows.counts, self._aggregate)
            scores = self.encoder.relevance.scores(logits, query_lengths[best])
            starts, ends = windows.starts[best], windows.ends[best]
            passages = list(map(Passage, starts.tolist(), ends.tolist(), pair_scores[best].tolist()))
            counts = windows.counts.tolist()
            ranked = tuple(
                replace(document, passages=counts[document.index], best_passage=passages[document.index])
                for document in _ranked(logits, scores, request.top_k)
            )
        return RerankResult(ranked, int(pairs.lengths.sum()))


def _ranked(logits: FloatArray, scores: FloatArray, top_k: int | None) -> tuple[RankedDocument, ...]:
    """Return the documents with these logits and relevance scores, best first."""
    order = best_first(logits, np.zeros(len(logits), dtype=np.int32))[:top_k]
    return tuple(RankedDocument(int(row), float(scores[row]), float(logits[row])) for row in order)
