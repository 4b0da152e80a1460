"""The CPU stage: check candidates, tokenise what can be scored, and lay it out as one Arrow table for an engine.

A prepared table has a row per query like its source, without the texts. Columns that begin with an underscore are
ours and never reach an output.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rerank.arrays import FloatArray, IntArray, Ragged, offsets_of
from rerank.encoding.pairs import EncodedPairs, PairEncoder, PairTemplate
from rerank.ranking.candidates import CandidateSets, combined, keep_columns, text_column
from rerank.ranking.reject import REFUSED, Reason, check
from rerank.store import Found, Keys, join_digests, text_digests

QUERY_TOKENS = "_query_tokens"
DOCUMENT_TOKENS = "_document_tokens"
QUERY_LENGTH = "_query_length"
REASON = "_reason"
KEY_HIGH, KEY_LOW = "_key_high", "_key_low"
LOGIT = "_logit"
OUR_COLUMNS = (QUERY_TOKENS, DOCUMENT_TOKENS, QUERY_LENGTH, REASON, KEY_HIGH, KEY_LOW, LOGIT, REFUSED)


def prepare(
    table: pa.Table,
    encoder: PairEncoder,
    *,
    keep_text: bool = False,
    lookup: Callable[[Keys], Found] | None = None,
    depth: int | None = None,
) -> pa.Table:
    """Candidate sets (`query_id, query, candidates: list<struct<doc_id, text, …>>`) as a prepared table.

    With `lookup` (of a score store's snapshot) pairs carry their keys, and those that it knows carry their logit and
    are not tokenised. Only the first `depth` candidates of a query are to be scored. Raises InputError where the
    table is no such one.
    """
    sets = CandidateSets.from_table(table)
    query_reasons, reasons = check(sets)
    if depth is not None:
        reasons[(reasons == Reason.OK) & (sets.source_rank > depth)] = Reason.TOO_DEEP
    wanted = reasons == Reason.OK
    digests = text_digests(text_column(sets.candidates, "text"))
    memory = {}
    if lookup is not None:
        keys = join_digests(text_column(sets.queries, "query"), digests, sets.query_of)
        logits = np.where(wanted, lookup(keys).logits, np.float32(np.nan))
        memory = {KEY_HIGH: keys[:, 0], KEY_LOW: keys[:, 1], LOGIT: logits}
        wanted &= np.isnan(logits)
    rows = np.flatnonzero(wanted).astype(np.int32)
    pairs = encode(sets, rows, encoder, digests=digests)

    dropped = () if keep_text else ("text", "query")
    candidates = keep_columns(sets.candidates, without=(*dropped, *OUR_COLUMNS))
    columns = _spread(pairs, rows, sets.pair_count) | memory | {REASON: reasons}
    for name, values in columns.items():
        candidates = candidates.append_column(name, pa.array(values) if isinstance(values, np.ndarray) else values)
    queries = keep_columns(sets.queries, without=(*dropped, *OUR_COLUMNS))
    queries = queries.append_column(QUERY_TOKENS, pairs.queries.to_arrow())
    queries = queries.append_column(REASON, pa.array(query_reasons))
    return replace(sets, queries=queries, candidates=candidates).to_table()


def _spread(pairs: EncodedPairs, rows: IntArray, total: int) -> dict[str, Any]:
    """The tokens of encoded pairs over all candidate rows, none where a row is not encoded."""
    tokens = pairs.documents.take(pairs.document_of, lengths=pairs.document_lengths)
    lengths = np.zeros(total, dtype=np.int64)
    lengths[rows] = tokens.lengths
    query_lengths = np.zeros(total, dtype=np.int32)
    query_lengths[rows] = pairs.query_lengths
    return {DOCUMENT_TOKENS: Ragged(tokens.values, offsets_of(lengths)).to_arrow(), QUERY_LENGTH: query_lengths}


def is_prepared(table: pa.Table) -> bool:
    """Whether `prepare` made this table."""
    return QUERY_TOKENS in table.column_names


def encoded_pairs(sets: CandidateSets, template: PairTemplate) -> tuple[EncodedPairs, IntArray]:
    """The pairs of a prepared block that the engine has to score, and their candidate rows."""
    wanted = sets.candidates.column(REASON).to_numpy() == Reason.OK
    rows = np.flatnonzero(wanted & np.isnan(known_logits(sets))).astype(np.int32)
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


def known_logits(sets: CandidateSets) -> FloatArray:
    """The logit of each candidate that a score store knew, NaN for the others."""
    if LOGIT in sets.candidates.column_names:
        logits: FloatArray = sets.candidates.column(LOGIT).to_numpy()
        return logits
    return np.full(sets.pair_count, np.nan, dtype=np.float32)


def look_up_again(table: pa.Table, lookup: Callable[[Keys], Found]) -> pa.Table:
    """A block that was prepared with a lookup, with the logits that another one knows by now."""
    sets = CandidateSets.from_table(table)
    logits = known_logits(sets)
    wanted = sets.candidates.column(REASON).to_numpy() == Reason.OK
    rows = np.flatnonzero(wanted & np.isnan(logits)).astype(np.int32)
    found = lookup(keys_of(sets, rows))
    if not found.known.any():
        return table
    logits = logits.copy()
    logits[rows] = found.logits
    candidates = sets.candidates
    return sets.with_candidates(
        candidates.set_column(candidates.column_names.index(LOGIT), LOGIT, pa.array(logits))
    ).to_table()


def keys_of(sets: CandidateSets, rows: IntArray) -> Keys:
    """The keys of these candidates of a block that was prepared with a lookup."""
    halves = [sets.candidates.column(name).to_numpy()[rows] for name in (KEY_HIGH, KEY_LOW)]
    return np.stack(halves, axis=1)


def encode(sets: CandidateSets, rows: IntArray, encoder: PairEncoder, *, digests: Keys | None = None) -> EncodedPairs:
    """Tokenise the queries and the texts of these candidates, each distinct text once.

    `digests` are those of all candidates' texts, where they are known already.
    """
    texts = text_column(sets.candidates, "text")
    first, document_of = _distinct((text_digests(texts) if digests is None else digests)[rows])
    documents = texts if len(first) == len(texts) else texts.take(pa.array(rows[first]))
    query_of = sets.query_of[rows]
    asked = np.zeros(len(sets), dtype=np.bool_)
    asked[query_of] = True
    queries = pc.if_else(pa.array(asked), text_column(sets.queries, "query"), "")
    return encoder.encode(queries.to_pylist(), documents.to_pylist(), query_of, document_of)


def _distinct(digests: Keys) -> tuple[npt.NDArray[np.intp], IntArray]:
    """Where each distinct digest first stands, and which of them stands where."""
    buffers = [None, pa.py_buffer(np.ascontiguousarray(digests))]
    values = pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(digests), buffers)
    codes = values.dictionary_encode().indices.to_numpy()
    return np.unique(codes, return_index=True)[1], codes
