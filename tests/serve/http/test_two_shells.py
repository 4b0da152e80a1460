"""The actor class called with a table, as the job does, and over HTTP: the same scores in the same order."""

import asyncio

import numpy as np
import pyarrow as pa
import pytest

from rerank.actor import RerankActor
from rerank.config import ScorerConfig
from rerank.types import RerankRequest

pytestmark = pytest.mark.ray

SETS = [
    (
        "how do I copy a dictionary?",
        [
            "The copy module gives shallow and deep copies of objects.",
            "dict.copy() returns a shallow copy of the dictionary.",
            "Sockets are end points of a connection.",
            "A dictionary maps keys to values. " * 40,
        ],
    ),
    ("sort a list in reverse", ["list.sort(reverse=True) sorts in place.", "Threads share memory.", "é 漢字 🙂"]),
    ("open a file", [f"Page {number} of the manual is about files." for number in range(60)]),
]


@pytest.fixture(scope="module")
def actor():
    return RerankActor(ScorerConfig(dtype="float32", threads=1))


def as_table(sets):
    rows = [
        {
            "query_id": str(row),
            "query": query,
            "candidates": [{"doc_id": str(index), "text": text} for index, text in enumerate(documents)],
        }
        for row, (query, documents) in enumerate(sets)
    ]
    return pa.Table.from_pylist(rows)


def by_table(actor, sets):
    """[(index, score)] of each set, best first."""
    ranked = actor(as_table(sets)).column("candidates").to_pylist()
    return [[(int(place["doc_id"]), place["score"]) for place in candidates] for candidates in ranked]


def by_http(server, sets):
    answers = []
    for query, documents in sets:
        answer = server.post("/v1/rerank", json={"query": query, "documents": documents})
        assert answer.status_code == 200, answer.text
        answers.append([(place["index"], place["relevance_score"]) for place in answer.json()["results"]])
    return answers


@pytest.mark.ray
def test_one_set_at_a_time_is_equal_to_the_bit(server, actor):
    """A score on the wire is the shortest decimal of the float32 in the Parquet file."""
    tables = [by_table(actor, [one])[0] for one in SETS]
    decimals = [[(index, float(str(np.float32(score)))) for index, score in one] for one in tables]
    assert by_http(server, SETS) == decimals


@pytest.mark.ray
def test_a_block_of_sets_ranks_like_its_requests(server, actor):
    """Other neighbours in a batch move a logit by a few units in the last place, and no rank of distinct scores."""
    for table, wire in zip(by_table(actor, SETS), by_http(server, SETS), strict=True):
        scores = dict(table)
        np.testing.assert_allclose([scores[index] for index, _ in wire], [score for _, score in wire], atol=1e-6)
        assert [scores[index] for index, _ in wire] == pytest.approx([score for _, score in table], abs=1e-6)


def test_requests_that_share_batches_rank_like_the_block(actor):
    async def all_at_once():
        requests = [RerankRequest(query, tuple(documents)) for query, documents in SETS]
        return await asyncio.gather(*map(actor.rerank, requests))

    for table, result in zip(by_table(actor, SETS), asyncio.run(all_at_once()), strict=True):
        assert [score for _, score in table] == pytest.approx([place.score for place in result.ranked], abs=1e-6)
        assert sorted(place.index for place in result.ranked) == list(range(len(table)))
