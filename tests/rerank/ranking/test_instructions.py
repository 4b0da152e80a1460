"""The instructions of candidate sets: the column wins where it says something, then the default."""

import numpy as np
import pyarrow as pa
import pytest

from rerank.errors import InputError
from rerank.ranking.instructions import effective_instruction, instructions_of
from rerank.store import hash_texts, join_digests

OWN = pa.table({"instruction": pa.array([b"own", None, b" \n", b"", b"\xff"])})
QUERIES = pa.array(["q", "q", "r"])


def test_the_column_wins_where_it_holds_text():
    assert instructions_of(OWN, None).to_pylist() == ["own", "", "", "", ""]
    assert instructions_of(OWN, "default").to_pylist() == ["own", *["default"] * 4]
    assert instructions_of(OWN, " ").to_pylist() == ["own", "", "", "", ""]
    without = pa.table({"query": ["a", "b"]})
    assert instructions_of(without, None) is instructions_of(without, " ") is None
    assert instructions_of(without, "default").to_pylist() == ["default"] * 2
    with pytest.raises(InputError, match="'instruction' must hold strings"):
        instructions_of(pa.table({"instruction": [1]}), None)


def test_the_first_that_is_not_blank_counts():
    assert effective_instruction(None, " ", " a ", "b") == " a "
    assert effective_instruction(None, "") == ""


def test_an_instruction_changes_the_hash_and_none_does_not():
    documents, rows = hash_texts(pa.array(["d"] * 3)), np.arange(3, dtype=np.int32)
    plain = join_digests(QUERIES, documents, rows)
    without = join_digests(QUERIES, documents, rows, pa.array(["", None, ""], pa.large_string()))
    assert (plain == without).all()
    some = join_digests(QUERIES, documents, rows, pa.array(["a", "b", ""], pa.large_string()))
    assert (some[2] == plain[2]).all()
    assert len({tuple(row) for row in [*plain, *some]}) == 4
    moved = join_digests(pa.array(["a", "d"]), documents[:2], rows[:2], pa.array(["q", ""], pa.large_string()))
    assert not (moved[0] == some[0]).all()
