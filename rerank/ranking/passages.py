"""Long documents by passages: the passages of a block of candidate sets, and a document's logit from theirs.

A passage is paired, hashed, stored and scored as a candidate with its text would be. Passages are kept as a list column
beside the candidates: one row per passage, in the order of the candidates.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rerank.arrays import FloatArray, IntArray, offsets_of
from rerank.ranking.candidates import CandidateSets, keep_columns, list_column, list_rows, text_column
from rerank.ranking.reject import Codes, Reason

PASSAGES = "_passages"  # column of queries: the passages of all their candidates
COUNT = "_passage_count"  # column of candidates
START, END = "start", "end"  # columns of passages: characters of their document, the end excluded

Aggregate = Literal["max", "mean", "first"]


def pairs_of(sets: CandidateSets) -> CandidateSets:
    """Return what a prepared block pairs with its queries: its passages if it has any, otherwise its candidates."""
    if PASSAGES not in sets.queries.column_names:
        return sets
    return CandidateSets(sets.queries, *list_rows(sets.queries.column(PASSAGES)))


def with_pairs(sets: CandidateSets, pairs: CandidateSets) -> CandidateSets:
    """Return a prepared block with other columns of its pairs, the opposite of `pairs_of`."""
    if PASSAGES not in sets.queries.column_names:
        return pairs
    place = sets.queries.column_names.index(PASSAGES)
    column = list_column(pairs.candidates, pairs.offsets)
    return replace(sets, queries=sets.queries.set_column(place, PASSAGES, column))


def aggregate(logits: FloatArray, counts: npt.NDArray[np.integer], how: Aggregate) -> tuple[FloatArray, IntArray]:
    """Return the logit of each document and the row of its best passage, [documents]; NaN and -1 without passages.

    `logits` are those of all passages, in the order of the documents; `counts` are the passages of each. The best is
    the first of those with the highest logit. A document with a passage whose logit is NaN has the logit NaN.
    """
    document_logits = np.full(len(counts), np.nan, dtype=np.float32)
    best = np.full(len(counts), -1, dtype=np.int32)
    split = np.flatnonzero(counts)
    if not len(split):
        return document_logits, best
    starts, lengths = offsets_of(counts)[split], counts[split]
    highest = np.maximum.reduceat(logits, starts)
    is_best = (logits == np.repeat(highest, lengths)) | np.isnan(np.repeat(highest, lengths))
    rows = np.flatnonzero(is_best)
    best[split] = rows[np.unique(np.repeat(split, lengths)[rows], return_index=True)[1]]
    means = np.add.reduceat(logits.astype(np.float64), starts) / lengths
    document_logits[split] = means if how == "mean" else highest
    return document_logits, best


def score_documents(
    sets: CandidateSets, reasons: Codes, logits: FloatArray, codes: Codes, how: Aggregate
) -> tuple[CandidateSets, FloatArray, Codes]:
    """Return the candidates of a prepared block with their logits and Reason codes, from those of its pairs.

    `reasons` are the codes of the candidates from before scoring. If they were split, they have the new fields
    `passages` (int32), the number of passages, and `best_passage: struct<start, end>`, the characters of the best one
    in the text of the document, `end` excluded, with its `text` if the candidates have texts. A document of which a
    passage cannot be scored is rejected: it is not ranked by the others.
    """
    if PASSAGES not in sets.queries.column_names:
        return sets, logits, codes
    counts = sets.candidates.column(COUNT).to_numpy()
    document_logits, best = aggregate(logits, counts, how)
    document_codes = reasons.copy()
    split = np.flatnonzero(counts)
    if len(split):
        document_codes[split] = np.maximum.reduceat(codes, offsets_of(counts)[split])
    document_logits[document_codes != Reason.OK] = np.nan
    passages = pairs_of(sets).candidates
    texts = text_column(sets.candidates, "text") if "text" in sets.candidates.column_names else None
    candidates = keep_columns(sets.candidates, without=("passages", "best_passage"))
    candidates = candidates.add_column(0, "passages", pa.array(counts, pa.int32(), mask=counts == 0))
    candidates = candidates.add_column(1, "best_passage", _best_passages(passages, best, texts))
    return sets.with_candidates(candidates), document_logits, document_codes


def _best_passages(passages: pa.Table, best: IntArray, texts: pa.Array | None) -> pa.Array:
    """Return struct<start, end> of each candidate, with `text` if the texts are known; null without passages."""
    rows = pa.array(best, mask=best < 0)
    fields = [passages.column(name).take(rows).combine_chunks() for name in (START, END)]
    names = [START, END]
    if texts is not None:
        bounds = zip(texts.to_pylist(), *(field.to_pylist() for field in fields), strict=True)
        parts = [None if start is None else text[start:end] for text, start, end in bounds]
        fields, names = [*fields, pa.array(parts, pa.large_string())], [*names, "text"]
    return pa.StructArray.from_arrays(fields, names=names, mask=pa.array(best < 0))


def in_documents(on_progress: Callable[[int], None], documents_per_pair: float) -> Callable[[int], None]:
    """Return what reports the documents that are done, from the pairs that are done; 0 is passed on."""
    if documents_per_pair == 1:
        return on_progress
    pairs_done, reported = 0, 0

    def report(pairs: int) -> None:
        nonlocal pairs_done, reported
        pairs_done += pairs
        documents = int(pairs_done * documents_per_pair) - reported
        reported += documents
        if documents or not pairs:
            on_progress(documents)

    return report
