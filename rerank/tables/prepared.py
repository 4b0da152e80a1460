"""Tables that `rerank.prepare` made: their internal columns, and what an engine needs of them."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from rerank.arrays import FloatArray, IntArray, Ragged, VectorRows, offsets_of
from rerank.encoding.pairs import EncodedPairs, PairTemplate
from rerank.ranking.candidates import (
    CandidateSets,
    combined,
    keep_columns,
)
from rerank.ranking.output_columns import REJECTED, USAGE
from rerank.ranking.passages import COUNT, PASSAGES, pairs_of, with_pairs
from rerank.ranking.reject import REFUSED, Reason
from rerank.store import Hashes, StoredScores

QUERY_TOKENS = "_query_tokens"
DOCUMENT_TOKENS = "_document_tokens"
DOCUMENT_PLACE = "_document_place"
DOCUMENT_VECTORS = "_document_vectors"
QUERY_LENGTH = "_query_length"
REASON = "_reason"
TRUNCATED = "_truncated"
CUT = "_cut"
HASH_HIGH, HASH_LOW = "_pair_hash_high", "_pair_hash_low"
LOGIT = "_logit"
INTERNAL_COLUMNS = (
    QUERY_TOKENS,
    DOCUMENT_TOKENS,
    DOCUMENT_PLACE,
    DOCUMENT_VECTORS,
    QUERY_LENGTH,
    REASON,
    TRUNCATED,
    CUT,
    PASSAGES,
    COUNT,
    HASH_HIGH,
    HASH_LOW,
    LOGIT,
    REFUSED,
)


def without_internal_columns(sets: CandidateSets) -> CandidateSets:
    """Return the candidate sets without the columns of `prepare` and of an earlier ranking."""
    queries = keep_columns(sets.queries, without=(*INTERNAL_COLUMNS, REJECTED, USAGE))
    return CandidateSets(queries, keep_columns(sets.candidates, without=INTERNAL_COLUMNS), sets.offsets)


def is_prepared(table: pa.Table) -> bool:
    """Return whether `prepare` made this table."""
    return QUERY_TOKENS in table.column_names


def encoded_pairs(sets: CandidateSets, template: PairTemplate) -> tuple[EncodedPairs, IntArray]:
    """Return the pairs of a prepared block, see `pairs_of`, that the engine has to score, and their rows."""
    is_valid = sets.candidates.column(REASON).to_numpy() == Reason.OK
    rows = np.flatnonzero(is_valid & np.isnan(stored_logits(sets))).astype(np.int32)
    by_query = combined(sets.queries.column(DOCUMENT_TOKENS))
    documents = Ragged.from_arrow(by_query.flatten())
    starts = offsets_of(by_query.value_lengths().to_numpy())
    document_of = (starts[sets.query_of] + sets.candidates.column(DOCUMENT_PLACE).to_numpy())[rows].astype(np.int32)
    vectors = None
    if DOCUMENT_VECTORS in sets.candidates.column_names:
        brought = VectorRows.from_arrow(combined(sets.candidates.column(DOCUMENT_VECTORS)))
        own_document = len(documents) + rows  # behind those with tokens comes one for each candidate
        document_of = np.where(brought.lengths[rows] > 0, own_document, document_of).astype(np.int32)
        vectors = VectorRows(brought.values, np.pad(brought.offsets, (len(documents), 0)))
        documents = Ragged(documents.values, np.pad(documents.offsets, (0, len(brought)), mode="edge"))
    pairs = EncodedPairs(
        template=template,
        queries=Ragged.from_arrow(combined(sets.queries.column(QUERY_TOKENS))),
        documents=documents,
        query_of=sets.query_of[rows],
        document_of=document_of,
        query_lengths=sets.candidates.column(QUERY_LENGTH).to_numpy()[rows],
        document_lengths=documents.lengths[document_of].astype(np.int32),
        vectors=vectors,
    )
    return pairs, rows


def stored_logits(sets: CandidateSets) -> FloatArray:
    """Return the logit that the score store had for each pair, NaN for the others."""
    if LOGIT in sets.candidates.column_names:
        logits: FloatArray = sets.candidates.column(LOGIT).to_numpy()
        return logits
    return np.full(sets.pair_count, np.nan, dtype=np.float32)


def look_up_again(table: pa.Table, lookup: Callable[[Hashes], StoredScores]) -> pa.Table:
    """Return a block that was prepared with a lookup, completed by the logits that `lookup` knows."""
    sets = CandidateSets.from_table(table)
    paired = pairs_of(sets)
    logits = stored_logits(paired)
    is_valid = paired.candidates.column(REASON).to_numpy() == Reason.OK
    rows = np.flatnonzero(is_valid & np.isnan(logits)).astype(np.int32)
    stored = lookup(pair_hashes_of(paired, rows))
    if not stored.known.any():
        return table
    logits = logits.copy()
    logits[rows] = stored.logits
    candidates = paired.candidates
    candidates = candidates.set_column(candidates.column_names.index(LOGIT), LOGIT, pa.array(logits))
    return with_pairs(sets, paired.with_candidates(candidates)).to_table()


def pair_hashes_of(sets: CandidateSets, rows: IntArray) -> Hashes:
    """Return the pair hashes of these rows, shape [rows, 2], of a block that was prepared with a lookup."""
    halves = [sets.candidates.column(name).to_numpy()[rows] for name in (HASH_HIGH, HASH_LOW)]
    return np.stack(halves, axis=1)
