"""The CPU stage: check candidates, tokenise those that can be scored, and return them as an Arrow table for an engine.

A prepared table has one row per query, like its source, without the texts. What the engine scores are its pairs: the
candidates, or their passages (`rerank.ranking.passages`), which functions here take as candidate sets alike. Columns
whose names begin with an underscore are internal and never reach an output.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rerank.arrays import IntArray, offsets_of
from rerank.encoding.pairs import EncodedPairs, PairEncoder
from rerank.encoding.texts import TextEncoder
from rerank.encoding.windows import Splitter
from rerank.errors import InputError
from rerank.ranking.candidates import (
    CandidateSets,
    keep_columns,
    list_column,
    text_column,
    texts_beside_vectors,
)
from rerank.ranking.instructions import instructions_of
from rerank.ranking.passages import COUNT, END, PASSAGES, START
from rerank.ranking.reject import INSTRUCTION, Reason, check, with_readable_ids
from rerank.ranking.vectors import VECTORS, CandidateVectors, read_vectors, refuse_vectors_alone
from rerank.store import Hashes, StoredScores, distinct_hashes, hash_texts, hash_vectors, join_digests
from rerank.tables.prepared import (
    CUT,
    DOCUMENT_PLACE,
    DOCUMENT_TOKENS,
    DOCUMENT_VECTORS,
    HASH_HIGH,
    HASH_LOW,
    INTERNAL_COLUMNS,
    LOGIT,
    QUERY_LENGTH,
    QUERY_TOKENS,
    REASON,
    TRUNCATED,
)

_QUERY_TEXTS, _CANDIDATE_TEXTS = ("text", "query", INSTRUCTION), ("text", "query", VECTORS)


def prepare(
    table: pa.Table,
    encoder: PairEncoder,
    *,
    keep_text: bool = False,
    lookup: Callable[[Hashes], StoredScores] | None = None,
    depth: int | None = None,
    splitter: Splitter | None = None,
    instruction: str | None = None,
) -> pa.Table:
    """Return candidate sets (`query_id, query, candidates: list<struct<doc_id, text, …>>`) as a prepared table.

    With `lookup` (of a score store's snapshot) pairs carry their hashes, and pairs that it knows carry their logit and
    are not tokenised. Only the first `depth` candidates of a query are scored; None: all. With `splitter` documents are
    split into passages, which are the pairs then. Candidates that bring `vectors` of the model keep them instead of
    being tokenised; they cannot be split. `instruction` is that of queries which bring none in a column of this name.
    Raises InputError if columns are missing or of other types.
    """
    sets = CandidateSets.from_table(table)
    vectors = candidate_vectors(sets, encoder)
    query_reasons, reasons = check(sets, vectors.codes if vectors else None)
    sets = with_readable_ids(sets)
    if depth is not None:
        reasons[(reasons == Reason.OK) & (sets.source_rank > depth)] = Reason.TOO_DEEP
    if vectors is not None and splitter is not None:
        raise InputError("candidates that bring vectors cannot be split into passages: leave out one of the two")
    digests = hash_documents(sets, vectors)
    passages = None
    paired, paired_reasons = sets, reasons  # what is paired with the queries: the candidates, or their passages
    if splitter is not None:
        passages = split_candidates(sets, np.flatnonzero(reasons == Reason.OK).astype(np.int32), digests, splitter)
        paired, paired_reasons = passages.sets, np.zeros(passages.sets.pair_count, dtype=np.int8)
        digests = hash_texts(text_column(paired.candidates, "text"))
    to_score = paired_reasons == Reason.OK
    instructions = instructions_of(sets.queries, instruction)
    stored_columns = {}
    if lookup is not None:
        pair_hashes = join_digests(text_column(paired.queries, "query"), digests, paired.query_of, instructions)
        logits = np.where(to_score, lookup(pair_hashes).logits, np.float32(np.nan))
        stored_columns = {HASH_HIGH: pair_hashes[:, 0], HASH_LOW: pair_hashes[:, 1], LOGIT: logits}
        to_score &= np.isnan(logits)
    rows = np.flatnonzero(to_score).astype(np.int32)
    # The relevance scores of some kinds depend on the query's tokens, also where the logit is known.
    needed = paired_reasons == Reason.OK if encoder.relevance.needs_query_lengths else rows
    text_rows = rows if vectors is None else rows[~vectors.is_brought[rows]]
    pairs = encode(
        paired, text_rows, encoder, digests=digests, with_query=paired.query_of[needed], instructions=instructions
    )

    documents, places = _documents_by_query(pairs, text_rows, paired)
    query_lengths = np.zeros(paired.pair_count, dtype=np.int32)
    query_lengths[text_rows] = pairs.query_lengths
    candidates = keep_columns(sets.candidates, without=INTERNAL_COLUMNS + (() if keep_text else _CANDIDATE_TEXTS))
    queries = keep_columns(sets.queries, without=INTERNAL_COLUMNS + (() if keep_text else _QUERY_TEXTS))
    columns: dict[str, Any] = {DOCUMENT_PLACE: places, QUERY_LENGTH: query_lengths, **stored_columns}
    if vectors is not None:
        vector_rows = rows[vectors.is_brought[rows]]
        query_lengths[vector_rows] = pairs.queries.lengths[sets.query_of[vector_rows]]  # of texts by themselves
        columns[DOCUMENT_VECTORS] = vectors.rows.only(to_score).to_arrow()
    columns[REASON] = paired_reasons
    if passages is not None:
        rows_of_passages = _append(keep_columns(paired.candidates, without=("text",)), columns)
        queries = queries.append_column(PASSAGES, list_column(rows_of_passages, paired.offsets))
        columns = {COUNT: passages.counts, REASON: reasons}
    of_queries = {
        QUERY_TOKENS: pairs.queries.to_arrow(),
        DOCUMENT_TOKENS: documents,
        TRUNCATED: paired.count(text_rows[pairs.is_truncated] if pairs.is_truncated is not None else rows[:0]),
        CUT: sets.count(passages.is_cut if passages is not None else rows[:0]),
        REASON: query_reasons,
    }
    return replace(sets, queries=_append(queries, of_queries), candidates=_append(candidates, columns)).to_table()


@dataclass(frozen=True, slots=True)
class PassageRows:
    """The passages of a block as candidates of its queries, and of each candidate how many they are, [candidates].

    `is_cut` marks the candidates whose documents go on behind their last passage.
    """

    sets: CandidateSets
    counts: IntArray
    is_cut: npt.NDArray[np.bool_]


def split_candidates(sets: CandidateSets, rows: IntArray, digests: Hashes, splitter: Splitter) -> PassageRows:
    """Return the passages of these candidates, each distinct text split once; `digests` are those of all texts."""
    first, document_of = distinct_hashes(digests[rows])
    documents = text_column(sets.candidates, "text").take(pa.array(rows[first])).to_pylist()
    windows = splitter.split(documents)
    counts = np.zeros(sets.pair_count, dtype=np.int32)
    counts[rows] = windows.counts[document_of]
    is_cut = np.zeros(sets.pair_count, dtype=np.bool_)
    is_cut[rows] = windows.is_cut[document_of]
    chosen = windows.rows_of(document_of)
    passages = pa.table(
        {
            "text": pa.array(windows.texts(documents), pa.large_string()).take(pa.array(chosen)),
            START: windows.starts[chosen],
            END: windows.ends[chosen],
        }
    )
    per_query = np.bincount(np.repeat(sets.query_of, counts), minlength=len(sets))
    return PassageRows(CandidateSets(sets.queries, passages, offsets_of(per_query)), counts, is_cut)


def _append(table: pa.Table, columns: Mapping[str, Any]) -> pa.Table:
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values) if isinstance(values, np.ndarray) else values)
    return table


def candidate_vectors(sets: CandidateSets, encoder: PairEncoder) -> CandidateVectors | None:
    """Return the vectors that candidates bring, None if they bring none or the model reads their texts.

    Raises InputError if the model has no use for them and there are no texts.
    """
    if VECTORS not in sets.candidates.column_names:
        return None
    if isinstance(encoder, TextEncoder):
        return read_vectors(sets.candidates, encoder.vector_format)
    refuse_vectors_alone(sets.candidates.column_names)
    return None


def hash_documents(sets: CandidateSets, vectors: CandidateVectors | None) -> Hashes:
    """Return the hash of what each candidate is scored by, its vectors or its text, shape [pairs, 2]."""
    if vectors is None:
        return hash_texts(text_column(sets.candidates, "text"))
    of_texts = hash_texts(texts_beside_vectors(sets.candidates))
    return np.where(vectors.is_brought[:, None], hash_vectors(vectors.rows), of_texts)


def _documents_by_query(pairs: EncodedPairs, rows: IntArray, sets: CandidateSets) -> tuple[pa.Array, IntArray]:
    """Return the tokens of each query's distinct documents, and the place among them of each candidate's document.

    Tokens are large_list<large_list<int32>>, shape [queries], truncated as the pairs are. Places have the shape
    [candidates]; that of a candidate that is not encoded is -1.
    """
    owner = sets.query_of[rows]
    keys = owner.astype(np.int64) * max(1, len(pairs.documents)) + pairs.document_of
    _, first, number = np.unique(keys, return_index=True, return_inverse=True)  # pairs of equal keys are equal pairs
    order = np.argsort(first)  # by query, then as the candidates first name them
    first, number = first[order], np.argsort(order)[number]
    tokens = pairs.documents.take(pairs.document_of[first], lengths=pairs.document_lengths[first])
    starts = offsets_of(np.bincount(owner[first], minlength=len(sets)))
    places = np.full(sets.pair_count, -1, dtype=np.int32)
    places[rows] = number - starts[owner]
    return pa.LargeListArray.from_arrays(pa.array(starts), tokens.to_arrow()), places


def encode(
    sets: CandidateSets,
    rows: IntArray,
    encoder: PairEncoder,
    *,
    digests: Hashes | None = None,
    with_query: IntArray | None = None,
    instructions: pa.Array | None = None,
) -> EncodedPairs:
    """Tokenise the queries and the texts of these candidates, each distinct text once.

    `digests` are the hashes of all candidates' texts, if they are known already. `with_query` are the rows of the
    queries that are tokenised, by default those of the candidates. `instructions` are those of the queries, see
    `instructions_of`.
    """
    texts = texts_beside_vectors(sets.candidates)
    first, document_of = distinct_hashes((hash_texts(texts) if digests is None else digests)[rows])
    documents = texts if len(first) == len(texts) else texts.take(pa.array(rows[first]))
    query_of = sets.query_of[rows]
    is_used = np.zeros(len(sets), dtype=np.bool_)
    is_used[query_of if with_query is None else with_query] = True
    queries = pc.if_else(pa.array(is_used), text_column(sets.queries, "query"), "")
    chosen = None if instructions is None else pc.if_else(pa.array(is_used), instructions, "").to_pylist()
    return encoder.encode(queries.to_pylist(), documents.to_pylist(), query_of, document_of, instructions=chosen)
