"""The library as a notebook uses it: lists in, tables and DataFrames out, the same numbers as everywhere."""

import subprocess
import sys

import numpy as np
import pytest

from rerank import Reranker, ScorerConfig
from rerank.errors import InputError, ModelError
from tests.fakes import ListedEngine, candidate_sets
from tests.models import CORPUS

QUERIES = ["my parcel arrived damaged", "what does shipping cost", "my parcel arrived damaged"]
DOCUMENTS = [list(CORPUS[:5]), list(CORPUS[3:9]), list(CORPUS[2:4])]


@pytest.fixture(scope="module")
def config(folder_of):
    return ScorerConfig(model=str(folder_of("bert")), device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def reranker(config):
    return Reranker(config)


def test_many_queries_give_what_each_gives_alone(reranker):
    many = reranker.rank_many(QUERIES, DOCUMENTS, top_k=4)
    for found, query, documents in zip(many, QUERIES, DOCUMENTS, strict=True):
        alone = reranker.rank(query, documents, top_k=4)
        assert [document.index for document in found] == [document.index for document in alone]
        np.testing.assert_allclose([d.logit for d in found], [d.logit for d in alone], atol=1e-5)
        assert (found.tokens, found.texts) == (alone.tokens, alone.texts)


def test_many_queries_give_what_the_job_gives(reranker):
    sets = [
        (place, query, list(enumerate(documents)))
        for place, (query, documents) in enumerate(zip(QUERIES, DOCUMENTS, strict=True))
    ]
    rows = reranker.rank_table(candidate_sets(sets))["candidates"].to_pylist()
    frame = reranker.rank_many(QUERIES, DOCUMENTS).to_pandas()
    assert frame["index"].tolist() == [entry["doc_id"] for row in rows for entry in row]
    assert frame["rank"].tolist() == [entry["rank"] for row in rows for entry in row]
    np.testing.assert_allclose(frame["logit"], [entry["logit"] for row in rows for entry in row], atol=1e-5)
    assert frame["query_index"].tolist() == [place for place, row in enumerate(rows) for _ in row]


def test_a_result_is_a_data_frame_and_a_table(config):
    found = Reranker(config, engine=ListedEngine([1.0, 3.0, -1.0])).rank("q <b>", ["x", "y\n  & z", "w"], top_k=2)
    frame = found.to_pandas()
    assert frame.columns.tolist() == ["query", "rank", "score", "logit", "index", "text"]
    assert frame[["rank", "index", "text"]].values.tolist() == [[1, 1, "y\n  & z"], [2, 0, "x"]]
    lines = repr(found).splitlines()
    assert lines[0].startswith("'q <b>': 2 of 3 documents, ")
    assert lines[1].split() == ["rank", "score", "logit", "index", "text"]
    assert lines[2].split() == ["1", "0.9526", "3.000", "1", "y", "&", "z"]
    assert "<caption>q &lt;b&gt;</caption>" in found._repr_html_() and "y &amp; z" in found._repr_html_()
    assert (len(found), found[0].index) == (2, 1)


def test_long_lists_print_short(config):
    texts = [f"document {place} " + "word " * 50 for place in range(30)]
    found = Reranker(config, engine=ListedEngine(np.arange(30.0))).rank("q", texts)
    assert repr(found).splitlines()[-1] == "… and 10 more"
    assert max(map(len, repr(found).splitlines())) < 120
    many = Reranker(config, engine=ListedEngine(np.arange(30.0))).rank_many(["q"] * 30, [[text] for text in texts])
    assert repr(many).splitlines()[0] == "30 queries, 30 documents; the best of each:"
    assert len(repr(many).splitlines()) == 22


def test_no_queries_are_no_rows(reranker):
    many = reranker.rank_many([], [])
    assert (len(many), len(many.to_pandas())) == (0, 0)
    assert "query_index" in many.to_pandas().columns


@pytest.mark.parametrize(
    ("queries", "documents", "sentence"),
    [
        (["a", "b"], [["x"]], "rank_many takes a list of documents for each query, got 1 lists for 2 queries"),
        ("ab", [["x"], ["y"]], "got 2 lists for one string: 'ab'"),
        (["a", "b"], [["x"], "text"], r"documents\[1\] must be a list of strings, got one string: 'text'"),
        (["a", "b"], [["x"], []], r"queries\[1\]: documents must hold at least one document, got none"),
        (["a", "b"], [["x"], [{}]], r"queries\[1\]: documents\[0\] must be a string, got {}"),
    ],
)
def test_what_cannot_be_ranked_is_named(reranker, queries, documents, sentence):
    with pytest.raises(InputError, match=sentence):
        reranker.rank_many(queries, documents)


def test_one_string_is_no_list_of_documents(reranker):
    with pytest.raises(InputError, match="documents must be a list of strings, got one string: 'text'"):
        reranker.rank("q", "text")


def test_a_score_that_is_nan_fails(config):
    with pytest.raises(ModelError, match="NaN"):
        Reranker(config, engine=ListedEngine([1.0, float("nan")])).rank_many(["q", "r"], [["x"], ["y"]])


TWO_STAGES = """
import bm25s
from rerank import Reranker

pages = [{"url": f"/help/{place}", "text": text} for place, text in enumerate(corpus)]
index = bm25s.BM25(corpus=pages)
index.index(bm25s.tokenize([page["text"] for page in pages], show_progress=False), show_progress=False)

query = "how long is the warranty on broken parts"
hits = index.retrieve(bm25s.tokenize(query, show_progress=False), k=8, show_progress=False).documents[0]
ranked = Reranker(model).rank(query, [hit["text"] for hit in hits], top_k=3)
answers = [{**hits[found.index], "rerank_score": found.score} for found in ranked]
"""


def test_the_two_stages_of_the_guides_are_ten_lines(folder_of):
    """Retrieve, rerank, and put `rerank_score` beside what the first stage knows of each document."""
    names = {"corpus": CORPUS, "model": str(folder_of("bert"))}
    exec(TWO_STAGES, names)
    answers = names["answers"]
    assert len([line for line in TWO_STAGES.splitlines() if line and "import" not in line]) <= 10
    assert all(answer.keys() == {"url", "text", "rerank_score"} for answer in answers)
    scores = [answer["rerank_score"] for answer in answers]
    assert len(scores) == 3 and scores == sorted(scores, reverse=True)


def test_pandas_is_imported_when_it_is_asked_for():
    code = "import sys, rerank; print('pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
