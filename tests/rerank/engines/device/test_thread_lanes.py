"""Batches side by side: the logits of one after the other, and nothing left at work after a failure."""

import json
import shutil
import time
from threading import Event, current_thread

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rerank.config import ScorerConfig
from rerank.engines.batches.plan import plan_batches
from rerank.engines.cross_encoder import CrossEncoderEngine
from rerank.engines.device.thread_lanes import ThreadLanes
from rerank.reranker import Reranker
from tests.rerank.test_oracle import DOCS_MINI, PAIRS, TOLERANCE, bundled, encoded, exact


@pytest.fixture(scope="module", autouse=True)
def _threads_as_before():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def two_lanes() -> ThreadLanes:
    return ThreadLanes(2, batch_cost=64)


def side_by_side(folder, **options) -> ScorerConfig:
    return exact(folder, **options).model_copy(update={"threads": 2})


@pytest.mark.parametrize("packed", [True, False])
def test_logits_are_those_of_one_batch_after_the_other(model_folder, packed, monkeypatch):
    config = side_by_side(model_folder, batch_tokens=100)
    engine = CrossEncoderEngine(config, packed=packed)
    pairs = encoded(Reranker(config, engine=engine), PAIRS)
    names = set()
    compute = type(engine._forward).__call__

    def noting(forward, *batch):
        names.add(current_thread().name)
        return compute(forward, *batch)

    monkeypatch.setattr(type(engine._forward), "__call__", noting)
    logits = engine.score(pairs).logits
    assert names and all(name.startswith("lane") for name in names)
    one = CrossEncoderEngine(exact(model_folder, batch_tokens=100), packed=packed)
    np.testing.assert_allclose(logits, one.score(pairs).logits, rtol=0, atol=TOLERANCE)


@bundled
def test_the_bundled_models_logits_too():
    ours, one = Reranker(side_by_side(DOCS_MINI)), Reranker(exact(DOCS_MINI))
    pairs = encoded(one, PAIRS * 3)
    np.testing.assert_allclose(ours.engine.score(pairs).logits, one.engine.score(pairs).logits, rtol=0, atol=TOLERANCE)


def test_a_model_whose_positions_depend_on_the_longest_text_has_no_lanes(folder_of, tmp_path):
    assert CrossEncoderEngine(side_by_side(folder_of("qwen3"))).lanes is not None
    folder = shutil.copytree(folder_of("qwen3"), tmp_path / "dynamic")
    settings = json.loads((folder / "config.json").read_text())
    settings["rope_parameters"] |= {"rope_type": "dynamic", "factor": 2.0}
    (folder / "config.json").write_text(json.dumps(settings))
    assert CrossEncoderEngine(side_by_side(folder)).lanes is None


def test_results_come_in_the_order_of_the_batches():
    lanes, second = two_lanes(), Event()

    def compute(batch: int) -> int:
        assert torch.is_inference_mode_enabled() and torch.get_num_threads() == 1
        if batch == 1:
            second.set()
        assert second.wait(10), "one after the other"
        return batch * batch

    assert lanes.map(compute, range(5)) == [0, 1, 4, 9, 16]
    assert torch.get_num_threads() == 2


def test_a_failure_comes_when_nothing_is_at_work_any_more():
    lanes, begun, ended = two_lanes(), Event(), []

    def compute(batch: int) -> None:
        if batch == 0:
            assert begun.wait(10)
            raise ValueError("the first")
        begun.set()
        time.sleep(0.01)  # all of them would take five seconds
        ended.append(batch)

    with pytest.raises(ValueError, match="the first"):
        lanes.map(compute, range(1_000))
    count = len(ended)
    assert 1 in ended and count < 999
    assert lanes.map(lambda batch: batch, [7]) == [7]
    assert len(ended) == count


@pytest.mark.parametrize(("threads", "lanes", "each"), [(2, 2, 1), (8, 8, 1), (12, 6, 2), (15, 7, 2), (20, 6, 3)])
def test_the_cores_are_shared_out(threads, lanes, each):
    made = ThreadLanes(threads, batch_cost=64)
    assert made.count == lanes
    assert set(made.map(lambda _: torch.get_num_threads(), range(50))) == {each}
    assert torch.get_num_threads() == threads


def test_few_batches_are_computed_one_after_the_other():
    assert [two_lanes().is_faster_in_parallel(count) for count in (1, 2)] == [False, True]
    assert [ThreadLanes(8, batch_cost=64).is_faster_in_parallel(count) for count in (4, 5)] == [False, True]


@given(
    pairs=st.integers(0, 400),
    length=st.integers(1, 60),
    lanes=st.integers(2, 5),
    cost=st.integers(1, 50),
    padded=st.booleans(),
)
def test_lanes_that_take_batches_as_they_come_end_together(pairs, length, lanes, cost, padded):
    sizes = np.full(pairs, length, dtype=np.int32)
    share = ThreadLanes(lanes, batch_cost=cost).split_evenly
    batches = plan_batches(sizes, batch_tokens=1_000, padded=padded, batch_cost=cost, share=share)
    assert [int(pair) for batch in batches for pair in batch] == list(range(pairs))
    least = 4 * cost
    for batch in batches[:-1]:
        assert len(batch) * length > min(least, 1_000) - length, "too small to be worth it"
    busy = [0] * lanes
    for batch in batches:
        assert len(batch) == 1 or len(batch) * length <= 1_000
        busy[busy.index(min(busy))] += len(batch) * length
    assert max(busy) - min(busy) <= 2 * least + length
