"""`rerank.maxsim` against its definition, and what it refuses."""

import numpy as np
import pytest

from rerank import maxsim
from rerank.errors import InputError


def vectors(seed, *lengths, width=8):
    random = np.random.default_rng(seed)
    return [random.standard_normal((length, width)).astype(np.float32) for length in lengths]


def test_it_is_the_sum_of_the_largest_products():
    (query,), documents = vectors(0, 5), vectors(1, 3, 1, 7_000, 40_000, 2)
    expected = [(query @ document.T).max(axis=1).sum() for document in documents]
    np.testing.assert_allclose(maxsim(query, documents), expected, rtol=1e-5)


def test_a_document_without_vectors_comes_last():
    (query,), documents = vectors(0, 2), vectors(1, 3, 0)
    scores = maxsim(query, documents)
    assert scores[1] == np.float32(-1e9) < scores[0]
    assert maxsim(query, []).shape == (0,)


def test_lists_and_half_precision_are_taken():
    assert maxsim([[1.0, 0.0]], [np.array([[0.5, 2.0]], dtype=np.float16)]).tolist() == [0.5]


@pytest.mark.parametrize(
    ("query", "documents", "message"),
    [
        ([1.0, 2.0], [], r"query_vectors must have the shape \[tokens, width\], got \[2\]"),
        ([[1.0, 2.0]], [[[1.0]]], r"document_vectors\[0\] must have the shape \[tokens, 2\], got \[1, 1\]"),
    ],
)
def test_other_shapes_are_refused(query, documents, message):
    with pytest.raises(InputError, match=message):
        maxsim(query, documents)
