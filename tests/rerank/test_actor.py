"""The actor as Ray Data sees it: a callable from tables to tables."""

import asyncio
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from rerank.actor import RerankActor
from rerank.config import ScorerConfig
from rerank.engines import Scores
from rerank.errors import EngineLostError, InputError, ModelError, UnavailableError
from rerank.fingerprint import pin
from rerank.ranking.options import RankingOptions
from rerank.types import RerankRequest
from tests.fakes import candidate_sets


class LongestFirst:
    """Six lines that stand in for a model: the more tokens, the better."""

    description = {"engine": "longest-first"}  # noqa: RUF012
    lanes = None

    def score(self, pairs):
        return Scores(pairs.lengths.astype(np.float32) - 10, int(pairs.lengths.sum()))


class ByContent(LongestFirst):
    """A logit that depends on all ids of a pair and on their order."""

    def score(self, pairs):
        rows = [pairs.join(np.array([row]))[0] for row in range(len(pairs))]
        logits = [float(np.arange(1, len(ids) + 1) @ ids % 997) for ids in rows]
        return Scores(np.array(logits, dtype=np.float32), sum(map(len, rows)))


TABLE = candidate_sets(
    [("q1", "returns", [("a", "x"), ("b", "x y z"), ("c", "x y"), ("d", None)]), ("q2", "rates", [("a", "x")])]
)


@pytest.fixture(scope="module")
def config(folder_of):
    return ScorerConfig(model=str(folder_of("bert")))


def ids(table) -> list[list[str]]:
    return [[entry["doc_id"] for entry in row] for row in table["candidates"].to_pylist()]


def test_a_block_is_ranked_query_by_query(config):
    ranked = RerankActor(config, engine=LongestFirst())(TABLE)
    assert ids(ranked) == [["b", "c", "a"], ["a"]]
    assert [len(row) for row in ranked["rejected"].to_pylist()] == [1, 0]


def test_the_ranking_options_are_the_actors(config):
    assert ids(RerankActor(config, engine=LongestFirst(), options=RankingOptions(top_k=1))(TABLE)) == [["b"], ["a"]]
    cut = RerankActor(config, engine=LongestFirst(), options=RankingOptions(min_score=0.0))(TABLE)
    assert ids(cut) == [["b", "c", "a"], ["a"]]
    assert ids(RerankActor(config, engine=LongestFirst(), options=RankingOptions(min_score=1.0))(TABLE)) == [[], []]


def test_each_ranked_block_is_shown(config):
    seen = []
    actor = RerankActor(config, engine=LongestFirst(), on_block=seen.append)
    assert [actor(TABLE), actor(TABLE.slice(1))] == seen


def test_the_description_names_what_runs(config):
    description = RerankActor(config, engine=LongestFirst()).describe()
    assert description["engine"] == "longest-first"
    assert description["max_length"] == 96


def test_a_lost_engine_fails_the_health_check_and_blames_one_batch(config):
    class Lost(LongestFirst):
        gone = False

        def score(self, pairs):
            if self.gone:
                raise EngineLostError("the device answers no more")
            return super().score(pairs)

    engine, request = Lost(), RerankRequest("returns", ("x", "x y"))
    actor = RerankActor(config, engine=engine)

    async def scenario():
        assert [found.index for found in (await actor.rerank(request)).ranked] == [1, 0]
        actor.check_health()
        engine.gone = True
        with pytest.raises(EngineLostError, match="answers no more"):
            await actor.rerank(request)
        with pytest.raises(UnavailableError, match="engine was lost, a new one is started"):
            await actor.rerank(request)
        with pytest.raises(EngineLostError, match="answers no more"):
            actor.check_health()

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_a_query_for_each_document_gives_what_single_requests_give(config):
    rows = [("returns", "x y"), ("rates", "x"), ("returns", "x y z"), ("how long", "x y")]
    actor = RerankActor(config, engine=ByContent())

    async def scenario():
        queries, documents = zip(*rows, strict=True)
        together = actor.rerank(RerankRequest(queries, documents))
        alone = (actor.rerank(RerankRequest(query, (document,))) for query, document in rows)
        return await asyncio.gather(together, *alone)

    together, *alone = asyncio.run(asyncio.wait_for(scenario(), 60))
    assert {document.index: document.logit for document in together.ranked} == {
        row: result.ranked[0].logit for row, result in enumerate(alone)
    }
    assert together.tokens == sum(result.tokens for result in alone)
    assert len({result.ranked[0].logit for result in alone}) == 4


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (("a", "b"), r"query must be one text or as many as documents \(3\), got 2"),
        (("a", " ", "c"), r"query\[1\] must hold text"),
        ((), r"query must be one text or as many as documents \(3\), got 0"),
        (["a", "b", "c"], "query must be a string"),
    ],
)
def test_queries_must_be_one_text_or_one_for_each_document(query, message):
    with pytest.raises(InputError, match=message):
        RerankRequest(query, ("x", "y", "z"))


@pytest.fixture
def folder(folder_of, tmp_path) -> Path:
    shutil.copytree(folder_of("bert"), tmp_path / "model")
    return tmp_path / "model"


def _change(folder: Path) -> None:
    vocabulary = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(vocabulary.replace('"lowercase": true', '"lowercase": false') + " ")


def _lose_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize("damage", [_change, _lose_weights])
def test_another_model_than_the_one_that_was_fingerprinted_scores_nothing(folder, damage):
    """Whether it can be loaded or not: the error says that the files are others."""
    pinned = pin(ScorerConfig(model=str(folder), device="cpu"))
    damage(folder)
    message = f"^'{folder}' on .+ is another model: it has the content files:.+, expected {pinned.content}; "
    with pytest.raises(ModelError, match=message):  # a replica
        RerankActor(pinned)
    saved = []
    actor = RerankActor(pinned, preload=False)  # of a job
    actor._save_scores = lambda *scores: saved.append(scores)
    for _ in range(2):
        with pytest.raises(ModelError, match=message):
            actor(TABLE)
    assert not saved


def test_an_actor_of_a_job_imports_its_engine_before_pairs_come(folder, monkeypatch):
    imported = []
    monkeypatch.setattr("rerank.reranker.import_engine", imported.append)
    actor = RerankActor(ScorerConfig(model=str(folder), device="cpu"), preload=False)
    assert ids(actor(TABLE))
    assert len(imported) == 1


def test_a_folder_is_read_once_per_actor(folder, monkeypatch):
    reads = []
    monkeypatch.setattr("rerank.reranker.check_content", reads.append)
    pinned = pin(ScorerConfig(model=str(folder), device="cpu"))
    actor = RerankActor(pinned, preload=False)
    assert reads == []
    assert ids(actor(TABLE)) == ids(actor(TABLE))
    assert reads == [pinned]


def test_the_commit_that_was_fingerprinted_is_loaded_when_the_branch_moves(folder, hub):
    first, second = (hub / "snapshots" / (letter * 40) for letter in "ab")
    shutil.copytree(folder, first, dirs_exist_ok=True)
    pinned = pin(ScorerConfig(model="acme/ranker", device="cpu"))
    shutil.copytree(folder, second)
    config = json.loads((second / "config.json").read_text())
    (second / "config.json").write_text(json.dumps(config | {"layer_norm_eps": 0.5}))  # other logits
    (hub / "refs" / "main").write_text("b" * 40)

    def logits(config: ScorerConfig) -> list[list[float]]:
        rows = RerankActor(config)(TABLE)["candidates"].to_pylist()
        return [[candidate["logit"] for candidate in row] for row in rows]

    of_first, of_second = (logits(ScorerConfig(model=str(path), device="cpu")) for path in (first, second))
    assert of_first != of_second
    assert logits(pinned) == of_first
    assert logits(ScorerConfig(model="acme/ranker", device="cpu")) == of_second
