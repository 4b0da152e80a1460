"""Columns of the input that are called like columns of a result get names that are free."""

import pytest

from rerank.ranking.output_columns import renamed_fields, renamed_query_columns


@pytest.mark.parametrize(
    ("names", "renamed"),
    [
        (["doc_id", "text", "url"], {}),
        (["rank", "logit"], {"rank": "input_rank", "logit": "input_logit"}),
        (["score"], {}),
        (["source_score"], {}),
        (["score", "source_score"], {"source_score": "input_source_score"}),
        (["rank", "input_rank"], {"rank": "input_input_rank"}),
        (["input_rank", "rank", "input_input_rank"], {"rank": "input_input_input_rank"}),
        (["query_id", "query"], {"query_id": "input_query_id", "query": "input_query"}),
    ],
)
def test_names_of_candidate_columns(names: list[str], renamed: dict[str, str]) -> None:
    assert renamed_fields(names) == renamed


@pytest.mark.parametrize(
    ("names", "renamed"),
    [
        (["query_id", "query", "lang"], {}),
        (["usage", "rejected"], {"usage": "input_usage", "rejected": "input_rejected"}),
        (["text"], {"text": "input_text"}),
        (["_x"], {"_x": "input__x"}),
    ],
)
def test_names_of_query_columns(names: list[str], renamed: dict[str, str]) -> None:
    assert renamed_query_columns(names, internal=["_x"]) == renamed


def test_a_documents_score_is_not_the_first_stages() -> None:
    assert renamed_fields(["score", "source_score"], has_scores=False) == {
        "score": "input_score",
        "source_score": "input_source_score",
    }
