"""The configuration of a BERT, read without transformers: the same as theirs, or none."""

import json
import shutil
from dataclasses import fields

import pytest
from transformers import AutoConfig

from rerank.bert.settings import BertSettings, bert_settings
from rerank.config import BUNDLED, ScorerConfig


@pytest.fixture
def folder(tmp_path):
    source = ScorerConfig(model=BUNDLED).location
    shutil.copy(f"{source}/config.json", tmp_path)
    return tmp_path


def read(folder, **options) -> BertSettings | None:
    return bert_settings(ScorerConfig(model=str(folder), **options))


def test_they_are_those_of_transformers(folder):
    ours, theirs = read(folder), AutoConfig.from_pretrained(folder)
    names = [field.name for field in fields(ours) if not field.name.startswith("_")]
    assert [getattr(ours, name) for name in names if name != "architectures"] == [
        getattr(theirs, name) for name in names if name != "architectures"
    ]
    assert list(ours.architectures) == theirs.architectures


@pytest.mark.parametrize(
    "changes",
    [
        {"model_type": "roberta"},
        {"architectures": ["BertForMaskedLM"]},
        {"hidden_act": "relu"},
        {"position_embedding_type": "relative_key"},
        {"is_decoder": True},
        {"id2label": {"0": "no", "1": "yes"}},
        {"quantization_config": {}},
        {"auto_map": {}},
        {"hidden_size": "384"},
        {"num_attention_heads": 7},
        {"layer_norm_eps": None},
    ],
)
def test_another_model_is_left_to_transformers(folder, changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    assert read(folder) is None


@pytest.mark.parametrize("name", ["modules.json", "adapter_config.json"])
def test_further_files_are_left_to_the_library(folder, name):
    (folder / name).write_text("[]")
    assert read(folder) is None


def test_code_of_its_own_is_left_to_transformers(folder):
    assert read(folder, trust_remote_code=True) is None
