"""Special tokens spelled out in a text: tokens by default, text with `split_special_tokens`, as transformers does."""

import json
import pickle
import shutil

import numpy as np
import pytest
from ray import cloudpickle
from transformers import AutoTokenizer

from rerank.engines import load_encoder
from tests.models import CORPUS, MAX_LENGTH
from tests.rerank.encoding.test_pair_call import with_template
from tests.rerank.encoding.test_pairs import SPECIALS
from tests.rerank.test_oracle import exact

TEXTS = [
    *SPECIALS,
    *(f"before {special} after" for special in SPECIALS),
    *(f"x{special}{special}y" for special in SPECIALS),
    "[SEP]" * 40,
    "[ SEP ] < s >",
    CORPUS[0],
]
QUERIES = [TEXTS[0], TEXTS[11], TEXTS[5], CORPUS[1]]
QUERY_OF = np.repeat(np.arange(len(QUERIES), dtype=np.int32), len(TEXTS))
DOCUMENT_OF = np.tile(np.arange(len(TEXTS), dtype=np.int32), len(QUERIES))


def ids_of(encoder) -> list[list[int]]:
    pairs = encoder.encode(QUERIES, TEXTS, QUERY_OF, DOCUMENT_OF)
    ids, _, offsets = pairs.join(np.arange(len(pairs)))
    return [row.tolist() for row in np.split(ids, offsets[1:-1])]


def expected(folder, **options) -> list[list[int]]:
    """The ids of a tokeniser that is loaded, and then called, with these options."""
    loaded, called = (
        AutoTokenizer.from_pretrained(folder, **at_loading)(
            [QUERIES[query] for query in QUERY_OF],
            [TEXTS[document] for document in DOCUMENT_OF],
            truncation="longest_first",
            max_length=MAX_LENGTH,
            **at_call,
        )["input_ids"]
        for at_loading, at_call in ((options, {}), ({}, options))
    )
    assert loaded == called
    return loaded


@pytest.fixture
def document_first(folder_of, tmp_path):
    """A model whose tokeniser is called pair by pair."""
    shutil.copytree(folder_of("xlm-roberta"), tmp_path, dirs_exist_ok=True)
    tokenizer = with_template(tmp_path, "<s> $B </s> </s> $A </s>", [("<s>", 0), ("</s>", 2)])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def test_both_ways_are_those_of_the_tokeniser(model_folder):
    """WordPiece, byte-level BPE and Unigram. Both settings are loaded side by side, in both orders."""
    as_tokens, as_text = (load_encoder(exact(model_folder, split_special_tokens=split)) for split in (False, True))
    for _ in range(2):
        assert ids_of(as_tokens) == expected(model_folder)
        assert ids_of(as_text) == expected(model_folder, split_special_tokens=True)
    assert ids_of(as_tokens) != ids_of(as_text)
    assert as_tokens.template == as_text.template  # the special tokens round the texts stay


def test_pairs_that_are_called_one_by_one_are_too(document_first):
    encoder = load_encoder(exact(document_first, split_special_tokens=True))
    assert encoder.unit == "pair"
    assert ids_of(encoder) == expected(document_first, split_special_tokens=True) != expected(document_first)


def test_the_bundled_model_is_too():
    folder = exact("docs-mini").location
    split = [
        AutoTokenizer.from_pretrained(folder, split_special_tokens=True)(query, text, truncation=True)["input_ids"]
        for query, text in [("[SEP]", "[CLS] a [SEP]")]
    ]
    encoder = load_encoder(exact("docs-mini", split_special_tokens=True))
    pairs = encoder.encode(["[SEP]"], ["[CLS] a [SEP]"], np.zeros(1, np.int32), np.zeros(1, np.int32))
    assert [pairs.join(np.arange(1))[0].tolist()] == split


def test_a_tokeniser_that_declares_it_splits_without_the_option(folder_of, tmp_path):
    shutil.copytree(folder_of("bert"), tmp_path, dirs_exist_ok=True)
    declared = json.loads((tmp_path / "tokenizer_config.json").read_text()) | {"split_special_tokens": True}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(declared))
    encoder = load_encoder(exact(tmp_path))
    assert ids_of(pickle.loads(pickle.dumps(encoder))) == ids_of(encoder) == expected(tmp_path)
    assert ids_of(encoder) == expected(folder_of("bert"), split_special_tokens=True)


@pytest.mark.parametrize("unit", ["text", "pair"])
@pytest.mark.parametrize("pickler", [pickle, cloudpickle], ids=["pickle", "cloudpickle"])
def test_an_encoder_that_is_sent_on_splits_as_before(folder_of, document_first, unit, pickler):
    folder = folder_of("roberta") if unit == "text" else document_first
    for split in (True, False):
        encoder = load_encoder(exact(folder, split_special_tokens=split))
        assert encoder.unit == unit
        sent_twice = pickle.loads(pickler.dumps(pickle.loads(pickler.dumps(encoder))))
        assert ids_of(sent_twice) == ids_of(encoder)
