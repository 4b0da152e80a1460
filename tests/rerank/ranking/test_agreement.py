"""Agreement of two rankings: values worked out by hand, and scipy's tau on random ones."""

from math import isnan

import numpy as np
import pytest
from scipy.stats import kendalltau

from rerank.ranking.agreement import kendall_tau, top_overlap


@pytest.mark.parametrize(
    ("first", "second", "tau"),
    [
        ("abcd", "abcd", 1),
        ("abcd", "dcba", -1),
        ("abcd", "abdc", 1 - 2 / 6),
        ("abcd", "xbyaz", -1),  # b before a: the one common pair is reversed
        ("abc", "cxab", 1 - 4 / 3),
    ],
)
def test_tau_is_that_of_the_common_documents(first, second, tau):
    assert kendall_tau(first, second) == pytest.approx(tau)
    assert kendall_tau(second, first) == pytest.approx(tau)


def test_tau_is_scipys():
    rng = np.random.default_rng(5)
    for count in (2, 3, 50, 400):
        second = rng.permutation(count)
        expected = kendalltau(np.arange(count), np.argsort(second)).statistic
        assert kendall_tau(range(count), second.tolist()) == pytest.approx(expected)


@pytest.mark.parametrize(("first", "second"), [("", ""), ("a", "a"), ("ab", "cd"), ("ab", "bc")])
def test_tau_of_fewer_than_two_common_documents_is_nan(first, second):
    assert isnan(kendall_tau(first, second))


@pytest.mark.parametrize(
    ("first", "second", "top", "overlap"),
    [("abc", "cab", 10, 1), ("abc", "cab", 1, 0), ("abcd", "abxy", 4, 0.5), ("abcd", "ab", 4, 0.5), ("", "", 10, 1)],
)
def test_overlap_is_the_common_share_of_the_top(first, second, top, overlap):
    assert top_overlap(first, second, top) == overlap
