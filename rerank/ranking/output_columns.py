"""Names of the columns that a result has, and what columns of the input are called that have such a name."""

from collections.abc import Collection, Iterable

from rerank.ranking.candidates import CANDIDATES
from rerank.ranking.rank import SOURCE_SCORE

REJECTED = "rejected"  # column of queries: the candidates that could not be scored
USAGE = "usage"  # column of queries: what scoring them took

# Each feature that adds a column to results has its name here: of candidates, or of queries.
_OF_FEATURES = ("passages", "best_passage", "stage", "stage_logits")
CANDIDATE_COLUMNS = ("rank", "score", "logit", "source_rank", SOURCE_SCORE, *_OF_FEATURES)
QUERY_COLUMNS = (CANDIDATES, REJECTED, USAGE)

_PREFIX = "input_"


def renamed_fields(names: Iterable[str], *, internal: Collection[str] = (), has_scores: bool = True) -> dict[str, str]:
    """Return the new names of those candidate columns of an input that have a name of a result or of a query.

    `has_scores`: their `score` is that of the first stage and becomes `source_score`, or else is `source_score`
    already. `internal` are further names that are taken.
    """
    names = list(names)
    taken = {*CANDIDATE_COLUMNS, "query_id", "query", *internal}
    if has_scores:
        taken.remove("score" if "score" in names else SOURCE_SCORE)
    return _renamed(names, taken)


def renamed_query_columns(names: Iterable[str], *, internal: Collection[str] = ()) -> dict[str, str]:
    """Return the new names of those query columns of an input that have a name of a result or of a candidate's text.

    Of other columns that queries and candidates share, `CandidateSets.to_rows` renames the query's.
    """
    return _renamed(list(names), {*QUERY_COLUMNS, "text", *internal})


def _renamed(names: list[str], taken: Collection[str]) -> dict[str, str]:
    """Return old name → `input_` and the old name; the prefix is repeated while another column has that name."""
    in_use, renamed = {*names, *taken}, {}
    for name in names:
        if name in taken:
            new_name = f"{_PREFIX}{name}"
            while new_name in in_use:
                new_name = f"{_PREFIX}{new_name}"
            in_use.add(new_name)
            renamed[name] = new_name
    return renamed
