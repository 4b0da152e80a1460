"""The packed engine: the logits of the padded one and of the oracle, one pair at a time, with hardly any padding."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sentence_transformers import CrossEncoder
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
)

from rerank.engines.batches import runner
from rerank.engines.cross_encoder import CrossEncoderEngine
from rerank.engines.forward.families import family_of
from rerank.engines.forward.first_token import shorten_last_layer
from rerank.engines.forward.packed import PackedForward, has_packed_kernel
from rerank.reranker import Reranker
from tests.models import _SHAPE, CORPUS, MAX_LENGTH, MORE_FAMILIES
from tests.rerank.test_oracle import DOCS_MINI, LONG, PAIRS, bundled, encoded, exact, oracle

TOLERANCE = 1e-6
TEXTS = [*CORPUS, LONG, "x", "?", "<pad>", "[PAD] <|endoftext|>", "ends with <|endoftext|>"]


def engine_of(folder: Path | str, *, packed: bool, **options: object) -> CrossEncoderEngine:
    """In float64, so that what is computed in another order is no excuse; oneDNN's layers have none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "can_reorder_weights", lambda *_: False)
        engine = CrossEncoderEngine(exact(folder, **options), packed=packed)
    engine._forward._model.double()
    return engine


def engines(folder: Path | str) -> tuple[CrossEncoderEngine, CrossEncoderEngine]:
    return tuple(engine_of(folder, packed=packed) for packed in (True, False))


def one_by_one(folder: Path | str, pairs: list[tuple[str, str]]) -> np.ndarray:
    model = CrossEncoder(str(folder), device="cpu", model_kwargs={"dtype": torch.float64})
    return np.concatenate([oracle(model, [pair]) for pair in pairs])


@pytest.fixture
def copy_of(folder_of, tmp_path):
    """A family's model with some entries of its config.json changed."""

    def copy(family, **values):
        shutil.copytree(folder_of(family), tmp_path, dirs_exist_ok=True)
        config = tmp_path / "config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | values))
        return tmp_path

    return copy


@pytest.fixture(scope="module")
def both(model_folder):
    return engines(model_folder)


@pytest.fixture(scope="module")
def reranker(model_folder, both):
    return Reranker(exact(model_folder), engine=both[0])


def test_logits_equal_the_padded_ones_and_the_oracles(both, reranker, model_folder):
    pairs = encoded(reranker, PAIRS)
    packed, padded = (engine.score(pairs) for engine in both)
    assert [engine.description["engine"] for engine in both] == ["packed", "padded"]
    np.testing.assert_allclose(packed.logits, padded.logits, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(packed.logits, one_by_one(model_folder, PAIRS), rtol=0, atol=TOLERANCE)
    assert pairs.lengths.sum() <= packed.computed_tokens < padded.computed_tokens
    assert packed.computed_tokens % 32 == 0


def test_logits_do_not_depend_on_the_company(both, reranker):
    pairs = encoded(reranker, PAIRS)
    expected = both[1].score(pairs).logits
    alone = [both[0].score(pairs.take(np.array([row]))).logits[0] for row in range(len(pairs))]
    np.testing.assert_allclose(alone, expected, rtol=0, atol=TOLERANCE)
    twice = both[0].score(pairs.take(np.tile(np.arange(len(pairs)), 2))).logits
    np.testing.assert_allclose(twice, np.tile(expected, 2), rtol=0, atol=TOLERANCE)


@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(st.sampled_from(TEXTS), st.sampled_from(TEXTS)), min_size=1, max_size=8),
    st.integers(8, MAX_LENGTH),
)
@example([("a", "ends with <|endoftext|>"), ("<pad>", "?")], MAX_LENGTH)
def test_any_lengths_in_any_order(both, reranker, texts, longest):
    pairs = encoded(reranker, texts)
    room = longest - pairs.template.special_count
    cut = {"query_lengths": np.minimum(pairs.query_lengths, room // 2).astype(np.int32)}
    cut["document_lengths"] = np.minimum(pairs.document_lengths, room - room // 2).astype(np.int32)
    pairs = type(pairs)(pairs.template, pairs.queries, pairs.documents, pairs.query_of, pairs.document_of, **cut)
    packed, padded = (engine.score(pairs).logits for engine in both)
    np.testing.assert_allclose(packed, padded, rtol=0, atol=TOLERANCE)


def test_a_model_with_few_positions_needs_none_for_the_filling(folder_of, tmp_path):
    shape = BertConfig.from_pretrained(folder_of("bert"), max_position_embeddings=9, num_labels=1)
    shutil.copytree(folder_of("bert"), tmp_path, dirs_exist_ok=True)
    BertForSequenceClassification(shape).save_pretrained(tmp_path)
    packed, padded = engines(tmp_path)
    for texts in ([("a", "b")], [("a", "b")] * 6, [("a", "b c")] * 7):
        pairs = encoded(Reranker(exact(tmp_path), engine=packed), texts)
        np.testing.assert_allclose(packed.score(pairs).logits, padded.score(pairs).logits, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("batch_tokens", [1, 100, 333])
def test_logits_do_not_depend_on_the_batch_size(model_folder, reranker, both, batch_tokens):
    pairs = encoded(reranker, PAIRS)
    small = engine_of(model_folder, packed=True, batch_tokens=batch_tokens)
    np.testing.assert_allclose(small.score(pairs).logits, both[1].score(pairs).logits, rtol=0, atol=TOLERANCE)


def test_no_pairs_give_no_logits(both, reranker):
    nothing, none = reranker.encoder.tokenize([]), np.zeros(0, dtype=np.int32)
    scores = both[0].score(reranker.encoder.pair(nothing, nothing, none, none))
    assert (scores.logits.shape, scores.computed_tokens) == ((0,), 0)


@pytest.mark.parametrize("packed", [True, False])
def test_a_pair_without_tokens_has_no_logit(folder_of, packed):
    """Qwen3 has no special tokens that would be left."""
    engine = engine_of(folder_of("qwen3"), packed=packed)
    pairs = encoded(Reranker(exact(folder_of("qwen3"))), [("", ""), ("a", "b"), ("", "")])
    assert np.isnan(engine.score(pairs).logits).tolist() == [True, False, True]


def test_a_pooled_mean_is_that_of_each_pair(copy_of):
    folder = copy_of("modernbert", classifier_pooling="mean")
    pairs = encoded(Reranker(exact(folder)), PAIRS)
    packed, padded = (engine.score(pairs).logits for engine in engines(folder))
    np.testing.assert_allclose(packed, padded, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(packed, one_by_one(folder, PAIRS), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("modernbert", {"local_attention": 4}),
        ("qwen3", {"use_sliding_window": True, "sliding_window": 5, "layer_types": ["sliding_attention"] * 3}),
    ],
)
def test_windows_are_those_of_the_model(folder_of, copy_of, family, changes):
    folder = copy_of(family, **changes)
    pairs = encoded(Reranker(exact(folder)), PAIRS)
    packed, padded = (engine.score(pairs).logits for engine in engines(folder))
    np.testing.assert_allclose(packed, padded, rtol=0, atol=TOLERANCE)
    without = engine_of(folder_of(family), packed=True).score(pairs).logits
    assert np.abs(packed - without).max() > 0.05, "a window that changes nothing proves nothing"


@bundled
def test_the_bundled_model_equals_the_oracle():
    pairs = [*PAIRS, (CORPUS[0], " ".join(CORPUS * 8))]
    packed, padded = engines(DOCS_MINI)
    rows = encoded(Reranker(exact(DOCS_MINI), engine=packed), pairs)
    logits = packed.score(rows).logits
    np.testing.assert_allclose(logits, padded.score(rows).logits, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(logits, one_by_one(DOCS_MINI, pairs), rtol=0, atol=TOLERANCE)


class OfItsOwn(BertForSequenceClassification):
    """Code that a model brings under the name of a known type."""


def unknown_models(folder: Path) -> list:
    causal = AutoModelForSequenceClassification.from_pretrained(folder)
    causal.config.is_decoder = True
    convolved = DebertaV2Config(
        relative_attention=True, pos_att_type=["p2c", "c2p"], conv_kernel_size=3, num_labels=1, **_SHAPE
    )
    return [causal, OfItsOwn.from_pretrained(folder), DebertaV2ForSequenceClassification(convolved)]


@pytest.mark.parametrize("family", MORE_FAMILIES)
def test_more_families_equal_the_oracle(folder_of, family):
    folder = folder_of(family)
    packed, padded = engines(folder)
    rows = encoded(Reranker(exact(folder), engine=packed), PAIRS)
    logits = packed.score(rows).logits
    assert (packed.description["engine"], np.ptp(logits) > 0.5) == ("packed", True)
    np.testing.assert_allclose(logits, padded.score(rows).logits, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(logits, one_by_one(folder, PAIRS), rtol=0, atol=TOLERANCE)
    reordered = CrossEncoderEngine(exact(folder)).score(rows).logits
    np.testing.assert_allclose(reordered, logits, rtol=0, atol=1e-4)


def test_a_family_that_is_not_known_stays_padded(folder_of, tmp_path):
    from transformers import NystromformerConfig, NystromformerForSequenceClassification

    shutil.copytree(folder_of("bert"), tmp_path, dirs_exist_ok=True)
    shape = NystromformerConfig.from_pretrained(folder_of("bert"), num_labels=1)
    NystromformerForSequenceClassification(shape).save_pretrained(tmp_path)
    engine = CrossEncoderEngine(exact(tmp_path), packed=True)
    assert engine.description["engine"] == "padded"
    assert np.isfinite(engine.score(encoded(Reranker(exact(tmp_path)), PAIRS)).logits).all()


def test_what_may_differ_from_its_familys_build_is_not_known(folder_of):
    for model in unknown_models(folder_of("bert")):
        assert family_of(model) is None
        assert not shorten_last_layer(model)
        with pytest.raises(ValueError, match="is not of a family that can be packed"):
            PackedForward(model, torch.device("cpu"), takes_types=True)


def test_a_kernel_is_there_on_a_cpu_and_on_cuda_in_half_precision(folder_of, monkeypatch):
    model = AutoModelForSequenceClassification.from_pretrained(folder_of("bert"))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))
    cuda = torch.device("cuda")
    assert has_packed_kernel(model, cuda, torch.bfloat16)
    assert not has_packed_kernel(model, cuda, torch.float32)
    assert has_packed_kernel(model, torch.device("cpu"), torch.float32)
    assert not has_packed_kernel(model, torch.device("mps"), torch.float32)
    model.config.num_attention_heads = 8  # of width 4
    assert not has_packed_kernel(model, cuda, torch.bfloat16)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    model.config.num_attention_heads = 4
    assert not has_packed_kernel(model, cuda, torch.float16)
