"""The reranker against ten lines of plain Python, with engines that need no torch."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from rerank import Reranker, ScorerConfig
from rerank.errors import InputError, ModelError
from rerank.prepare import prepare
from rerank.ranking.options import RankingOptions
from tests.fakes import HashEngine, ListedEngine, candidate_sets, hash_logit

MAX_LENGTH = 24

texts = st.sampled_from([None, "", " \u3000", "parcel", "warranty", "returns are free", "🙂", "long " * 30, "[SEP]"])
ids = st.one_of(st.none(), st.sampled_from("abcdefgh"))
candidates = st.one_of(st.none(), st.lists(st.tuples(ids, texts), max_size=8))
tables = st.lists(st.tuples(st.one_of(st.none(), st.sampled_from("xyz")), texts, candidates), max_size=6)


@pytest.fixture(scope="module")
def folder(folder_of):
    return folder_of("bert")


@pytest.fixture(scope="module")
def config(folder):
    return ScorerConfig(model=str(folder), max_length=MAX_LENGTH)


@pytest.fixture(scope="module")
def reranker(config):
    return Reranker(config, engine=HashEngine())


@pytest.fixture(scope="module")
def logit_of(folder):
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(MAX_LENGTH, strategy="longest_first")

    def logit(query: str, text: str) -> float:
        pair = tokenizer.encode(query, text)
        return hash_logit(np.array([pair.ids, pair.type_ids]).T)

    return logit


def reference(row, logit_of, top_k):
    """(doc_id, logit, source_rank) of the ranked, and how many are rejected."""
    query_id, query, documents = row
    found, seen = [], set()
    for source_rank, (doc_id, text) in enumerate(documents or [], start=1):
        sound = query_id is not None and (query or "").strip() and doc_id not in {None, *seen} and (text or "").strip()
        seen.add(doc_id)
        if sound and not np.isnan(logit := logit_of(query, text)):
            found.append((doc_id, logit, source_rank))
    ranked = sorted(found, key=lambda entry: -entry[1])[:top_k]
    return ranked, (len(documents) if documents else 1) - len(found)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(rows=tables, top_k=st.sampled_from([None, 1, 3]), data=st.data())
def test_tables_are_ranked_as_the_reference_does(reranker, logit_of, rows, top_k, data):
    table = candidate_sets(rows)
    cut = data.draw(st.integers(0, len(rows)))
    chunked = pa.concat_tables([table.slice(0, cut), table.slice(cut)])
    out = reranker.rank_table(chunked, options=RankingOptions(top_k))
    expected = [reference(row, logit_of, top_k) for row in rows]
    ranked = [[(e["doc_id"], e["logit"], e["source_rank"]) for e in row] for row in out["candidates"].to_pylist()]
    assert ranked == [row for row, _ in expected]
    assert [[e["rank"] for e in row] for row in out["candidates"].to_pylist()] == [
        list(range(1, len(row) + 1)) for row in ranked
    ]
    assert [len(row) for row in out["rejected"].to_pylist()] == [count for _, count in expected]
    assert out["query_id"].to_pylist() == [row[0] for row in rows]


@settings(max_examples=40)
@given(rows=tables)
def test_nothing_is_lost(reranker, rows):
    """Ranked and rejected are what was read, where a query without candidates is read as one."""
    out = reranker.rank_table(candidate_sets(rows))
    read = sum(len(documents) if documents else 1 for _, _, documents in rows)
    ranked, rejected = (sum(map(len, out[name].to_pylist())) for name in ("candidates", "rejected"))
    assert ranked + rejected == read
    assert sum(usage["pairs_ranked"] for usage in out["usage"].to_pylist()) == ranked


def test_every_block_has_the_same_schema(reranker):
    full = candidate_sets([("q", "a query", [("a", "x"), ("b", None)])])
    expected = reranker.rank_table(full).schema
    none_sound = candidate_sets([("q", None, [("a", "x")])])
    for table in (full.slice(0, 0), none_sound, candidate_sets([("q", "a query", None)])):
        assert reranker.rank_table(table).schema == expected


def test_a_prepared_table_gives_the_same_as_its_source(reranker):
    rows = [("q1", "returns", [("a", "x"), ("b", "parcel")]), ("q2", "warranty", [("c", "long " * 30)])]
    table = candidate_sets(rows)
    columns = ["query_id", "candidates", "rejected"]
    expected = reranker.rank_table(table).select(columns).to_pylist()
    assert reranker.rank_table(prepare(table, reranker.encoder)).select(columns).to_pylist() == expected


def test_ids_keep_their_type_and_columns_of_an_earlier_ranking_are_replaced(reranker):
    entry = {"text": "parcel", "doc_id": 2**40, "url": "u"}
    table = pa.table({"query_id": [7], "lang": ["de"], "query": ["returns"], "candidates": [[entry]]})
    once = reranker.rank_table(prepare(table, reranker.encoder, keep_text=True))
    again = reranker.rank_table(once)
    assert (again["query_id"].to_pylist(), again["lang"].to_pylist()) == ([7], ["de"])
    assert again.column_names == ["query_id", "lang", "candidates", "rejected", "usage"]
    assert list(again["candidates"].to_pylist()[0][0]) == [
        *["doc_id", "rank", "score", "logit", "source_rank", "source_score", "url"]
    ]
    assert again["candidates"].to_pylist()[0][0]["doc_id"] == 2**40


def test_a_logit_that_is_nan_is_rejected_by_name(config):
    table = candidate_sets([("q", "a query", [("a", "x"), ("b", "y"), ("c", "z")])])
    out = Reranker(config, engine=ListedEngine([1.0, float("nan"), 2.0])).rank_table(table)
    assert [entry["doc_id"] for entry in out["candidates"].to_pylist()[0]] == ["c", "a"]
    assert out["rejected"].to_pylist() == [[{"doc_id": "b", "source_rank": 2, "reason": "logit is not finite"}]]


def test_usage_adds_up(config):
    table = candidate_sets([("q", "a query", [("a", "x"), ("b", None)]), ("r", "another", [("a", "x")])])
    usages = Reranker(config, engine=ListedEngine([1.0, float("nan")])).rank_table(table)["usage"].to_pylist()
    total = {name: sum(usage[name] for usage in usages) for name in usages[0]}
    assert (total["pairs_ranked"], total["pairs_scored"]) == (1, 2)
    assert total["tokens"] == total["computed_tokens"] > 0
    assert total["engine_seconds"] >= 0


def test_documents_of_one_query_are_ranked(config):
    result = Reranker(config, engine=ListedEngine([1.0, 3.0, 1.0])).rank("q", ["x", "y", "z"], top_k=2)
    assert [(document.index, document.logit) for document in result.ranked] == [(1, 3.0), (0, 1.0)]
    assert result.ranked[1].score == pytest.approx(0.731059, abs=1e-6)
    assert result.tokens > 0


def test_a_request_and_a_table_agree(reranker):
    documents = ["parcel", "warranty", "returns are free", "long " * 30, "shipping", "rates"]
    table = candidate_sets([("q", "my parcel", list(enumerate(documents)))])
    (row,) = reranker.rank_table(table)["candidates"].to_pylist()
    sound = [place for place, text in enumerate(documents) if place in {entry["doc_id"] for entry in row}]
    result = reranker.rank("my parcel", [documents[place] for place in sound])
    assert [sound[document.index] for document in result.ranked] == [entry["doc_id"] for entry in row]
    assert [document.logit for document in result.ranked] == [entry["logit"] for entry in row]


def test_a_request_whose_score_is_nan_fails(config):
    with pytest.raises(ModelError, match="NaN"):
        Reranker(config, engine=ListedEngine([1.0, float("nan")])).rank("q", ["x", "y"])


@pytest.mark.parametrize(
    ("query", "documents", "top_k", "complaint"),
    [
        (" ", ["x"], None, "query must hold text, got a blank one"),
        ("q", [], None, "documents must hold at least one document, got none"),
        ("q", ["x", "\n"], None, r"documents\[1\] must hold text, got a blank one"),
        ("q", ["x", None], None, r"documents\[1\] must be a string, got None"),
        ("q", ["x", "half \ud83d"], None, r"documents\[1\] must be valid Unicode, got 'half \\ud83d'"),
        ("q", ["x"], 0, "top_k must be at least 1, got 0"),
    ],
)
def test_a_request_that_cannot_be_ranked_is_refused(reranker, query, documents, top_k, complaint):
    with pytest.raises(InputError, match=complaint):
        reranker.rank(query, documents, top_k=top_k)
