"""ONNX Runtime and OpenVINO as rivals: the same logits, in batches sorted by length. Needs `rerank[bench]`."""

from collections.abc import Iterable

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder

from jobs.bench.rivals import exported
from jobs.bench.rivals.exported import Batch, exported_rivals

PAIRS = [("a query", "word " * (1 + place * 7 % 23)) for place in range(20)]


@pytest.fixture(scope="module")
def model(folder_of) -> CrossEncoder:
    return CrossEncoder(str(folder_of("bert")), device="cpu", max_length=32)


def test_batches_are_sorted_by_length_and_their_padding_counts(model: CrossEncoder, monkeypatch) -> None:
    shapes: list[tuple[int, int]] = []

    def run(batches: Iterable[Batch]) -> list[object]:
        shapes.extend(batch["input_ids"].shape for batch in batches)
        return []

    monkeypatch.setattr(exported, "_onnx_runtime", lambda *_: [("library float32", run)])
    monkeypatch.setattr(exported, "_openvino", lambda *_: [])
    monkeypatch.setattr(exported, "find_spec", lambda _: True)
    (rival,) = exported_rivals(model, PAIRS)
    shapes.clear()
    tokens = rival.score(PAIRS)
    assert rival.name.startswith("library float32, batch ")
    assert sum(rows for rows, _ in shapes) == len(PAIRS)
    assert [length for _, length in shapes] == sorted((length for _, length in shapes), reverse=True)
    assert tokens == sum(rows * length for rows, length in shapes)


def test_nothing_is_measured_that_is_not_installed(model: CrossEncoder, monkeypatch) -> None:
    monkeypatch.setattr(exported, "find_spec", lambda _: None)
    assert exported_rivals(model, PAIRS) == []


@pytest.mark.parametrize("package", ["onnxruntime", "openvino"])
def test_the_graph_computes_the_logits_of_the_model(model: CrossEncoder, package: str, monkeypatch) -> None:
    """To rounding in float32; int8 orders the pairs almost alike."""
    pytest.importorskip(package)
    monkeypatch.setattr(exported, "pick_dtype", lambda *_: torch.float32)
    make = {"onnxruntime": exported._onnx_runtime, "openvino": exported._openvino}[package]
    lengths = [len(ids) for ids in model.tokenizer(PAIRS, truncation=True, max_length=32)["input_ids"]]
    order = np.argsort([-length for length in lengths], kind="stable")
    expected = np.asarray(model.predict(PAIRS, activation_fn=torch.nn.Identity()))[order]
    for name, run in make(model, PAIRS):
        logits = np.concatenate(run(exported._batches(model, PAIRS, 7)))[:, 0]
        if "int8" in name:
            assert np.corrcoef(logits, expected)[0, 1] > 0.95, name
        else:
            np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4, err_msg=name)
