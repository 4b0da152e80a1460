"""The engine when memory is short or the device is gone, with a forward that fails on cue."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from rerank import Reranker, ScorerConfig
from rerank.engines.batches import runner
from rerank.engines.batches.plan import computed_tokens
from rerank.engines.cross_encoder import CrossEncoderEngine
from rerank.engines.device import failures
from rerank.errors import EngineLostError
from rerank.types import RerankRequest

REQUEST = RerankRequest("returns", ("x", "x y z", "parcel", "the " * 20, "free", "x y", "label", "post"))


@pytest.fixture(params=[False, True], ids=["padded", "packed"])
def engine(folder_of, request):
    config = ScorerConfig(model=str(folder_of("bert")), device="cpu", dtype="float32", batch_tokens=4096)
    return CrossEncoderEngine(config, packed=request.param)


@pytest.fixture
def pairs(folder_of):
    return Reranker(str(folder_of("bert"))).encode(REQUEST)


class Short:
    """A forward for which memory is short beyond so many tokens."""

    def __init__(self, forward, tokens, problem):
        self._forward, self._tokens, self._problem = forward, tokens, problem
        self.padded, self.prefixes, self.count_tokens = forward.padded, forward.prefixes, forward.count_tokens
        self.seen = []

    def __call__(self, pairs, batch):
        self.seen.append(computed_tokens(pairs.lengths[batch], padded=self.padded))
        if self.seen[-1] > self._tokens:
            raise self._problem
        return self._forward(pairs, batch)


SHORTAGES = [
    torch.OutOfMemoryError("CUDA out of memory."),
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to allocate"),
    MemoryError(),
]


@pytest.mark.parametrize("problem", SHORTAGES, ids=lambda problem: type(problem).__name__)
def test_batches_are_halved_until_they_fit_and_stay_so(engine, pairs, problem):
    expected = engine.score(pairs).logits
    engine._forward = forward = Short(engine._forward, 48, problem)
    np.testing.assert_allclose(engine.score(pairs).logits, expected, atol=1e-5)
    failed = sum(tokens > 48 for tokens in forward.seen)
    assert 1 <= failed <= 7
    engine.score(pairs)
    assert sum(tokens > 48 for tokens in forward.seen) == failed


def test_a_pair_for_which_memory_is_short_raises(engine, pairs):
    engine._forward = Short(engine._forward, 8, torch.OutOfMemoryError("CUDA out of memory."))
    with pytest.raises(torch.OutOfMemoryError):
        engine.score(pairs)


def test_other_exceptions_are_not_tried_again(engine, pairs):
    engine._forward = forward = Short(engine._forward, 0, RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes"):
        engine.score(pairs)
    assert len(forward.seen) == 1


def test_a_device_that_answers_no_more_is_told_apart(engine, pairs, monkeypatch):
    def zeros(*_, **__):
        raise RuntimeError("CUDA error: device-side assert triggered")

    engine._forward = Short(engine._forward, 0, RuntimeError("CUDA error: device-side assert triggered"))
    monkeypatch.setattr(failures, "torch", SimpleNamespace(zeros=zeros, OutOfMemoryError=torch.OutOfMemoryError))
    cuda = torch.device("cuda")
    monkeypatch.setattr(runner, "check_device", lambda _: failures.check_device(cuda))
    with pytest.raises(EngineLostError, match="no longer responds"):
        engine.score(pairs)
