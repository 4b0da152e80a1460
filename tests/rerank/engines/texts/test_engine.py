"""Late interaction and vectors: the same logits as sentence-transformers, for models saved in several ways."""

import numpy as np
import pytest

from rerank import Reranker
from rerank.config import ScorerConfig
from rerank.engines import load_encoder, load_engine
from rerank.engines.late_interaction import LateInteraction
from rerank.engines.texts.engine import TextEngine
from rerank.errors import ModelError, TooLongError
from rerank.ranking.relevance import Relevance
from rerank.types import TokenLimits
from tests.fakes import candidate_sets
from tests.models import CORPUS, bring_own_code
from tests.text_models import PUNCTUATION, make_late_interaction, make_pylate, make_stanford, make_vectors

QUERIES = ["How do I return a parcel?", "numéro de suivi", CORPUS[1] + " " + CORPUS[2] + " " + CORPUS[4]]
DOCUMENTS = [*CORPUS, "!?", "short", CORPUS[1] * 6]
LATE = {
    "plain": {},
    "limits": {"query_length": 8, "document_length": 12},
    "prompts": {"prompts": {"query": "[Q] ", "document": "search: "}},
    "fixed": {"query_expansion": {"strategy": "fixed", "length": 24}},  # filled with the mask token
    "fixed and attended": {"query_expansion": {"strategy": "fixed", "length": 24, "attend": True}},
    "at least": {"query_expansion": {"strategy": "min", "length": 16}, "query_length": 20},
    "skiplist": {"skiplist": PUNCTUATION},
    "skiplist of queries": {"skiplist": PUNCTUATION, "skipped_tasks": ["query", "document"]},
    "mean": {"similarity": "meanmaxsim"},
    "lower case": {"do_lower_case": True, "max_seq_length": 20},
}


def pairwise(library):
    queries, documents = library.encode_query(QUERIES), library.encode_document(DOCUMENTS)
    return np.array(
        [library.similarity_pairwise([query] * len(documents), list(documents)).cpu().numpy() for query in queries]
    )


def ours(folder, **options):
    reranker = Reranker(ScorerConfig(model=str(folder), dtype="float32", **options))
    results = [reranker.rank(query, DOCUMENTS) for query in QUERIES]
    logits = np.empty((len(QUERIES), len(DOCUMENTS)), dtype=np.float32)
    for row, result in enumerate(results):
        for place in result:
            logits[row, place.index] = place.logit
    return reranker, logits


@pytest.mark.parametrize("family", ["bert", "xlm-roberta", "modernbert", "qwen3"])
@pytest.mark.parametrize("name", LATE)
def test_late_interaction_equals_its_library(folder_of, tmp_path, family, name):
    from sentence_transformers import MultiVectorEncoder

    options = LATE[name]
    if "query_expansion" in options:
        if family == "qwen3":
            pytest.skip("its tokeniser pads on the left, where no text can be filled up")
        if family != "xlm-roberta":
            options = {**options, "query_expansion": {**options["query_expansion"], "token": "[MASK]"}}
    folder = tmp_path / "model"
    make_late_interaction(folder_of(family), folder, **options)
    _, logits = ours(folder)
    np.testing.assert_allclose(logits, pairwise(MultiVectorEncoder(str(folder), device="cpu")), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        {"query_prefix": "[Q] ", "document_prefix": "[D] ", "query_length": 12, "document_length": 20},
        {"query_prefix": "<s>", "document_prefix": "</s>", "do_query_expansion": False, "query_length": 12},
        {"attend_to_expansion_tokens": True, "skiplist_words": ["a", ","], "prompts": {"query": "find: "}},
    ],
)
def test_a_model_of_pylate_equals_sentence_transformers(folder_of, tmp_path, settings):
    from sentence_transformers import MultiVectorEncoder

    make_pylate(folder_of("xlm-roberta"), tmp_path / "model", settings=settings)
    _, logits = ours(tmp_path / "model")
    expected = pairwise(MultiVectorEncoder(str(tmp_path / "model"), device="cpu"))
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "metadata",
    [
        {"query_token_id": "<mask>", "doc_token_id": "[D]", "query_maxlen": 20, "doc_maxlen": 30},
        {"mask_punctuation": False, "attend_to_mask_tokens": True},
    ],
)
def test_a_model_of_stanford_equals_sentence_transformers(folder_of, tmp_path, metadata):
    from sentence_transformers import MultiVectorEncoder

    make_stanford(folder_of("xlm-roberta"), tmp_path / "model", metadata=metadata)
    _, logits = ours(tmp_path / "model")
    expected = pairwise(MultiVectorEncoder(str(tmp_path / "model"), device="cpu"))
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)


VECTORS = {
    "mean": ({}, Relevance.COSINE),
    "first token": ({"pooling": "cls", "dense": True, "normalizes": False}, Relevance.COSINE),
    "last token": ({"pooling": "lasttoken", "prompts": {"query": "query: ", "document": "text: "}}, Relevance.COSINE),
    "dot product": ({"similarity": "dot", "max_seq_length": 16}, Relevance.COSINE),
    "dot product of any length": ({"similarity": "dot", "normalizes": False}, Relevance.RATIO),
}


@pytest.mark.parametrize("family", ["bert", "xlm-roberta", "modernbert", "qwen3"])
@pytest.mark.parametrize("name", VECTORS)
def test_vectors_equal_their_library(folder_of, tmp_path, family, name):
    from sentence_transformers import SentenceTransformer

    options, relevance = VECTORS[name]
    make_vectors(folder_of(family), tmp_path / "model", **options)
    reranker, logits = ours(tmp_path / "model")
    expected = pairwise(SentenceTransformer(str(tmp_path / "model"), device="cpu"))
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-4)
    assert reranker.encoder.relevance is relevance


@pytest.mark.parametrize("name", ["fixed", "at least", "skiplist"])
def test_padded_equals_packed(folder_of, tmp_path, name):
    make_late_interaction(folder_of("xlm-roberta"), tmp_path / "model", **LATE[name])
    config = ScorerConfig(model=str(tmp_path / "model"), dtype="float32")
    encoder, packed, padded = (
        load_encoder(config),
        *(TextEngine(config, LateInteraction, packed=p) for p in (True, False)),
    )
    rows = np.arange(len(QUERIES) * len(DOCUMENTS), dtype=np.int32)
    pairs = encoder.encode(QUERIES, DOCUMENTS, rows // len(DOCUMENTS), rows % len(DOCUMENTS))
    assert (packed.description["engine"], padded.description["engine"]) == ("packed", "padded")
    one_by_one = np.concatenate([packed.score(pairs.take(rows[row : row + 1])).logits for row in rows])
    for logits in (padded.score(pairs).logits, one_by_one):
        np.testing.assert_allclose(logits, packed.score(pairs).logits, rtol=0, atol=1e-4)


def test_relevance_scores_are_means_over_the_query_vectors(folder_of, tmp_path):
    make_late_interaction(folder_of("bert"), tmp_path / "model")
    reranker, logits = ours(tmp_path / "model")
    ranked = reranker.rank(QUERIES[0], DOCUMENTS)
    count = len(
        reranker.encoder.encode(QUERIES[:1], ["a"], np.zeros(1, np.int32), np.zeros(1, np.int32)).queries.values
    )
    scores = {place.index: place.score for place in ranked}
    expected = np.clip(logits[0] / count, 0, 1)
    np.testing.assert_allclose([scores[row] for row in range(len(DOCUMENTS))], expected, atol=1e-6)


def test_texts_that_were_met_are_not_encoded_again(folder_of, tmp_path):
    make_late_interaction(folder_of("bert"), tmp_path / "model")
    reranker, _ = ours(tmp_path / "model")
    first = reranker.rank("a new question", DOCUMENTS)
    engine = reranker.engine
    hits, lookups = engine.cache.hits, engine.cache.lookups
    again = reranker.rank("another question", DOCUMENTS)
    assert (engine.cache.hits - hits, engine.cache.lookups - lookups) == (len(DOCUMENTS), len(DOCUMENTS) + 1)
    assert reranker.rank("a new question", DOCUMENTS) == first != again

    sets = [("q", "a new question", list(enumerate(DOCUMENTS))), ("r", "a third one", [(0, "unheard")])]
    table = candidate_sets(sets)
    usage = reranker.rank_table(table).column("usage").to_pylist()
    assert (usage[0]["texts"], usage[0]["remembered_texts"]) == (len(DOCUMENTS) + 3, len(DOCUMENTS) + 1)
    assert 0 <= usage[0]["padding_tokens"] < 32 and usage[0]["computed_tokens"] % 32 == 0


def test_the_cache_is_bounded_and_results_do_not_depend_on_it(folder_of, tmp_path):
    make_late_interaction(folder_of("bert"), tmp_path / "model")
    _, logits = ours(tmp_path / "model")
    reranker, small = ours(tmp_path / "model", vector_cache=1_000)
    np.testing.assert_array_equal(small, logits)
    kept = reranker.engine.cache._vectors.values()
    assert kept and sum(vectors.nbytes for vectors in kept) <= 1_000


def test_limits_of_a_request_hold_for_each_text(folder_of, tmp_path):
    make_late_interaction(folder_of("bert"), tmp_path / "model")
    encoder = load_encoder(ScorerConfig(model=str(tmp_path / "model")))
    zeros = np.zeros(1, dtype=np.int32)

    def lengths(**limits):
        pairs = encoder.encode(["a b c d"], [CORPUS[1]], zeros, zeros, TokenLimits(**limits))
        return pairs.query_lengths[0], pairs.document_lengths[0]

    whole_query, whole_document = lengths()
    assert lengths(document=3) == (whole_query, 3 + 2)
    assert lengths(pair=5) == (5, 5)
    assert lengths(document=3, strict=True) == (whole_query, 5)
    with pytest.raises(TooLongError):
        lengths(pair=10, strict=True)
    assert whole_document > 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"similarity": "euclidean"}, "compares texts by 'euclidean', supported are cosine, dot, meanmaxsim, maxsim"),
        ({"pooling": "max"}, "pools its tokens by max, supported are mean, cls, lasttoken"),
    ],
)
def test_what_is_not_supported_is_named(folder_of, tmp_path, options, message):
    make_vectors(folder_of("bert"), tmp_path / "model", **options)
    with pytest.raises(ModelError, match=message):
        Reranker(str(tmp_path / "model")).rank("a", ["b"])


@pytest.mark.parametrize(
    ("make", "options", "library"),
    [
        (make_late_interaction, {"skiplist": PUNCTUATION}, "MultiVectorEncoder"),
        (make_stanford, {"metadata": {"query_maxlen": 20}}, "MultiVectorEncoder"),  # as jinaai/jina-colbert-v2
        (make_vectors, {}, "SentenceTransformer"),
    ],
)
def test_a_model_with_code_of_its_own_runs_padded_if_trusted(folder_of, tmp_path, make, options, library):
    import sentence_transformers

    folder = tmp_path / make.__name__
    make(folder_of("xlm-roberta"), folder, **options)
    _, without_code = ours(folder)
    architecture = "HF_ColBERT" if make is make_stanford else None
    bring_own_code(folder, family="XLMRoberta", head="Model", output="last_hidden_state", architecture=architecture)
    config = ScorerConfig(model=str(folder))
    for load in (load_encoder, load_engine):
        with pytest.raises(ModelError, match=r"brings Python code of its own .* runs only with trust_remote_code"):
            load(config)
    reranker, logits = ours(folder, trust_remote_code=True)
    assert reranker.engine.description["engine"] == "padded"
    expected = pairwise(getattr(sentence_transformers, library)(str(folder), device="cpu", trust_remote_code=True))
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)
    assert np.abs(logits - without_code).max() > 0.01, "code that changes nothing proves nothing"
