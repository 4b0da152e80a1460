"""Candidates that bring vectors rank as the texts do from which the model made these vectors."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from rerank import Reranker
from rerank.config import ScorerConfig
from rerank.errors import InputError
from rerank.prepare import prepare
from rerank.ranking.vectors import VectorFormat
from rerank.store import StoredScores
from rerank.tables.prepared import look_up_again
from tests.models import CORPUS
from tests.text_models import make_late_interaction, make_pylate, make_stanford, make_vectors

QUERIES = {"q1": "How do I return a parcel?", "q2": CORPUS[1]}
DOCUMENTS = [*CORPUS, CORPUS[0], "short"]  # two are equal
KINDS = ("tokens", "mean of tokens", "pylate", "stanford", "vectors", "narrow vectors")


@pytest.fixture(scope="module", params=KINDS)
def model(request, folder_of, tmp_path_factory):
    """A model: its reranker, its kind of output and what it makes of the documents."""
    folder, body = tmp_path_factory.mktemp("model") / "model", folder_of("bert")
    {
        "tokens": lambda: make_late_interaction(body, folder),
        "mean of tokens": lambda: make_late_interaction(body, folder, similarity="meanmaxsim"),
        "pylate": lambda: make_pylate(body, folder, settings={}),
        "stanford": lambda: make_stanford(folder_of("xlm-roberta"), folder, metadata={"dim": 16}),
        "vectors": lambda: make_vectors(body, folder),
        "narrow vectors": lambda: make_vectors(body, folder, dense=True),
    }[request.param]()
    reranker = Reranker(ScorerConfig(model=str(folder), dtype="float32", device="cpu"))
    texts = reranker.encoder.encode_texts(DOCUMENTS, is_query=False)
    vectors = [each.tolist() for each in reranker.engine.vectors(texts)]
    return SimpleNamespace(reranker=reranker, is_single=reranker.encoder.output == "dense", vectors=vectors)


def table(model, kind: pa.DataType | None, *, texts=DOCUMENTS, vectors=None) -> pa.Table:
    """Both queries with all documents; `kind` is the type of their vectors, None: they bring none."""
    brought = model.vectors if vectors is None else vectors
    if kind is not None and pa.types.is_floating(kind.value_type):
        brought = [None if each is None else each[0] for each in brought]
    columns = {"doc_id": pa.array(range(len(DOCUMENTS)))}
    columns |= {} if texts is None else {"text": pa.array(texts, pa.string())}
    columns |= {} if kind is None else {"vectors": pa.array(brought, kind)}
    structs = pa.StructArray.from_arrays(list(columns.values()), list(columns))
    lists = pa.ListArray.from_arrays([0, len(DOCUMENTS), 2 * len(DOCUMENTS)], pa.concat_arrays([structs, structs]))
    return pa.table({"query_id": list(QUERIES), "query": list(QUERIES.values()), "candidates": lists})


def assert_equal(ranked: pa.Table, expected: pa.Table, *, tolerance: float = 1e-5) -> None:
    for row, expected_row in zip(ranked["candidates"].to_pylist(), expected["candidates"].to_pylist(), strict=True):
        logits, expected_logits = ({entry["doc_id"]: entry["logit"] for entry in each} for each in (row, expected_row))
        assert logits.keys() == expected_logits.keys()
        for doc_id, logit in logits.items():
            assert logit == pytest.approx(expected_logits[doc_id], abs=tolerance)
        if tolerance <= 1e-5:
            assert [entry["doc_id"] for entry in row] == [entry["doc_id"] for entry in expected_row]


def types_of(model) -> list[pa.DataType]:
    width = model.reranker.encoder.vector_format.width
    kinds = [
        pa.list_(pa.list_(pa.float32())),
        pa.list_(pa.list_(pa.float32(), width)),
        pa.large_list(pa.list_(pa.float64())),
    ]
    return [*kinds, pa.list_(pa.float32()), pa.list_(pa.float32(), width)] if model.is_single else kinds


def test_the_files_say_how_wide_the_vectors_are(model):
    assert model.reranker.encoder.vector_format == VectorFormat(len(model.vectors[0][0]), model.is_single)


def test_vectors_rank_as_their_texts_do(model):
    expected = model.reranker.rank_table(table(model, None))
    for kind in types_of(model):
        for texts in (DOCUMENTS, None, [None] * len(DOCUMENTS)):
            ranked = model.reranker.rank_table(table(model, kind, texts=texts))
            assert_equal(ranked, expected)
            assert {"vectors", "text"}.isdisjoint(ranked["candidates"].to_pylist()[0][0])
    entries = {entry["doc_id"]: entry["logit"] for entry in ranked["candidates"].to_pylist()[0]}
    assert entries[0] == entries[len(CORPUS)]  # equal vectors have equal logits, to the last bit


def test_float16_moves_logits_by_rounding_only(model):
    ranked = model.reranker.rank_table(table(model, pa.list_(pa.list_(pa.float16())), texts=None))
    assert_equal(ranked, model.reranker.rank_table(table(model, None)), tolerance=5e-3 * len(model.vectors[0]))


def test_documents_with_vectors_are_not_encoded(model):
    model.reranker.engine.forget()
    ranked = model.reranker.rank_table(table(model, pa.list_(pa.list_(pa.float32()))))
    assert ranked["usage"].to_pylist()[0]["texts"] == len(QUERIES)


def test_texts_and_vectors_mix(model):
    vectors = [None if at % 3 else each for at, each in enumerate(model.vectors)]
    texts = [text if at % 3 else None for at, text in enumerate(DOCUMENTS)]
    mixed = table(model, pa.list_(pa.list_(pa.float32())), texts=texts, vectors=vectors)
    assert_equal(model.reranker.rank_table(mixed), model.reranker.rank_table(table(model, None)))


def test_what_cannot_be_compared_is_rejected(model):
    vectors = [*model.vectors[:-3], None, [model.vectors[0][0][:-1]], [[float("nan")] * len(model.vectors[0][0])]]
    broken = table(model, pa.list_(pa.list_(pa.float32())), texts=None, vectors=vectors)
    ranked = model.reranker.rank_table(broken)
    last = len(DOCUMENTS)
    reasons = [
        {"doc_id": last - 3, "source_rank": last - 2, "reason": "text and vectors are null"},
        {"doc_id": last - 2, "source_rank": last - 1, "reason": "vectors are not as wide as those of the model"},
        {"doc_id": last - 1, "source_rank": last, "reason": "vectors hold NaN or infinity"},
    ]
    assert ranked["rejected"].to_pylist() == [reasons, reasons]
    assert [len(row) for row in ranked["candidates"].to_pylist()] == [last - 3] * 2


def test_vectors_travel_with_the_texts_only(model):
    with_vectors = table(model, pa.list_(pa.list_(pa.float32())))
    kept = model.reranker.rank_table(prepare(with_vectors, model.reranker.encoder, keep_text=True))
    best = kept["candidates"].to_pylist()[0][0]
    assert best["text"] == DOCUMENTS[best["doc_id"]]
    assert best["vectors"] == model.vectors[best["doc_id"]]


def test_stored_logits_are_found_by_the_vectors(model):
    stored: dict[bytes, float] = {}

    def save(hashes, logits, tokens):
        stored.update(zip(map(bytes, hashes), logits.tolist(), strict=True))

    def look_up(hashes) -> StoredScores:
        logits = np.array([stored.get(bytes(key), np.nan) for key in hashes], dtype=np.float32)
        return StoredScores(logits, np.zeros(len(hashes), dtype=np.int32), ~np.isnan(logits))

    kind = pa.list_(pa.list_(pa.float32()))
    encoder = model.reranker.encoder
    prepared = prepare(table(model, kind, texts=None), encoder, lookup=look_up)
    first = model.reranker.rank_table(prepared, save_scores=save)
    distinct = len(QUERIES) * len(set(DOCUMENTS))
    assert len(stored) == distinct
    assert_equal(model.reranker.rank_table(look_up_again(prepared, look_up)), first)
    for texts in (None, DOCUMENTS):  # a text beside the vectors does not count
        again = model.reranker.rank_table(prepare(table(model, kind, texts=texts), encoder, lookup=look_up))
        assert again["usage"].to_pylist()[0]["pairs_scored"] == 0
        assert_equal(again, first)
    model.reranker.rank_table(prepare(table(model, None), encoder, lookup=look_up), save_scores=save)
    assert len(stored) == 2 * distinct  # a text is another document than its vectors


def test_a_model_that_reads_pairs_needs_texts(folder_of):
    reranker = Reranker(ScorerConfig(model=str(folder_of("bert")), dtype="float32"))
    model = SimpleNamespace(vectors=[[[1.0]]] * len(DOCUMENTS))
    kind = pa.list_(pa.list_(pa.float32()))
    with pytest.raises(InputError, match="reads query and document together, so that candidates need a column 'text'"):
        reranker.rank_table(table(model, kind, texts=None))
    ranked = reranker.rank_table(table(model, kind))
    assert_equal(ranked, reranker.rank_table(table(model, None)))
    assert "vectors" not in ranked["candidates"].to_pylist()[0][0]
