"""Ragged rows against lists of lists."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from rerank.arrays import Ragged

rows_of_ids = st.lists(st.lists(st.integers(0, 99), max_size=6), max_size=8)


def as_lists(ragged: Ragged) -> list[list[int]]:
    return ragged.to_arrow().to_pylist()


@given(rows=rows_of_ids, data=st.data())
def test_rows_survive_packing_taking_and_arrow(rows, data):
    ragged = Ragged.from_rows(rows)
    assert as_lists(ragged) == rows
    assert ragged.lengths.tolist() == [len(row) for row in rows]
    assert as_lists(Ragged.from_arrow(ragged.to_arrow())) == rows
    start = data.draw(st.integers(0, len(rows)))
    assert as_lists(Ragged.from_arrow(ragged.to_arrow().slice(start))) == rows[start:]
    if rows:
        places = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=10))
        lengths = [data.draw(st.integers(0, len(rows[place]))) for place in places]
        taken = ragged.take(np.array(places, dtype=np.int32), lengths=np.array(lengths, dtype=np.int32))
        expected = [rows[place][:length] for place, length in zip(places, lengths, strict=True)]
        assert as_lists(taken) == expected


def test_a_null_list_is_an_empty_row():
    array = pa.array([[1, 2], None, [3]], pa.list_(pa.int32()))
    assert as_lists(Ragged.from_arrow(array)) == [[1, 2], [], [3]]


def test_more_ids_than_32_bits_count():
    ids = np.zeros(2**31 + 2, dtype=np.int32)  # never touched, so that it takes no memory
    lists = Ragged(ids, np.array([0, 3, len(ids)])).to_arrow()
    assert lists.value_lengths().to_pylist() == [3, 2**31 - 1]
