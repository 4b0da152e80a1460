"""Vectors of texts from the actor: those of sentence-transformers, and none from models of other kinds."""

import asyncio

import numpy as np
import pytest

from rerank import actor as actor_module
from rerank.actor import RerankActor
from rerank.config import ScorerConfig
from rerank.errors import EngineLostError, InputError, ModelError, UnavailableError
from rerank.types import EncodeRequest
from tests.models import CORPUS
from tests.text_models import PUNCTUATION, make_late_interaction, make_vectors

TEXTS = (*CORPUS, "short", "!? a", CORPUS[1] * 6)
PROMPTS = {"query": "query: ", "document": "search: "}
LATE = {
    "prompts": {"prompts": PROMPTS},
    "expansion": {"query_expansion": {"strategy": "fixed", "length": 24, "token": "[MASK]"}},
    "skiplist": {"skiplist": PUNCTUATION, "document_length": 12},
    "mean": {"similarity": "meanmaxsim"},
}


def actor_of(folder, **options) -> RerankActor:
    return RerankActor(ScorerConfig(model=str(folder), dtype="float32"), **options)


def encoded(actor: RerankActor, *requests: EncodeRequest):
    async def ask():
        return await asyncio.wait_for(asyncio.gather(*map(actor.encode, requests)), 60)

    return asyncio.run(ask())


@pytest.fixture(scope="module")
def late(folder_of, tmp_path_factory) -> RerankActor:
    folder = tmp_path_factory.mktemp("late") / "model"
    make_late_interaction(folder_of("bert"), folder, prompts=PROMPTS)
    return actor_of(folder)


@pytest.mark.parametrize("name", LATE)
def test_a_vector_for_each_token_equals_the_library(folder_of, tmp_path, name):
    from sentence_transformers import MultiVectorEncoder

    make_late_interaction(folder_of("bert"), tmp_path / "model", **LATE[name])
    library = MultiVectorEncoder(str(tmp_path / "model"), device="cpu")
    queries, documents = encoded(
        actor_of(tmp_path / "model"),
        EncodeRequest(TEXTS, is_query=True),
        EncodeRequest(TEXTS, outputs=("multivector",)),
    )
    for result, expected in ((queries, library.encode_query(TEXTS)), (documents, library.encode_document(TEXTS))):
        assert result.output == "multivector"
        assert [vectors.shape for vectors in result.vectors] == [tuple(vectors.shape) for vectors in expected]
        for vectors, theirs in zip(result.vectors, expected, strict=True):
            assert vectors.dtype == np.float32
            np.testing.assert_allclose(vectors, np.asarray(theirs), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "options", [{"pooling": "lasttoken", "dense": True}, {"similarity": "dot", "normalizes": False}]
)
def test_one_vector_equals_the_library(folder_of, tmp_path, options):
    from sentence_transformers import SentenceTransformer

    make_vectors(folder_of("bert"), tmp_path / "model", prompts=PROMPTS, **options)
    library = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    actor = actor_of(tmp_path / "model")
    queries, documents = encoded(actor, EncodeRequest(TEXTS, is_query=True), EncodeRequest(TEXTS, outputs=("dense",)))
    for result, expected in ((queries, library.encode_query(TEXTS)), (documents, library.encode_document(TEXTS))):
        assert result.output == "dense"
        np.testing.assert_allclose(np.concatenate(result.vectors), expected, rtol=1e-5, atol=1e-5)


def test_tokens_and_timings_are_those_of_the_texts(late):
    both, first, second = encoded(late, *(EncodeRequest(texts) for texts in (TEXTS[:2], TEXTS[:1], TEXTS[1:2])))
    assert both.tokens == first.tokens + second.tokens > 0
    assert both.timings.score_s > 0


def test_the_description_lists_the_outputs(late, folder_of):
    assert late.describe()["outputs"] == ["score", "multivector"]
    assert actor_of(folder_of("bert")).describe()["outputs"] == ["score"]


def test_another_output_is_refused_by_name(late):
    with pytest.raises(InputError, match="the output of this model is 'multivector', got 'dense'"):
        encoded(late, EncodeRequest(TEXTS, outputs=("dense", "multivector")))


def test_a_model_of_another_kind_names_the_kinds_that_encode(folder_of):
    with pytest.raises(InputError, match="kinds 'late interaction' and 'one vector per text' can encode"):
        encoded(actor_of(folder_of("bert")), EncodeRequest(TEXTS))


def test_too_many_vectors_are_refused_before_they_are_computed(late, monkeypatch):
    monkeypatch.setattr(actor_module, "_MOST_TOKENS", 10)
    monkeypatch.setattr(late._reranker.engine, "vectors", None)
    with pytest.raises(InputError, match=r"texts must have at most 10 tokens together, got \d\d"):
        encoded(late, EncodeRequest(TEXTS))


def test_vectors_that_are_not_finite_are_an_error(late, monkeypatch):
    monkeypatch.setattr(late._reranker.engine, "vectors", lambda texts: [np.full((1, 2), np.nan)] * len(texts))
    with pytest.raises(ModelError, match="gave vectors that are not finite"):
        encoded(late, EncodeRequest(TEXTS))


def test_a_lost_engine_fails_the_health_check(late, monkeypatch):
    def lost(texts):
        raise EngineLostError("the device answers no more")

    monkeypatch.setattr(late._reranker.engine, "vectors", lost)
    monkeypatch.setattr(late, "_engine_lost", None)
    for error in (EngineLostError, UnavailableError):
        with pytest.raises(error):
            encoded(late, EncodeRequest(TEXTS))
    with pytest.raises(EngineLostError):
        late.check_health()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"texts": ()}, "texts must hold at least one text, got none"),
        ({"texts": ("a", " ")}, r"texts\[1\] must hold text, got a blank one"),
        ({"texts": ("a", "\ud800")}, r"texts\[1\] must be valid Unicode"),
        ({"texts": ("a",), "timeout_s": 0}, "timeout_s must be above 0, got 0"),
    ],
)
def test_a_bad_request_is_refused(values, message):
    with pytest.raises(InputError, match=message):
        EncodeRequest(**values)
