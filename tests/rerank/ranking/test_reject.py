"""What cannot be scored is named, with a reason, and nothing else is."""

import numpy as np
import pyarrow as pa
import pytest

from rerank.errors import InputError
from rerank.ranking.candidates import CandidateSets
from rerank.ranking.reject import Reason, check, mark_not_finite, rejected
from tests.fakes import candidate_sets


def reasons_of(table: pa.Table) -> list[list[tuple]]:
    """(doc_id, source_rank, reason) of the rejected of each query."""
    sets = CandidateSets.from_table(table)
    return [[tuple(entry.values()) for entry in row] for row in rejected(sets, *check(sets)).to_pylist()]


def test_every_reason_has_its_words():
    assert [int(reason) for reason in Reason] == list(range(len(Reason)))
    assert [reason for reason in Reason if not reason.text] == [Reason.OK]


def test_sound_candidates_are_not_rejected():
    table = candidate_sets([("q1", "a query", [("a", "x"), ("b", "x")]), ("q2", "a query", [("a", "x")])])
    assert reasons_of(table) == [[], []]


@pytest.mark.parametrize(
    ("query", "reason"),
    [(None, "query is null"), ("", "query is blank"), (" \t\u2003\n", "query is blank")],
)
def test_a_query_without_text_rejects_its_candidates(query, reason):
    table = candidate_sets([("q1", query, [("a", "x"), ("b", "y")]), ("q2", "sound", [("a", "x")])])
    assert reasons_of(table) == [[("a", 1, reason), ("b", 2, reason)], []]


def test_a_query_without_id_rejects_its_candidates():
    assert reasons_of(candidate_sets([(None, "a query", [("a", "x")])])) == [[("a", 1, "query_id is null")]]


@pytest.mark.parametrize("candidates", [None, []])
def test_a_query_without_candidates_counts_as_one(candidates):
    table = candidate_sets([("q1", "a", [("a", None)]), ("q2", "b", candidates), ("q3", "c", [("a", "x")])])
    assert reasons_of(table) == [[("a", 1, "text is null")], [(None, None, "candidate list is empty")], []]
    assert reasons_of(table.slice(1, 1)) == [[(None, None, "candidate list is empty")]]


def test_candidates_are_rejected_one_by_one():
    documents = [("a", "x"), ("b", None), ("c", "\u3000"), (None, "x"), ("a", "again"), (None, "y"), ("d", "y")]
    assert reasons_of(candidate_sets([("q", "a query", documents)])) == [
        [
            ("b", 2, "text is null"),
            ("c", 3, "text is blank"),
            (None, 4, "doc_id is null"),
            ("a", 5, "doc_id is a duplicate within the query"),
            (None, 6, "doc_id is null"),
        ]
    ]


@pytest.mark.parametrize("kind", [pa.int64(), pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())])
def test_duplicates_are_found_in_any_type_of_id(kind):
    lists = [[{"doc_id": d, "text": "x"} for d in ids] for ids in ([7, 8], [8, 7, 8])]
    lists = lists if pa.types.is_integer(kind) else [[c | {"doc_id": str(c["doc_id"])} for c in row] for row in lists]
    column = pa.array(lists, pa.list_(pa.struct([("doc_id", kind), ("text", pa.string())])))
    found = reasons_of(pa.table({"query_id": [1, 2], "query": ["a", "b"], "candidates": column}))
    assert [[entry[1] for entry in row] for row in found] == [[], [3]]


def test_bytes_that_are_no_text_are_rejected():
    """Parquet files may hold them in string columns; Arrow does not look."""
    broken = pa.array([b"fine", b"\xff\xfe", None, b" "]).view(pa.string())
    inner = pa.StructArray.from_arrays([pa.array(list("abcd")), broken], ["doc_id", "text"])
    table = pa.table(
        {"query_id": [1, 2], "query": pa.array([b"q", b"\xc3"]).view(pa.string()), "candidates": pa.array([[], []])}
    )
    lists = pa.ListArray.from_arrays(pa.array([0, 3, 4], pa.int32()), inner)
    assert reasons_of(table.set_column(2, "candidates", lists)) == [
        [("b", 2, "text is not valid UTF-8"), ("c", 3, "text is null")],
        [("d", 1, "query is not valid UTF-8")],
    ]


def test_zero_rows_give_zero_lists():
    assert reasons_of(candidate_sets([])) == []


def test_columns_that_must_be_there_are_named():
    table = candidate_sets([("q", "a query", [("a", "x")])])
    with pytest.raises(InputError, match="column 'query_id' is missing, got query"):
        reasons_of(table.drop_columns(["query_id"]))
    with pytest.raises(InputError, match="column 'text' is missing, got body, doc_id"):
        reasons_of(table.drop_columns(["candidates"]).append_column("candidates", [[[{"body": "x", "doc_id": 1}]]]))


def test_only_sound_candidates_can_lack_a_number():
    codes = np.array([Reason.OK, Reason.OK, Reason.TEXT_NULL, Reason.OK], dtype=np.int8)
    logits = np.array([1.0, np.nan, np.nan, np.inf], dtype=np.float32)
    marked = mark_not_finite(codes, logits)
    assert marked.tolist() == [Reason.OK, Reason.LOGIT_NOT_FINITE, Reason.TEXT_NULL, Reason.LOGIT_NOT_FINITE]
