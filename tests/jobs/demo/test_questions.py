"""The questions are many, distinct and answered by documents that the running Python really has."""

from collections import Counter

import pyarrow as pa

from jobs.demo.first_stage import QRELS_SCHEMA, QUESTIONS_SCHEMA, load_qrels, load_questions


def test_every_answer_is_a_document_of_this_python(corpus: pa.Table) -> None:
    assert set(load_qrels()["doc_id"].to_pylist()) - set(corpus["doc_id"].to_pylist()) == set()


def test_questions_are_many_and_distinct() -> None:
    questions = load_questions()
    assert questions.schema.equals(QUESTIONS_SCHEMA)
    assert questions.num_rows >= 80
    assert len(set(questions["query_id"].to_pylist())) == questions.num_rows
    assert len({query.casefold() for query in questions["query"].to_pylist()}) == questions.num_rows
    assert all(query == query.strip() and len(query.split()) >= 4 for query in questions["query"].to_pylist())


def test_every_question_has_an_answer_and_every_grade_is_one_or_two() -> None:
    qrels = load_qrels()
    best = Counter(row["query_id"] for row in qrels.to_pylist() if row["relevance"] == 2)
    assert qrels.schema.equals(QRELS_SCHEMA)
    assert set(qrels["relevance"].to_pylist()) == {1, 2}
    assert set(best) == set(load_questions()["query_id"].to_pylist())


def test_answers_are_spread_over_the_library() -> None:
    assert len({doc_id.partition(".")[0] for doc_id in load_qrels()["doc_id"].to_pylist()}) >= 35


def test_no_question_names_its_answer() -> None:
    answers = {row["query_id"]: row["doc_id"] for row in load_qrels().to_pylist() if row["relevance"] == 2}
    named = [row for row in load_questions().to_pylist() if answers[row["query_id"]] in row["query"]]
    assert named == []
