"""Sizes of Arrow rows as if dictionaries were decoded, and the slices that they give."""

import numpy as np
import pyarrow as pa
import pytest

from rerank.sizes import cut_by_bytes, row_bytes, slices, wide_type

LONG, SHORT = "x" * 100, "y"
TEXTS = pa.array([LONG, None, SHORT, LONG])


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.binary(), pa.dictionary(pa.int8(), pa.string())])
def test_a_value_counts_in_every_row(kind: pa.DataType) -> None:
    texts = TEXTS.cast(pa.string()).dictionary_encode().cast(kind) if pa.types.is_dictionary(kind) else TEXTS.cast(kind)
    sizes = row_bytes(pa.table({"text": texts, "number": pa.array([1, 2, 3, 4], pa.int32())}))
    assert (sizes // 10).tolist() == [11, 0 if pa.types.is_dictionary(kind) else 1, 1, 11]
    assert row_bytes(pa.table({"text": texts.slice(2)})).tolist() == (sizes[2:] - 4).tolist()


@pytest.mark.parametrize("list_of", [pa.list_, pa.large_list])
def test_the_entries_of_lists_and_structs_count(list_of: type) -> None:
    rows = [[{"text": LONG}, {"text": SHORT}], None, [], [{"text": LONG}] * 3, [None]]
    kind = list_of(pa.struct([("text", pa.dictionary(pa.int32(), pa.string()))]))
    lists = pa.array(rows, list_of(pa.struct([("text", pa.string())])))
    sizes = row_bytes(pa.table({"lists": lists})) // 100
    assert sizes.tolist() == [1, 0, 0, 3, 0]
    assert (row_bytes(pa.table({"lists": lists.slice(3)})) // 100).tolist() == [3, 0]
    encoded = pa.array([[{"text": LONG}] * 40], kind)
    assert row_bytes(pa.table({"lists": encoded})) > 4_000
    chunks = pa.chunked_array([lists.slice(0, 2), lists.slice(2)])
    assert (row_bytes(pa.table({"lists": chunks})) // 100).tolist() == sizes.tolist()


def test_rows_of_other_types_share_what_their_column_takes() -> None:
    table = pa.table(
        {
            "null": pa.nulls(3),
            "flag": [True, False, None],
            "map": pa.array([[("a", 1)]] * 3, pa.map_(pa.string(), pa.int64())),
        }
    )
    assert (row_bytes(table) > 0).all()
    assert row_bytes(pa.table({})).tolist() == []


def test_ranges_hold_as_much_as_is_allowed() -> None:
    assert list(cut_by_bytes(np.array([3, 3, 3, 50, 1, 9, 1]), 10)) == [(0, 3), (3, 4), (4, 6), (6, 7)]
    assert list(cut_by_bytes(np.array([], dtype=np.int64), 10)) == []
    table = pa.table({"text": [LONG] * 10})
    assert [part.num_rows for part in slices(table, 400)] == [3, 3, 3, 1]
    assert [part.num_rows for part in slices(table.slice(0, 0), 400)] == [0]


def test_wide_types_hold_the_same_values() -> None:
    for narrow, wide in (
        (pa.string(), pa.large_string()),
        (pa.string_view(), pa.large_string()),
        (pa.binary(), pa.large_binary()),
        (pa.int32(), pa.int32()),
        (pa.dictionary(pa.int32(), pa.string()), pa.large_string()),
        (pa.list_(pa.string()), pa.list_(pa.large_string())),
        (pa.struct([("a", pa.large_list(pa.string()))]), pa.struct([("a", pa.large_list(pa.large_string()))])),
    ):
        assert wide_type(narrow) == wide
        assert wide_type(wide) == wide
