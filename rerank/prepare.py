"""The CPU stage: check candidates, tokenise what can be scored, and lay it out as one Arrow table for an engine.

A prepared table has a row per query like its source, without the texts. Columns that begin with an underscore are
ours and never reach an output.
"""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rerank.candidates import CandidateSets, combined, keep_columns, text_column
from rerank.encode import EncodedPairs, Encoder, PairTemplate
from rerank.ragged import IntArray, Ragged, offsets_of
from rerank.reject import Reason, check

QUERY_TOKENS = "_query_tokens"
DOCUMENT_TOKENS = "_document_tokens"
QUERY_LENGTH = "_query_length"
REASON = "_reason"


def prepare(table: pa.Table, encoder: Encoder, *, keep_text: bool = False) -> pa.Table:
    """Candidate sets (`query_id, query, candidates: list<struct<doc_id, text, …>>`) as a prepared table.

    Raises InputError where the table is no such one.
    """
    sets = CandidateSets.from_table(table)
    query_reasons, reasons = check(sets)
    sound = np.flatnonzero(reasons == Reason.OK).astype(np.int32)
    pairs = encode(sets, sound, encoder)

    tokens = pairs.documents.take(pairs.document_of, lengths=pairs.document_lengths)
    by_pair = np.zeros(sets.pair_count, dtype=np.int64)
    by_pair[sound] = tokens.lengths
    offsets = offsets_of(by_pair)
    query_length = np.zeros(sets.pair_count, dtype=np.int32)
    query_length[sound] = pairs.query_lengths

    dropped = () if keep_text else ("text", "query")
    candidates = keep_columns(sets.candidates, without=dropped)
    candidates = candidates.append_column(DOCUMENT_TOKENS, Ragged(tokens.values, offsets).to_arrow())
    candidates = candidates.append_column(QUERY_LENGTH, pa.array(query_length))
    candidates = candidates.append_column(REASON, pa.array(reasons))
    queries = keep_columns(sets.queries, without=dropped)
    queries = queries.append_column(QUERY_TOKENS, pairs.queries.to_arrow())
    queries = queries.append_column(REASON, pa.array(query_reasons))
    return replace(sets, queries=queries, candidates=candidates).to_table()


def is_prepared(table: pa.Table) -> bool:
    """Whether `prepare` made this table."""
    return QUERY_TOKENS in table.column_names


def encoded_pairs(sets: CandidateSets, template: PairTemplate) -> tuple[EncodedPairs, IntArray]:
    """The pairs of a prepared block that can be scored, and their candidate rows."""
    rows = np.flatnonzero(sets.candidates.column(REASON).to_numpy() == Reason.OK).astype(np.int32)
    documents = Ragged.from_arrow(combined(sets.candidates.column(DOCUMENT_TOKENS)))
    pairs = EncodedPairs(
        template=template,
        queries=Ragged.from_arrow(combined(sets.queries.column(QUERY_TOKENS))),
        documents=documents,
        query_of=sets.query_of[rows],
        document_of=rows,
        query_lengths=sets.candidates.column(QUERY_LENGTH).to_numpy()[rows],
        document_lengths=documents.lengths[rows].astype(np.int32),
    )
    return pairs, rows


def encode(sets: CandidateSets, rows: IntArray, encoder: Encoder) -> EncodedPairs:
    """Tokenise the queries and the texts of these candidates, each distinct text once."""
    texts = pc.dictionary_encode(text_column(sets.candidates, "text").take(pa.array(rows)))
    query_of = sets.query_of[rows]
    asked = np.zeros(len(sets), dtype=np.bool_)
    asked[query_of] = True
    queries = pc.if_else(pa.array(asked), text_column(sets.queries, "query"), "")
    return encoder.pair(
        encoder.tokenize(queries.to_pylist()),
        encoder.tokenize(texts.dictionary.to_pylist()),
        query_of,
        texts.indices.to_numpy().astype(np.int32),
    )
