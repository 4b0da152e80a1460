"""BM25 candidate sets: in order, of the right layout, and found by the words a name is made of."""

import pyarrow as pa
import pytest

from jobs.demo.first_stage import CANDIDATE_SETS_SCHEMA, load_questions, retrieve
from rerank.errors import ConfigError

DOCUMENTS = pa.table(
    {
        "doc_id": ["weakref.WeakSet", "os.copy_file_range", "math.gcd", "math.lcm"],
        "text": [
            "weakref.WeakSet(data=None)\nHolds its members loosely.",
            "os.copy_file_range(src, dst, count)\nMoves bytes about.",
            "math.gcd(*integers)\nGreatest common divisor.",
            "math.lcm(*integers)\nLeast common multiple.",
        ],
    }
)


def found(query: str, depth: int = 100) -> list[str]:
    questions = pa.table({"query_id": ["q1"], "query": [query]})
    (row,) = retrieve(DOCUMENTS, questions, depth=depth).to_pylist()
    return [candidate["doc_id"] for candidate in row["candidates"]]


def test_names_come_apart_at_dots_underscores_and_humps() -> None:
    assert found("which set is weak?") == ["weakref.WeakSet"]
    assert found("copy a range of a file") == ["os.copy_file_range"]
    assert found("WEAKREF") == ["weakref.WeakSet"]


def test_equal_scores_stand_in_corpus_order_and_depth_cuts() -> None:
    assert found("common integers") == ["math.gcd", "math.lcm"]
    assert found("common integers", depth=1) == ["math.gcd"]


def test_a_question_without_a_known_word_has_no_candidates() -> None:
    assert found("zebra") == []
    assert found("how do I?") == []


def test_questions_keep_their_own_candidates() -> None:
    questions = pa.table({"query_id": ["a", "b", "c"], "query": ["weak", "zebra", "divisor"]})
    rows = retrieve(DOCUMENTS, questions).to_pylist()
    assert [[candidate["doc_id"] for candidate in row["candidates"]] for row in rows] == [
        ["weakref.WeakSet"],
        [],
        ["math.gcd"],
    ]
    assert rows[2]["candidates"][0]["text"].startswith("math.gcd")


def test_depth_must_be_positive() -> None:
    with pytest.raises(ConfigError, match="depth must be at least 1, got 0"):
        found("weak", depth=0)


def test_the_demo_gets_at_most_a_hundred_sorted_candidates_a_question(corpus: pa.Table) -> None:
    questions = load_questions()
    sets = retrieve(corpus, questions)
    assert sets.schema.equals(CANDIDATE_SETS_SCHEMA)
    assert sets.select(["query_id", "query"]).equals(questions)
    for candidates in sets["candidates"].to_pylist():
        scores = [candidate["score"] for candidate in candidates]
        assert 0 < len(candidates) <= 100
        assert scores == sorted(scores, reverse=True)
        assert scores[-1] > 0
        assert len({candidate["doc_id"] for candidate in candidates}) == len(candidates)
    assert retrieve(corpus, questions).equals(sets)
