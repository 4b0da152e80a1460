"""Batches side by side: the logits of one after the other, and nothing left at work after a failure."""

import json
import shutil
import time
from threading import Event, current_thread

import numpy as np
import pytest
import torch

from rerank.config import ScorerConfig
from rerank.engines.cross_encoder import CrossEncoderEngine
from rerank.engines.lanes import Lanes
from rerank.reranker import Reranker
from tests.rerank.test_oracle import DOCS_MINI, PAIRS, TOLERANCE, bundled, encoded, exact


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
    assert CrossEncoderEngine(side_by_side(folder_of("qwen3")))._lanes is not None
    folder = shutil.copytree(folder_of("qwen3"), tmp_path / "dynamic")
    settings = json.loads((folder / "config.json").read_text())
    settings["rope_parameters"] |= {"rope_type": "dynamic", "factor": 2.0}
    (folder / "config.json").write_text(json.dumps(settings))
    assert CrossEncoderEngine(side_by_side(folder))._lanes is None


def test_results_come_in_the_order_of_the_batches():
    lanes, second = Lanes(2), Event()

    def compute(batch: int) -> int:
        assert torch.is_inference_mode_enabled() and torch.get_num_threads() == 1
        if batch == 1:
            second.set()
        assert second.wait(10), "one after the other"
        return batch * batch

    assert lanes.map(compute, range(5)) == [0, 1, 4, 9, 16]
    assert torch.get_num_threads() == 2


def test_a_failure_comes_when_nothing_is_at_work_any_more():
    lanes, begun, ended = Lanes(2), Event(), []

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
    made = Lanes(threads)
    assert made.count == lanes
    assert set(made.map(lambda _: torch.get_num_threads(), range(50))) == {each}
    assert torch.get_num_threads() == threads
    torch.set_num_threads(2)


def test_few_batches_are_computed_one_after_the_other():
    assert [Lanes(2).pay(count) for count in (1, 2)] == [False, True]
    assert [Lanes(8).pay(count) for count in (4, 5)] == [False, True]
