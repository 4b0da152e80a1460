"""Reject what cannot be scored: checks before scoring, and the list of rejected candidates after it."""

from enum import IntEnum

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rerank.arrays import FloatArray, IntArray, Offsets, offsets_of
from rerank.ranking.candidates import CandidateSets, column, combined, list_column, text_column, texts_beside_vectors


class Reason(IntEnum):
    """Why a query or a candidate was rejected; `text` is the wording for people."""

    text: str

    def __new__(cls, code: int, text: str) -> "Reason":
        """Return the reason with this code and text."""
        reason = int.__new__(cls, code)
        reason._value_, reason.text = code, text
        return reason

    OK = 0, ""
    QUERY_NULL = 1, "query is null"
    QUERY_BLANK = 2, "query is blank"
    QUERY_ID_NULL = 3, "query_id is null"
    NO_CANDIDATES = 4, "candidate list is empty"
    DOC_ID_NULL = 5, "doc_id is null"
    DOC_ID_DUPLICATE = 6, "doc_id is a duplicate within the query"
    TEXT_NULL = 7, "text is null"
    TEXT_BLANK = 8, "text is blank"
    LOGIT_NOT_FINITE = 9, "logit is not finite"
    QUERY_NOT_UTF8 = 10, "query is not valid UTF-8"
    TEXT_NOT_UTF8 = 11, "text is not valid UTF-8"
    QUERY_ID_DUPLICATE = 12, "query_id is a duplicate"
    QUERY_DIFFERS = 13, "query differs from that of the query_id's first row"
    QUERY_MISSING = 14, "query_id is not among the queries"
    DOCUMENT_MISSING = 15, "doc_id is not in the corpus"
    ENGINE_FAILED = 16, "the engine failed on it"
    KILLED_WORKER = 17, "scoring it killed the worker"
    TOO_DEEP = 18, "it lies below the depth that is scored"  # not rejected, only left unscored
    VECTORS_NULL = 19, "text and vectors are null"
    VECTORS_EMPTY = 20, "vectors are empty"
    VECTORS_HOLD_NULL = 21, "vectors hold a null"
    VECTORS_NOT_FINITE = 22, "vectors hold NaN or infinity"
    VECTORS_WIDTH = 23, "vectors are not as wide as those of the model"
    VECTORS_SEVERAL = 24, "several vectors, but the model has one per text"
    INSTRUCTION_NOT_UTF8 = 25, "instruction is not valid UTF-8"
    INSTRUCTION_DIFFERS = 26, "instruction differs from that of the query_id's first row"
    QUERY_ID_NOT_UTF8 = 27, "query_id is not valid UTF-8"
    DOC_ID_NOT_UTF8 = 28, "doc_id is not valid UTF-8"


Codes = npt.NDArray[np.int8]

INSTRUCTION = "instruction"  # column of queries that may have one of their own

# Column of queries or of candidates: Reason codes (int8) that the reader of the rows has set already.
REFUSED = "_refused"


def check(sets: CandidateSets, vector_codes: Codes | None = None) -> tuple[Codes, Codes]:
    """Return why each query [queries] and each candidate [pairs] cannot be scored, as Reason codes; OK if it can.

    `vector_codes` [pairs] are those of the vectors that candidates bring, VECTORS_NULL where a candidate brings none
    and needs a text. Codes in a `_refused` column, of queries or of candidates, take precedence over the checks made
    here. Raises InputError if a column is missing or a text column has another type.
    """
    query_id, query = column(sets.queries, "query_id"), text_column(sets.queries, "query")
    queries = np.zeros(len(sets), dtype=np.int8)
    queries[np.diff(sets.offsets) == 0] = Reason.NO_CANDIDATES
    _mark(queries, query, blank=Reason.QUERY_BLANK, not_utf8=Reason.QUERY_NOT_UTF8, null=Reason.QUERY_NULL)
    if INSTRUCTION in sets.queries.column_names:
        queries[invalid_utf8(text_column(sets.queries, INSTRUCTION))] = Reason.INSTRUCTION_NOT_UTF8
    queries[_is_broken_id(query_id)] = Reason.QUERY_ID_NOT_UTF8
    queries[_null(query_id)] = Reason.QUERY_ID_NULL
    queries = _as_refused(sets.queries, queries)

    doc_id = column(sets.candidates, "doc_id")
    text = text_column(sets.candidates, "text") if vector_codes is None else texts_beside_vectors(sets.candidates)
    reasons = np.zeros(sets.pair_count, dtype=np.int8)
    _mark(reasons, text, blank=Reason.TEXT_BLANK, not_utf8=Reason.TEXT_NOT_UTF8, null=Reason.TEXT_NULL)
    if vector_codes is not None:
        reasons = _with_vectors(reasons, vector_codes)
    reasons[_repeated(sets.query_of, doc_id)] = Reason.DOC_ID_DUPLICATE
    reasons[_is_broken_id(doc_id)] = Reason.DOC_ID_NOT_UTF8
    reasons[_null(doc_id)] = Reason.DOC_ID_NULL
    reasons = _as_refused(sets.candidates, reasons)
    of_query = queries[sets.query_of]
    return queries, np.where(of_query != Reason.OK, of_query, reasons)


def differing(rows: pa.Table, offsets: Offsets) -> Codes:
    """Return a reason code per row: a row must have the query and the instruction of the first row of its query_id."""
    reasons = np.zeros(rows.num_rows, dtype=np.int8)
    for name, reason in ((INSTRUCTION, Reason.INSTRUCTION_DIFFERS), ("query", Reason.QUERY_DIFFERS)):
        if name in rows.column_names:
            codes = pc.dictionary_encode(combined(rows.column(name)), null_encoding="encode").indices.to_numpy()
            reasons[codes != np.repeat(codes[offsets[:-1]], np.diff(offsets))] = reason
    return reasons


def with_readable_ids(sets: CandidateSets) -> CandidateSets:
    """Return candidate sets whose ids are UTF-8, so that they can be written and read: other bytes become `\\xff`."""
    tables = []
    for table, name in ((sets.queries, "query_id"), (sets.candidates, "doc_id")):
        if _is_broken_id(table.column(name)).any():
            ids = readable(combined(table.column(name)))
            table = table.set_column(table.column_names.index(name), name, ids)
        tables.append(table)
    return CandidateSets(tables[0], tables[1], sets.offsets)


def readable(texts: pa.Array) -> pa.Array:
    """Return strings of the same type in which bytes that are not UTF-8 are written as `\\xff`."""
    values = pc.cast(texts, pa.large_binary()).to_pylist()
    return pa.array(
        [value if value is None else value.decode(errors="backslashreplace") for value in values], texts.type
    )


def rejected(sets: CandidateSets, queries: Codes, candidates: Codes) -> pa.Array:
    """Return the rejected candidates of each query as list<struct<doc_id, source_rank, reason>>, in first-stage order.

    `queries` and `candidates` are the Reason codes of both. A query without candidates has one entry with a null doc_id
    and source_rank, so that it is counted.
    """
    rows = np.flatnonzero((candidates != Reason.OK) & (candidates != Reason.TOO_DEEP))
    empty = np.flatnonzero((queries != Reason.OK) & (np.diff(sets.offsets) == 0))
    owner = np.concatenate([sets.query_of[rows], empty])
    order = np.argsort(owner, kind="stable")
    is_empty = np.arange(len(owner)) >= len(rows)
    row = pa.array(np.concatenate([rows, np.zeros_like(empty)])[order], mask=is_empty[order])
    entries = pa.table(
        {
            "doc_id": sets.candidates.column("doc_id").take(row),
            "source_rank": pa.chunked_array([sets.source_rank]).take(row),
            "reason": pa.array([reason.text for reason in Reason]).take(
                pa.array(np.concatenate([candidates[rows], queries[empty]])[order])
            ),
        }
    )
    return list_column(entries, offsets_of(np.bincount(owner, minlength=len(sets))))


def mark_not_finite(codes: Codes, logits: FloatArray) -> Codes:
    """Return the codes, with LOGIT_NOT_FINITE where a scored candidate has no finite logit."""
    return np.where((codes == Reason.OK) & ~np.isfinite(logits), np.int8(Reason.LOGIT_NOT_FINITE), codes)


def _mark(codes: Codes, texts: pa.Array, *, blank: Reason, not_utf8: Reason, null: Reason) -> None:
    is_broken, is_null = invalid_utf8(texts), _null(texts)
    unreadable = is_broken | is_null
    readable = pc.if_else(pa.array(unreadable), "", texts) if unreadable.any() else texts
    is_blank = pc.or_(pc.equal(pc.binary_length(readable), 0), pc.utf8_is_space(readable))
    codes[is_blank.to_numpy(zero_copy_only=False)] = blank
    codes[is_broken] = not_utf8
    codes[is_null] = null


def _with_vectors(of_text: Codes, of_vectors: Codes) -> Codes:
    """Return the codes of candidates that may bring vectors: those of the text count where they bring none.

    A text that is not UTF-8 is refused in any case, for it may be copied into the output.
    """
    needs_text = of_vectors == Reason.VECTORS_NULL
    without_vectors = np.where(of_text == Reason.TEXT_NULL, Reason.VECTORS_NULL, of_text)
    codes: Codes = np.where(needs_text | (of_text == Reason.TEXT_NOT_UTF8), without_vectors, of_vectors)
    return codes.astype(np.int8)


def _as_refused(rows: pa.Table, codes: Codes) -> Codes:
    if REFUSED not in rows.column_names:
        return codes
    refused = rows.column(REFUSED).to_numpy()
    return np.where(refused != Reason.OK, refused, codes)


def _null(values: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    mask: npt.NDArray[np.bool_] = np.asarray(values.is_null())
    return mask


def _is_broken_id(ids: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    if pa.types.is_string(ids.type) or pa.types.is_large_string(ids.type):
        return invalid_utf8(combined(ids))
    return np.zeros(len(ids), dtype=np.bool_)


def invalid_utf8(texts: pa.Array) -> npt.NDArray[np.bool_]:
    """Return where bytes are not UTF-8, shape [texts].

    Neither Parquet nor Arrow checks that, and one such row fails a block.
    """
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid:
        return np.array([not _decodes(value) for value in pc.cast(texts, pa.large_binary()).to_pylist()])
    return np.zeros(len(texts), dtype=np.bool_)


def _decodes(value: bytes | None) -> bool:
    try:
        return value is None or value.decode() is not None
    except UnicodeDecodeError:
        return False


def _repeated(query_of: IntArray, doc_id: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    """Return True where a query lists a doc_id again, shape [pairs]."""
    if pa.types.is_dictionary(doc_id.type):
        doc_id = doc_id.cast(doc_id.type.value_type)
    codes = combined(pc.dictionary_encode(doc_id)).indices.fill_null(-1).to_numpy().astype(np.int64)
    query_and_doc = query_of * (codes.max(initial=0) + 2) + codes + 1
    mask = np.ones(len(query_and_doc), dtype=np.bool_)
    mask[np.unique(query_and_doc, return_index=True)[1]] = False
    return mask
