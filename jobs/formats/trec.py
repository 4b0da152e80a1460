"""Read and write TREC run lines, `query_id Q0 doc_id rank score tag`, which trec_eval and other tools read."""

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs.formats.text import read_lines
from rerank.arrays import FloatArray
from rerank.errors import InputError, OutputError
from rerank.paths import Location
from rerank.ranking.candidates import combined

RUN_SUFFIXES = frozenset({".trec", ".run", ".txt", ".res"})
COLUMNS = ["query_id", "doc_id", "rank", "logit"]
_LINES_AT_ONCE = 100_000
_TAG = "rerank"
_WHITE_SPACE = r"[\s\v\x1c-\x1f\x{85}\p{Z}]"  # RE2's \s alone knows five characters of ASCII
_APART = 1 << 40  # more than the number of float32 values between any two logits


def read_run_lines(file: Location) -> Iterator[pa.Table]:
    """Yield the lines as tables of `query_id, doc_id, score`, in file order. Raises InputError that names the line."""
    lines = (_fields(file, number, line) for number, line in read_lines(file))
    while chosen := list(islice(lines, _LINES_AT_ONCE)):
        query_ids, doc_ids, scores = zip(*chosen, strict=True)
        yield pa.table({"query_id": pa.array(query_ids), "doc_id": pa.array(doc_ids), "score": pa.array(scores)})


def _fields(file: Location, number: int, line: str) -> tuple[str, str, float]:
    fields = line.split()
    if len(fields) != 6:
        raise InputError(
            f"{file.uri}: line {number}: a TREC run has 6 columns, query_id Q0 doc_id rank score tag; "
            f"found {len(fields)}: {line[:80]!r}"
        )
    try:
        score = float(fields[4])
    except ValueError:
        score = float("nan")
    if score != score:  # NaN has no place in an order
        raise InputError(f"{file.uri}: line {number}: score must be a number, got {fields[4]!r}")
    return fields[0], fields[2], score


def run_lines(batches: Iterable[pa.Table]) -> Iterator[str]:
    """Yield the lines of a run, one string per batch of `COLUMNS`; rows are sorted by query, best first.

    The score column holds the logit, because trec_eval sorts by it and different logits can give equal relevance
    scores near 1. trec_eval sorts equal scores by doc_id, so an equal logit is lowered to the next smaller float32.
    Raises OutputError if an id contains white space.
    """
    last: np.int64 | None = None  # last key of the previous batch, whose query may continue
    for rows in batches:
        ids = [combined(rows.column(column)).cast(pa.string()) for column in COLUMNS[:2]]
        for column, name in zip(ids, COLUMNS[:2], strict=True):
            check_ids(column, name)
        rank = combined(rows.column("rank"))
        keys = strictly_descending(_keys(np.nan_to_num(rows.column("logit").to_numpy())), rank.to_numpy() == 1, last)
        last = keys[-1]
        score = pa.array(_from_keys(keys)).cast(pa.string())
        columns = [ids[0], "Q0", ids[1], rank.cast(pa.string()), score, f"{_TAG}\n"]
        yield "".join(pc.binary_join_element_wise(*columns, " ").to_pylist())


def check_ids(ids: pa.Array | pa.ChunkedArray, name: str) -> None:
    """Raise OutputError if an id is empty or contains white space, as Python's `split` has it; nulls are ignored."""
    if pa.types.is_integer(ids.type):
        return
    texts = ids.cast(pa.large_string())
    broken = pc.match_substring_regex(texts, rf"{_WHITE_SPACE}|^$")
    if pc.any(broken).as_py():
        value = texts.filter(broken)[0].as_py()
        raise OutputError(f"a TREC run cannot hold the {name} {value!r}: its columns are separated by white space")


def strictly_descending(
    keys: npt.NDArray[np.int64], first: npt.NDArray[np.bool_], before: np.int64 | None = None
) -> npt.NDArray[np.int64]:
    """Lower keys as little as possible, so that the keys of each query are strictly descending.

    `first` marks the first key of each query. `before` is the previous key of the same query, if there is one.
    """
    place, query = np.arange(len(keys)), np.cumsum(first) * _APART
    start = keys[:1] if before is None else np.array([before - 1])
    lowest = np.minimum.accumulate(np.concatenate([start, keys + place - query]))[1:]
    lowered: npt.NDArray[np.int64] = lowest - place + query
    return lowered


def _keys(logits: FloatArray) -> npt.NDArray[np.int64]:
    """Map logits to integers in the same order; neighbouring float32 values become neighbouring integers."""
    bits = np.ascontiguousarray(logits, dtype=np.float32).view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(bits & 0x7FFF_FFFF), bits)


def _from_keys(keys: npt.NDArray[np.int64]) -> FloatArray:
    bits = np.where(keys < 0, -keys | 0x8000_0000, keys).astype(np.uint32)
    return bits.view(np.float32)
