"""Engines of a few lines that need no torch, and candidate sets spelled briefly."""

from collections.abc import Iterable, Sequence
from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa

from rerank.encoding.pairs import EncodedPairs
from rerank.engines import Scores

Candidate = tuple[Any, str | None]


class ListedEngine:
    """Gives the logits that it was made with, in order."""

    lanes = None

    def __init__(self, logits: Sequence[float]) -> None:
        self.description = {"engine": "listed"}
        self._logits = np.array(logits, dtype=np.float32)

    def score(self, pairs: EncodedPairs) -> Scores:
        return Scores(self._logits[: len(pairs)], int(pairs.lengths.sum()))


class HashEngine:
    """A logit that depends on the tokens alone: few values, so that many are equal, and now and then NaN."""

    lanes = None

    def __init__(self) -> None:
        self.description = {"engine": "hash"}

    def score(self, pairs: EncodedPairs) -> Scores:
        ids, types, offsets = pairs.join(np.arange(len(pairs)))
        rows = np.split(np.stack([ids, types], axis=1), offsets[1:-1]) if len(pairs) else []
        return Scores(np.array([hash_logit(row) for row in rows], dtype=np.float32), len(ids))


def hash_logit(ids_and_types: np.ndarray) -> float:
    value = crc32(np.ascontiguousarray(ids_and_types, dtype=np.int32).tobytes())
    return float("nan") if value % 11 == 0 else value % 7 - 3.0


def candidate_sets(rows: Iterable[tuple[Any, str | None, Sequence[Candidate] | None]]) -> pa.Table:
    """A table of (query_id, query, [(doc_id, text), …]) rows."""
    rows = list(rows)
    lists = [None if row[2] is None else [{"doc_id": d, "text": t} for d, t in row[2]] for row in rows]
    doc_ids = pa.array([entry["doc_id"] for row in lists for entry in row or []])
    kind = pa.string() if pa.types.is_null(doc_ids.type) else doc_ids.type
    query_ids = [row[0] for row in rows]
    return pa.table(
        {
            "query_id": pa.array(query_ids, None if any(i is not None for i in query_ids) else pa.string()),
            "query": pa.array([row[1] for row in rows], pa.string()),
            "candidates": pa.array(lists, pa.list_(pa.struct([("doc_id", kind), ("text", pa.string())]))),
        }
    )
