"""Our own BERT: the logits of transformers' to the last bit, and never another model than the files describe."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from rerank.config import BUNDLED, ScorerConfig
from rerank.encoding.pairs import EncodedPairs
from rerank.engines import load_encoder
from rerank.engines.classifier import load_classifier, load_plain_bert
from rerank.engines.cross_encoder import CrossEncoderEngine, _forward_of
from rerank.engines.forward.bert import BertForSequenceClassification
from tests.models import CORPUS

CPU = torch.device("cpu")


def pairs_for(config: ScorerConfig) -> EncodedPairs:
    documents = [*CORPUS, " ".join(CORPUS)]
    places = torch.arange(len(documents)).numpy()
    return load_encoder(config).encode(CORPUS[:1], documents, 0 * places, places)


@pytest.mark.parametrize("family", ["bert", "untyped-bert", BUNDLED])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logits_are_those_of_transformers(folder_of, family, dtype):
    config = ScorerConfig(model=BUNDLED if family == BUNDLED else str(folder_of(family)), device="cpu")
    pairs, rows = pairs_for(config), range(len(CORPUS) + 1)
    with torch.inference_mode():
        ours, theirs = (
            _forward_of(loaded, CPU, dtype, packed=True, shares_prefixes=False)(pairs, list(rows))
            for loaded in (load_plain_bert(config, dtype), load_classifier(config, CPU, dtype))
        )
    assert torch.equal(ours, theirs)


def test_an_engine_takes_it_unless_it_must_pad(folder_of):
    config = ScorerConfig(model=str(folder_of("bert")), device="cpu")
    ours, padded = CrossEncoderEngine(config), CrossEncoderEngine(config, packed=False)
    assert isinstance(ours._forward._model, BertForSequenceClassification)
    assert not isinstance(padded._forward._model, BertForSequenceClassification)
    assert ours.description == padded.description | {"engine": "packed"}


@pytest.mark.parametrize("family", ["xlm-roberta", "modernbert", "qwen3"])
def test_other_families_are_left_to_transformers(folder_of, family):
    assert load_plain_bert(ScorerConfig(model=str(folder_of(family))), torch.float32) is None


def without_pooler(weights: dict[str, torch.Tensor]) -> None:
    del weights["bert.pooler.dense.bias"]


def with_another(weights: dict[str, torch.Tensor]) -> None:
    weights["adapter.weight"] = torch.zeros(1)


def with_two_labels(weights: dict[str, torch.Tensor]) -> None:
    weights["classifier.bias"] = torch.zeros(2)


def with_positions(weights: dict[str, torch.Tensor]) -> None:
    weights["bert.embeddings.position_ids"] = torch.arange(96)[None]


@pytest.mark.parametrize(
    ("change", "loads"),
    [(without_pooler, False), (with_another, False), (with_two_labels, False), (with_positions, True)],
)
def test_other_weights_than_the_model_needs_are_left_to_transformers(folder_of, tmp_path, change, loads):
    assert (load_plain_bert(changed(folder_of("bert"), tmp_path, change), torch.float32) is not None) == loads


def changed(source: Path, folder: Path, change) -> ScorerConfig:
    shutil.copytree(source, folder, dirs_exist_ok=True)
    weights = load_file(source / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return ScorerConfig(model=str(folder), device="cpu")


def test_a_damaged_file_is_left_to_transformers(folder_of, tmp_path):
    shutil.copytree(folder_of("bert"), tmp_path, dirs_exist_ok=True)
    (tmp_path / "model.safetensors").write_bytes(b"short")
    assert load_plain_bert(ScorerConfig(model=str(tmp_path)), torch.float32) is None
