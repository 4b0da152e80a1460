"""Measures on a case small enough to work out by hand."""

from math import log2

import pytest

from jobs.evaluation.measures import measure, qrels_of, ranking_of
from rerank.errors import ConfigError

QRELS = {"q1": {"a": 2, "b": 1}, "q2": {"c": 1}}
RANKING = {"q1": ["x", "b", "a"], "q2": ["y", "z"]}


def test_the_defaults_are_worked_out_by_hand() -> None:
    gained = 1 / log2(3) + 2 / log2(4)
    ideal = 2 / log2(2) + 1 / log2(3)
    values = measure(QRELS, RANKING)
    assert list(values) == ["nDCG@10", "RR@10", "R@100"]
    assert values == pytest.approx({"nDCG@10": (gained / ideal + 0) / 2, "RR@10": 0.25, "R@100": 0.5})


def test_cutoffs_and_other_measures_are_taken_as_ir_measures_writes_them() -> None:
    values = measure(QRELS, RANKING, ["RR@1", "P@3", "P(rel=2)@3", "AP"])
    assert values == pytest.approx({"RR@1": 0, "P@3": 1 / 3, "P(rel=2)@3": 1 / 6, "AP": (1 / 2 + 2 / 3) / 2 / 2})


def test_the_order_given_is_the_order_measured() -> None:
    # trec_eval would put z before a at equal scores, and cut a longer ranking by the same rule.
    assert measure({"q": {"a": 1}}, {"q": ["a", "z"]}, ["RR"]) == {"RR": 1.0}
    assert measure({"q": {"z": 1}}, {"q": ["a", "z"]}, ["RR"]) == {"RR": 0.5}
    deep = [f"d{place:05}" for place in range(5_000)]
    assert measure({"q": {"d00000": 1}}, {"q": deep}, ["RR"]) == {"RR": 1.0}


def test_a_judged_query_without_documents_counts_and_an_unjudged_one_does_not() -> None:
    assert measure({"q1": {"a": 1}, "q2": {"b": 1}}, {"q1": ["a"]}, ["RR@10"]) == {"RR@10": 0.5}
    assert measure({"q1": {"a": 1}}, {"q1": ["a"], "q9": ["a"]}, ["RR@10"]) == {"RR@10": 1.0}


@pytest.mark.parametrize("name", ["nDCG_at_10", "nonsense@10", "nDCG@ten", "nDCG@10; R@5", "nDCG(beta=3)", "", "P@"])
def test_a_name_that_ir_measures_does_not_know_is_an_error(name: str) -> None:
    with pytest.raises(ConfigError, match=r"such as nDCG@10, RR@10, R@100; got"):
        measure(QRELS, RANKING, [name])


def test_rows_become_rankings_and_qrels() -> None:
    assert ranking_of([("q", "b", 2), ("q", "a", 1), ("p", "c", 1)]) == {"q": ["a", "b"], "p": ["c"]}
    assert qrels_of([("q", "a", 2), ("q", "b", 1)]) == {"q": {"a": 2, "b": 1}}
