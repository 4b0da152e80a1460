"""The tokeniser of a BERT, read without transformers: the same as theirs, or none."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from rerank.bert.tokenizer import input_names, load_plain_tokenizer
from rerank.config import BUNDLED, ScorerConfig
from rerank.model_files import ModelFiles

BUNDLED_FOLDER = Path(ScorerConfig(model=BUNDLED).location)
TRUNCATION = {"direction": "Right", "max_length": 64, "strategy": "LongestFirst", "stride": 0}
PADDING = {
    "strategy": "BatchLongest",
    "direction": "Right",
    "pad_to_multiple_of": None,
    "pad_id": 0,
    "pad_type_id": 0,
    "pad_token": "[PAD]",
}
SPECIAL = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
DECODER = {
    str(place): {"content": token, **SPECIAL}
    for place, token in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"))
}


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory) -> Path:
    """The bundled tokeniser with a small vocabulary, which loads faster."""
    folder = tmp_path_factory.mktemp("tiny")
    for name in ("config.json", "tokenizer_config.json"):
        shutil.copy(BUNDLED_FOLDER / name, folder)
    saved = json.loads((BUNDLED_FOLDER / "tokenizer.json").read_text())
    vocabulary = saved["model"]["vocab"]
    saved["model"]["vocab"] = {piece: place for piece, place in vocabulary.items() if place < 400}
    (folder / "tokenizer.json").write_text(json.dumps(saved))
    return folder


@pytest.fixture
def change(tiny_folder, tmp_path):
    """Return the files of a copy, changed: what each JSON file gets, or a new value of a path in tokenizer.json."""

    def apply(settings: dict[str, Any] | None = None, saved: dict[str, Any] | None = None, **files: Any) -> ModelFiles:
        shutil.copytree(tiny_folder, tmp_path, dirs_exist_ok=True)
        for name, values in (("tokenizer_config.json", settings), ("tokenizer.json", saved)):
            content = json.loads((tmp_path / name).read_text()) | (values or {})
            kept = {key: value for key, value in content.items() if value is not ...}
            (tmp_path / name).write_text(json.dumps(kept))
        for name, content in files.items():
            (tmp_path / f"{name}.json").write_text(json.dumps(content))
        return ModelFiles(str(tmp_path))

    return apply


def both(files: ModelFiles) -> tuple[Any, Any]:
    return load_plain_tokenizer(files, split_special_tokens=False), AutoTokenizer.from_pretrained(files.location)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"settings": {"tokenizer_class": "BertTokenizerFast", "clean_up_tokenization_spaces": True}},
        {"settings": {"added_tokens_decoder": DECODER}, "special_tokens_map": {"bos_token": "<s>"}},
        {"special_tokens_map": {"cls_token": "[CLS]", "sep_token": "[SEP]"}},
        {"saved": {"truncation": TRUNCATION, "padding": PADDING}},
        {"settings": {"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": ["input_ids"]}},
        {
            "settings": {
                "tokenizer_class": "TokenizersBackend",
                "model_input_names": ["input_ids", "attention_mask"],
                "do_lower_case": False,
            },
            "saved": {"normalizer": {"type": "Lowercase"}},
        },
    ],
)
def test_it_is_the_one_of_transformers(change, changes):
    files = change(**changes)
    ours, theirs = both(files)
    assert json.loads(ours.backend_tokenizer.to_str()) == json.loads(theirs.backend_tokenizer.to_str())
    names = ("is_fast", "model_max_length", "truncation_side", "chat_template")
    assert [getattr(ours, name) for name in names] == [getattr(theirs, name) for name in names]
    assert list(input_names(files)) == theirs.model_input_names


def test_special_tokens_are_split_on_request(change):
    files = change()
    assert load_plain_tokenizer(files, split_special_tokens=True).backend_tokenizer.encode_special_tokens
    assert not load_plain_tokenizer(files, split_special_tokens=False).backend_tokenizer.encode_special_tokens


@pytest.mark.parametrize(
    "changes",
    [
        {"settings": {"do_lower_case": False}},  # transformers makes another normaliser
        {"settings": {"strip_accents": False}},
        {"settings": {"tokenizer_class": "DistilBertTokenizer"}},
        {"settings": {"tokenizer_class": ...}},
        {"settings": {"tokenizer_class": "PreTrainedTokenizerFast"}},  # inputs are transformers' default
        {"settings": {"truncation_side": "left"}},
        {"settings": {"model_max_length": ...}},
        {"settings": {"an_unknown_setting": 1}},
        {"settings": {"chat_template": "{{ messages }}"}},
        {"settings": {"cls_token": "[BOS]"}},  # a token that is to be added
        {"settings": {"cls_token": {"content": "[CLS]", "__type": "AddedToken"}}},
        {"settings": {"added_tokens_decoder": {"5": {"content": "[NEW]", **SPECIAL}}}},
        {"special_tokens_map": {"bos_token": "<s>"}},
        {"added_tokens": {"[NEW]": 400}},
        {"saved": {"normalizer": None}},
        {"saved": {"pre_tokenizer": {"type": "Whitespace"}}},
        {"saved": {"post_processor": None}},
        {"saved": {"added_tokens": []}},
        {"saved": {"truncation": TRUNCATION | {"direction": "Left"}}},
    ],
)
def test_what_only_transformers_can_tell_is_left_to_it(change, changes):
    assert load_plain_tokenizer(change(**changes), split_special_tokens=False) is None
