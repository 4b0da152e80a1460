"""Candidate sets taken apart and put together, whichever way Arrow holds them."""

import numpy as np
import pyarrow as pa
import pytest

from rerank.errors import InputError
from rerank.ranking.candidates import CandidateSets, list_column, text_column
from tests.fakes import candidate_sets

TABLE = candidate_sets(
    [
        ("q1", "first", [("a", "one"), ("b", "two")]),
        ("q2", "second", None),
        ("q3", "third", []),
        ("q4", "fourth", [("c", "three"), ("a", None), ("d", "four")]),
    ]
)
STRUCT = TABLE.schema.field("candidates").type.value_type


def retyped(kind: pa.DataType) -> pa.Table:
    place = TABLE.schema.get_field_index("candidates")
    return TABLE.set_column(place, "candidates", pa.array(TABLE["candidates"].to_pylist(), kind))


def filled(table: pa.Table) -> list[dict]:
    """The rows, with null lists as empty ones."""
    return [row | {"candidates": row["candidates"] or []} for row in table.to_pylist()]


def test_lists_come_apart_into_pairs():
    sets = CandidateSets.from_table(TABLE)
    assert (len(sets), sets.pair_count, sets.offsets.tolist()) == (4, 5, [0, 2, 2, 2, 5])
    assert sets.queries.column_names == ["query_id", "query"]
    assert sets.candidates.column("doc_id").to_pylist() == ["a", "b", "c", "a", "d"]
    assert sets.query_of.tolist() == [0, 0, 3, 3, 3]
    assert sets.source_rank.tolist() == [1, 2, 1, 2, 3]


@pytest.mark.parametrize("make", [pa.list_, pa.large_list, pa.list_view])
def test_every_list_type_is_read(make):
    assert filled(CandidateSets.from_table(retyped(make(STRUCT))).to_table()) == filled(TABLE)


@pytest.mark.parametrize("text", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())])
def test_every_string_type_is_read(text):
    struct = pa.struct([("doc_id", text), ("text", text)])
    sets = CandidateSets.from_table(retyped(pa.list_(struct)))
    assert filled(sets.to_table()) == filled(TABLE)
    assert text_column(sets.candidates, "text").to_pylist() == ["one", "two", "three", None, "four"]


@pytest.mark.parametrize(
    ("table", "rows"),
    [
        (TABLE.slice(1, 3), [1, 2, 3]),
        (TABLE.slice(3), [3]),
        (TABLE.slice(4), []),
        (pa.concat_tables([TABLE.slice(2), TABLE.slice(0, 2)]), [2, 3, 0, 1]),
        (pa.concat_tables([TABLE.slice(0, 0), TABLE.slice(3, 1), TABLE.slice(0, 1)]), [3, 0]),
        (TABLE.schema.empty_table(), []),
    ],
    ids=["middle", "end", "none", "chunks", "empty-chunk", "no-chunk"],
)
def test_slices_and_chunks_hold_what_they_show(table, rows):
    sets = CandidateSets.from_table(table)
    assert len(sets) == len(rows)
    assert filled(sets.to_table()) == [filled(TABLE)[row] for row in rows]


def test_some_candidates_are_taken_and_others_left():
    taken = CandidateSets.from_table(TABLE).take(CandidateSets.from_table(TABLE).query_of.nonzero()[0][::-1])
    assert taken.offsets.tolist() == [0, 0, 0, 0, 3]
    assert taken.candidates.column("doc_id").to_pylist() == ["d", "a", "c"]


def test_rows_keep_columns_of_both_that_bear_one_name():
    table = candidate_sets([("q1", "one", [("a", "x"), ("b", "y")]), ("q2", "two", None)])
    for name in ("doc_id", "text", "query_text"):
        table = table.append_column(name, pa.array([f"{name} 1", f"{name} 2"]))
    rows = CandidateSets.from_table(table).to_rows()
    assert rows.to_pylist() == [
        {
            "query_id": "q1",
            "query": "one",
            "query_doc_id": "doc_id 1",
            "query_query_text": "text 1",
            "query_text": "query_text 1",
            "doc_id": doc_id,
            "text": text,
        }
        for doc_id, text in (("a", "x"), ("b", "y"))
    ]


def test_a_candidate_that_is_null_has_null_fields():
    table = pa.table({"candidates": pa.array([[None, {"doc_id": "a", "text": "x"}]], pa.list_(STRUCT))})
    assert CandidateSets.from_table(table).candidates.to_pylist() == [
        {"doc_id": None, "text": None},
        {"doc_id": "a", "text": "x"},
    ]


@pytest.mark.parametrize("values", [None, [1], [["a"]]], ids=["missing", "number", "strings"])
def test_a_table_without_lists_of_structs_is_refused(values):
    columns = {"query_id": ["q"]} | ({} if values is None else {"candidates": values})
    with pytest.raises(InputError, match="candidates must be list<struct<doc_id, text, …>>, got"):
        CandidateSets.from_table(pa.table(columns))


@pytest.mark.parametrize("values", [[1, 2], [["a"], ["b"]]])
def test_a_text_column_of_another_type_is_refused(values):
    with pytest.raises(InputError, match="column 'text' must hold strings, got"):
        text_column(pa.table({"text": values}), "text")
    with pytest.raises(InputError, match="column 'text' is missing, got body"):
        text_column(pa.table({"body": values}), "text")


def test_more_rows_than_32_bits_count_become_large_lists():
    many = 2**31 + 1
    lists = list_column(pa.table({"nothing": pa.nulls(many)}), np.array([0, 1, many]))
    assert lists.value_lengths().to_pylist() == [1, 2**31]


def test_chunks_that_outgrow_32_bits_are_combined_as_large_strings(monkeypatch):
    table = pa.concat_tables([TABLE, TABLE.slice(2)])
    monkeypatch.setattr("rerank.ranking.candidates._MOST_BYTES", 100)
    sets = CandidateSets.from_table(table)
    assert (
        sets.to_table().to_pylist()
        == CandidateSets.from_table(pa.concat_tables([TABLE, TABLE.slice(2)]).combine_chunks()).to_table().to_pylist()
    )
    assert sets.candidates.schema.field("text").type == pa.large_string()
