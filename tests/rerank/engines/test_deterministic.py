"""Deterministic scoring: the same bits for a pair, whatever is scored beside it, before it and after it."""

import numpy as np
import pytest

from rerank.engines.cross_encoder import CrossEncoderEngine
from rerank.reranker import Reranker
from tests.rerank.test_oracle import CORPUS, DOCS_MINI, PAIRS, TOLERANCE, bundled, encoded, exact

MANY = [*PAIRS, *((query, text) for query in CORPUS for text in CORPUS)]


def bits(logits: np.ndarray) -> list[int]:
    return logits.view(np.int32).tolist()


def assert_bits_stay_the_same(config, texts: list[tuple[str, str]], *, packed: bool | None) -> np.ndarray:
    engine = CrossEncoderEngine(config, packed=packed)
    pairs = encoded(Reranker(config, engine=engine), texts)
    logits = engine.score(pairs).logits
    rng = np.random.default_rng(3)
    for count in (1, 2, 7, 40):
        some = rng.integers(len(texts), size=count)
        assert bits(engine.score(pairs.take(some)).logits) == bits(logits[some])
    return logits


@pytest.mark.parametrize("packed", [True, False])
def test_bits_do_not_depend_on_the_company(model_folder, packed):
    logits = assert_bits_stay_the_same(exact(model_folder, deterministic=True, batch_tokens=4_096), MANY, packed=packed)
    plain = Reranker(exact(model_folder))
    np.testing.assert_allclose(logits, plain.engine.score(encoded(plain, MANY)).logits, rtol=0, atol=TOLERANCE)


@bundled
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_bundled_models_bits_neither(dtype):
    config = exact(DOCS_MINI, deterministic=True).model_copy(update={"dtype": dtype})
    assert_bits_stay_the_same(config, MANY[::4], packed=None)
