"""Isolation without Ray: deaths are exceptions that no handler of ours catches, and the block comes again."""

import numpy as np
import pytest

from rerank import Reranker, ScorerConfig
from rerank.engines import Scores
from rerank.errors import EngineLostError, ModelError
from rerank.isolation.attempts import ScoringAttempts
from rerank.isolation.pace import Pace
from rerank.prepare import prepare
from rerank.store import ScoreStore, look_up_recent
from rerank.store.folder import open_folder
from rerank.tables.prepared import look_up_again
from tests.fakes import candidate_sets

TABLE = candidate_sets([(f"q{q}", "returns", [(d, "x " * (1 + (q + d) % 9)) for d in range(40)]) for q in range(9)])


class Death(BaseException):
    """Stands in for SIGKILL: nothing below the test catches it."""


class Engine:
    """Fails where a pair reads a fault."""

    description = {"engine": "fails"}  # noqa: RUF012
    lanes = None

    def __init__(self, problem=None, fault=23):
        self.problem, self.fault, self.calls = problem, fault, []

    def score(self, pairs):
        self.calls.append(len(pairs))
        if self.problem is not None and self.fault in pairs.document_lengths:
            raise self.problem
        return Scores(pairs.lengths.astype(np.float32), int(pairs.lengths.sum()))


def with_faults(*places):
    rows = TABLE.to_pylist()
    for query, document in places:
        rows[query]["candidates"][document]["text"] = "x " * 23
    return candidate_sets(
        [(r["query_id"], r["query"], [(c["doc_id"], c["text"]) for c in r["candidates"]]) for r in rows]
    )


@pytest.fixture
def config(folder_of):
    return ScorerConfig(model=str(folder_of("bert")))


@pytest.fixture
def attempts(tmp_path):
    return ScoringAttempts(open_folder(str(tmp_path / "attempts")))


def refused(ranked):
    return [
        (query, entry["doc_id"], entry["reason"])
        for query, row in enumerate(ranked["rejected"].to_pylist())
        for entry in row
    ]


def until_alive(config, engine, table, **settings):
    """Rank the block as often as its process dies; gives the result and the deaths."""
    for deaths in range(100):
        try:
            return Reranker(config, engine=engine).rank_table(table, **settings), deaths
        except Death:
            continue
    raise AssertionError("dies for ever")


def test_a_pair_that_the_engine_fails_on_is_rejected_alone(config):
    engine = Engine(ValueError("no"))
    ranked = Reranker(config, engine=engine).rank_table(with_faults((3, 7), (8, 39)))
    assert refused(ranked) == [(3, 7, "the engine failed on it"), (8, 39, "the engine failed on it")]
    whole = Reranker(config, engine=Engine()).rank_table(TABLE)
    assert ranked["candidates"][1] == whole["candidates"][1]
    assert len(ranked["candidates"][3]) == len(ranked["candidates"][8]) == 39
    assert sum(engine.calls) < 2 * 360 + 100


def test_an_engine_that_fails_always_rejects_all_and_ends(config):
    engine = Engine(ValueError("no"), fault=1)
    table = candidate_sets([("q", "returns", [(d, "x") for d in range(64)])])
    ranked = Reranker(config, engine=engine).rank_table(table)
    assert len(refused(ranked)) == 64
    assert len(engine.calls) == 1 + 16 + 64


@pytest.mark.parametrize("problem", [ModelError("bad"), EngineLostError("gone")])
def test_our_own_errors_are_not_about_a_pair(config, problem):
    with pytest.raises(type(problem)):
        Reranker(config, engine=Engine(problem)).rank_table(with_faults((0, 0)))


def test_a_pair_that_kills_is_found_in_few_deaths(config, attempts):
    table = with_faults((3, 7))
    ranked, deaths = until_alive(config, Engine(Death()), table, attempts=attempts)
    assert refused(ranked) == [(3, 7, "scoring it killed the worker")]
    assert deaths == 5  # of 360 pairs, of 23, of 2, and two of the pair


def test_a_block_that_comes_again_is_not_died_of_again(config, attempts):
    table = with_faults((3, 7), (3, 8), (7, 1))
    first, deaths = until_alive(config, Engine(Death()), table, attempts=attempts)
    again, more = until_alive(config, Engine(Death()), table, attempts=attempts)
    assert deaths <= 3 * 5
    assert more == 0
    assert again.drop_columns(["usage"]).equals(first.drop_columns(["usage"]))


def test_a_death_by_chance_rejects_nothing(config, attempts):
    class Once(Engine):
        def score(self, pairs):
            if not self.calls:
                self.calls.append(0)
                raise Death
            return super().score(pairs)

    for table in (TABLE, TABLE.slice(0, 1), candidate_sets([("q", "alone", [("a", "x")])])):
        ranked, deaths = until_alive(config, Once(), table, attempts=attempts)
        assert deaths == 1
        assert refused(ranked) == []
    assert attempts.folder.listing() == []


def test_pieces_are_stored_at_once_and_not_scored_again(config, attempts, tmp_path):
    table = with_faults((3, 7))
    store = ScoreStore(str(tmp_path / "scores"), "model")
    reranker = Reranker(config)
    prepared = prepare(table, reranker.encoder, lookup=_knows_nothing)
    scored = 0
    for _ in range(9):
        recent = look_up_recent(store, after_part="")
        engine = Engine(Death())
        try:
            block = prepared if recent is None else look_up_again(prepared, recent)
            ranked = Reranker(config, engine=engine).rank_table(block, save_scores=store.append, attempts=attempts)
        except Death:
            scored += sum(engine.calls[:-1])
            continue
        scored += sum(engine.calls)
        break
    assert refused(ranked) == [(3, 7, "scoring it killed the worker")]
    distinct = 9  # texts that differ; a pair that was scored is known in every query
    assert scored <= 360 + distinct


def _knows_nothing(keys):
    from rerank.store import StoredScores

    return StoredScores(
        np.full(len(keys), np.nan, dtype=np.float32), np.zeros(len(keys), dtype=np.int32), np.zeros(len(keys), bool)
    )


def test_a_recent_score_makes_no_candidate_of_what_was_refused(config, tmp_path):
    table = candidate_sets([("q", "returns", [("a", "x"), ("a", "x"), ("b", "y")])])
    store = ScoreStore(str(tmp_path / "scores"), "model")
    reranker = Reranker(config, engine=Engine())
    prepared = prepare(table, reranker.encoder, lookup=_knows_nothing)
    expected = reranker.rank_table(prepared, save_scores=store.append)
    known = look_up_again(prepared, look_up_recent(store, after_part=""))
    again = reranker.rank_table(known)
    assert again.drop_columns(["usage"]).equals(expected.drop_columns(["usage"]))
    assert [usage["store_hits"] for usage in again["usage"].to_pylist()] == [2]
    assert look_up_recent(store, after_part="part-z") is None


def test_progress_is_told_slice_by_slice_and_goes_on_where_a_slice_fails(config):
    told, engine = [], Engine()
    ranked = Reranker(config, engine=engine).rank_table(TABLE, on_progress=told.append)
    assert told == [0, 90, 270]  # 0 where scoring begins; a quarter tells that the engine is fast
    assert engine.calls == told[1:]
    assert ranked["candidates"].equals(Reranker(config, engine=Engine()).rank_table(TABLE)["candidates"])

    told.clear()
    rows = [("q", "returns", [(d, "x " * (1 + d % 7 + 18 * (d == 200))) for d in range(360)])]
    failing = Engine(ValueError("no"))
    ranked = Reranker(config, engine=failing).rank_table(candidate_sets(rows), on_progress=told.append)
    assert refused(ranked) == [(0, 200, "the engine failed on it")]
    assert told[:2] == [0, 90]
    assert sum(told) == 359
    assert sum(failing.calls[1:]) <= 2 * 270 + 2 * 23  # what was scored is not scored again

    told.clear()
    failing = Engine(ValueError("no"), fault=1)  # in every slice
    ranked = Reranker(config, engine=failing).rank_table(TABLE, on_progress=told.append)
    assert sum(told) == 360 - len(refused(ranked)) == 320


def test_a_block_is_one_slice_once_the_model_is_known_to_be_fast(config):
    told, engine = [], Engine()
    reranker = Reranker(config, engine=engine)
    for _ in range(2):
        reranker.rank_table(TABLE, on_progress=told.append)
    assert engine.calls == [90, 270, 360]
    assert told == [0, 90, 270, 0, 360]


def test_slices_are_stored_at_once(config, tmp_path):
    store = ScoreStore(str(tmp_path / "scores"), "model")
    reranker = Reranker(config)
    prepared = prepare(TABLE, reranker.encoder, lookup=_knows_nothing)

    class InTheSecondSlice(Engine):
        def score(self, pairs):
            if len(self.calls) == 1:
                raise Death
            return super().score(pairs)

    with pytest.raises(Death):
        Reranker(config, engine=InTheSecondSlice()).rank_table(
            prepared, save_scores=store.append, on_progress=lambda _: None
        )
    engine = Engine()
    again = Reranker(config, engine=engine).rank_table(look_up_again(prepared, look_up_recent(store, after_part="")))
    assert sum(engine.calls) <= 270
    assert again["candidates"].equals(Reranker(config, engine=Engine()).rank_table(prepared)["candidates"])


def test_an_engine_of_known_pace_gets_what_it_scores_in_some_seconds():
    pace, lengths = Pace(), np.full(1_000, 100)
    assert pace.next_slice(lengths) == 250
    assert pace.next_slice(np.full(32_768, 100)) == 2_048
    pace.note(tokens=10_000, seconds=1.0)  # ten seconds for all
    assert pace.next_slice(lengths) == 500
    assert pace.next_slice(lengths[:500]) == 500
    assert pace.next_slice(np.where(np.arange(1_000) < 100, 800, 22)) == 63 + 1  # as many tokens, of few pairs
    pace.note(tokens=100, seconds=9.0)
    assert pace.next_slice(lengths) == pace.next_slice(lengths[:200]) == 64
    assert pace.next_slice(lengths[:127]) == 127
    pace.note(tokens=10_000, seconds=0.0)
    assert pace.next_slice(lengths) == 1_000


def test_few_pairs_are_one_slice(config):
    told = []
    Reranker(config, engine=Engine()).rank_table(TABLE.slice(0, 3), on_progress=told.append)
    assert told == [0, 120]
