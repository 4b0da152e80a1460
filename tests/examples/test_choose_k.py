"""The measures by hand, and the table over a few of the demo's questions."""

import pytest

from examples.choose_k import KS, coverage_at, precision_at, smallest_k

RANKING = {"q1": ["a", "b", "c", "d"], "q2": ["e", "f", "g", "h"]}
RELEVANT = {"q1": {"a", "c"}, "q2": {"g", "x"}}


@pytest.mark.parametrize(("k", "precision", "coverage"), [(1, 0.5, 0.5), (2, 0.25, 0.5), (3, 0.5, 1.0)])
def test_precision_and_coverage(k, precision, coverage):
    assert precision_at(k, RANKING, RELEVANT) == pytest.approx(precision)
    assert coverage_at(k, RANKING, RELEVANT) == coverage


@pytest.mark.parametrize(("target", "k"), [(0.5, 1), (0.6, 3), (1.0, 3)])
def test_the_smallest_k_reaches_the_target(target, k):
    assert smallest_k(RANKING, RELEVANT, target=target) == k


def test_no_k_is_enough():
    assert smallest_k(RANKING, {"q1": {"x"}, "q2": {"e"}}, target=0.6) is None


def test_the_table_has_a_row_for_each_k(run_example):
    lines = run_example("choose_k.py", "--questions", "8", "--target", "0.5")
    assert lines[0].split() == ["precision", "coverage"]
    rows = {int(k): list(map(float, values)) for k, *values in map(str.split, lines[3 : 3 + len(KS)])}
    assert tuple(rows) == KS
    *_, before, after = rows[max(KS)]
    assert before == after  # reranking changes the order of the candidates, not which there are
    assert lines[-3] == "The smallest k that covers 50% of 8 questions:"
    assert [line.split(":")[0].strip() for line in lines[-2:]] == ["BM25", "reranked"]
