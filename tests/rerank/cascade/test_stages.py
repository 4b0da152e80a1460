"""Cascades that cannot be: one sentence each."""

import pytest

from rerank.cascade.stages import StagePlan, check_stages
from rerank.errors import ConfigError


@pytest.mark.parametrize(
    ("stages", "complaint"),
    [
        ([("a", 5)], "here: a cascade must have at least 2 stages, got 1"),
        ([], "here: a cascade must have at least 2 stages, got 0"),
        ([("a", None), ("b", 5)], "here: stage 1 (a) must say how many candidates it keeps; only the last stage may"),
        ([("a", 10), ("b", 20)], "here: stage 2 (b) must keep at most the 10 candidates that it gets, got 20"),
        ([("a", 10), ("b", 5), ("c", 6)], "here: stage 3 (c) must keep at most the 5 candidates that it gets, got 6"),
        ([("a", 10), ("b", 5), ("a", 2)], "here: stages 1 and 3 have the same model 'a'; each stage must have another"),
    ],
)
def test_a_cascade_that_cannot_be_is_one_sentence(stages: list[tuple[str, int | None]], complaint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        check_stages([StagePlan(*stage) for stage in stages], source="here")
    assert str(refused.value).startswith(complaint)


def test_the_last_stage_may_keep_all_or_fewer() -> None:
    check_stages([StagePlan("a", 10), StagePlan("b", 10), StagePlan("c", None)], source="here")
    check_stages([StagePlan("a", 10), StagePlan("b", 3)], source="here")
