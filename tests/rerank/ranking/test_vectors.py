"""Vectors that candidates bring: every list type is read alike, and unusable ones are rejected with a reason."""

import numpy as np
import pyarrow as pa
import pytest

from rerank.errors import InputError
from rerank.ranking.candidates import CandidateSets
from rerank.ranking.reject import Reason, check
from rerank.ranking.vectors import VectorFormat, _are_finite, holds_vectors, read_vectors

TOKENS, SINGLE = VectorFormat(2, is_single=False), VectorFormat(2, is_single=True)
FLOATS = (pa.float16(), pa.float32(), pa.float64())
LISTS = {
    "list<list>": lambda kind: pa.list_(pa.list_(kind)),
    "large_list<large_list>": lambda kind: pa.large_list(pa.large_list(kind)),
    "list<fixed>": lambda kind: pa.list_(pa.list_(kind, 2)),
    "large_list<fixed>": lambda kind: pa.large_list(pa.list_(kind, 2)),
}


@pytest.mark.parametrize("floats", FLOATS, ids=str)
@pytest.mark.parametrize("lists", LISTS.values(), ids=LISTS)
def test_every_list_type_is_read_alike(lists, floats):
    values = [[[1.0, 2.0], [3.0, 4.0]], None, [], [[5.0, 6.0]], None]
    table = pa.table({"vectors": pa.array(values, lists(floats))})
    assert holds_vectors(table.schema.field(0).type)
    for start in range(3):
        read = read_vectors(table.slice(start), TOKENS)
        assert read.rows.lengths.tolist() == [2, 0, 0, 1, 0][start:]
        assert read.rows.values.tolist() == [[1, 2], [3, 4], [5, 6]][2 if start else 0 :]
        assert read.rows.values.dtype == (np.float16 if floats == pa.float16() else np.float32)
        codes = [Reason.OK, Reason.VECTORS_NULL, Reason.VECTORS_EMPTY, Reason.OK, Reason.VECTORS_NULL]
        assert read.codes.tolist() == codes[start:]


def test_sound_vectors_are_not_copied():
    array = pa.array([[[1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0]]], pa.list_(pa.list_(pa.float32(), 2)))
    values = read_vectors(pa.table({"vectors": array}), TOKENS).rows.values
    assert values.ctypes.data == array.flatten().flatten().buffers()[1].address


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.float32()), pa.large_list(pa.float16()), pa.list_(pa.float32(), 2)], ids=str
)
def test_a_list_of_floats_is_one_vector(kind):
    table = pa.table({"vectors": pa.array([[1.0, 2.0], None, [3.0, 4.0]], kind)})
    for expected in (TOKENS, SINGLE):
        read = read_vectors(table, expected)
        assert read.rows.values.tolist() == [[1, 2], [3, 4]]
        assert read.codes.tolist() == [Reason.OK, Reason.VECTORS_NULL, Reason.OK]


@pytest.mark.parametrize(
    ("value", "reason", "expected"),
    [
        ([], Reason.VECTORS_EMPTY, TOKENS),
        ([[]], Reason.VECTORS_EMPTY, TOKENS),
        ([[1.0, 2.0], []], Reason.VECTORS_WIDTH, TOKENS),
        ([[1.0]], Reason.VECTORS_WIDTH, TOKENS),
        ([[1.0], [2.0]], Reason.VECTORS_WIDTH, TOKENS),
        ([[1.0, 2.0, 3.0], [4.0]], Reason.VECTORS_WIDTH, TOKENS),
        ([[1.0, None]], Reason.VECTORS_HOLD_NULL, TOKENS),
        ([[1.0, 2.0], None], Reason.VECTORS_HOLD_NULL, TOKENS),
        ([None], Reason.VECTORS_HOLD_NULL, TOKENS),
        ([[1.0, float("nan")]], Reason.VECTORS_NOT_FINITE, TOKENS),
        ([[1.0, 2.0], [float("-inf"), 1.0]], Reason.VECTORS_NOT_FINITE, TOKENS),
        ([[1.0, 2.0], [3.0, 4.0]], Reason.VECTORS_SEVERAL, SINGLE),
    ],
)
@pytest.mark.parametrize("floats", FLOATS[:2], ids=str)
def test_unusable_vectors_are_rejected_and_others_stay(value, reason, expected, floats):
    values = [[[7.0, 8.0]], value, None, [[9.0, 10.0]]]
    read = read_vectors(pa.table({"vectors": pa.array(values, pa.list_(pa.list_(floats)))}), expected)
    assert read.codes.tolist() == [Reason.OK, reason, Reason.VECTORS_NULL, Reason.OK]
    assert read.rows.lengths.tolist() == [1, 0, 0, 1]
    assert read.rows.values.tolist() == [[7, 8], [9, 10]]


def test_numbers_beyond_float32_are_not_finite():
    read = read_vectors(pa.table({"vectors": pa.array([[[1e300, 0.0]]], pa.list_(pa.list_(pa.float64())))}), TOKENS)
    assert read.codes.tolist() == [Reason.VECTORS_NOT_FINITE]


@pytest.mark.parametrize("values", [["text"], [[1, 2]], [[["a"]]], [[[[1.0]]]]])
def test_other_types_are_refused(values):
    with pytest.raises(InputError, match="must hold lists of floats"):
        read_vectors(pa.table({"vectors": values}), TOKENS)


def test_a_candidate_needs_a_text_or_vectors():
    lists = pa.list_(pa.list_(pa.float32()))
    kind = pa.list_(pa.struct([("doc_id", pa.int64()), ("text", pa.binary()), ("vectors", lists)]))
    sound, bad = [[1.0, 2.0]], [[1.0]]
    texts = [(None, sound), (b"x", sound), (b" ", sound), (None, None), (b"x", None), (b"", None), (b"x", bad)]
    entries = [{"doc_id": at, "text": text, "vectors": vectors} for at, (text, vectors) in enumerate(texts)]
    entries += [{"doc_id": 7, "text": b"\xff", "vectors": sound}, {"doc_id": None, "text": None, "vectors": sound}]
    sets = CandidateSets.from_table(
        pa.table({"query_id": ["q"], "query": ["a query"], "candidates": pa.array([entries], kind)})
    )
    read = read_vectors(sets.candidates, TOKENS)
    assert check(sets, read.codes)[1].tolist() == [
        *[Reason.OK] * 3,
        Reason.VECTORS_NULL,
        Reason.OK,
        Reason.TEXT_BLANK,
        Reason.VECTORS_WIDTH,
        Reason.TEXT_NOT_UTF8,
        Reason.DOC_ID_NULL,
    ]
    without_text = sets.with_candidates(sets.candidates.drop_columns(["text"]))
    codes = check(without_text, read.codes)[1]
    assert codes.tolist() == [
        *[Reason.OK] * 3,
        *[Reason.VECTORS_NULL] * 3,
        Reason.VECTORS_WIDTH,
        Reason.OK,
        Reason.DOC_ID_NULL,
    ]


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_numbers_that_are_not_finite_are_found_by_their_bits(dtype):
    limits = np.finfo(dtype)
    finite = np.array([0, -0.0, 1, -1, limits.max, limits.min, limits.tiny, -limits.smallest_subnormal], dtype=dtype)
    assert _are_finite(finite) and _are_finite(finite[:0])
    for other in (np.inf, -np.inf, np.nan, -np.nan):
        assert not _are_finite(np.append(finite, dtype(other)))
