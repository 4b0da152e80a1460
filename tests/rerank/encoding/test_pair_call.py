"""Tokenisers that cannot be taken apart are called pair by pair, and everything else stays as it is."""

import json
import logging
import pickle
import shutil

import numpy as np
import pytest
from sentence_transformers import CrossEncoder
from tokenizers import Tokenizer, processors

from rerank.batching.merge import merge
from rerank.encoding.pair_call import PairCallEncoder
from rerank.encoding.pairs import Encoder
from rerank.engines import load_encoder
from rerank.errors import ModelError
from rerank.reranker import Reranker
from rerank.types import TokenLimits
from tests.fakes import candidate_sets
from tests.models import CORPUS, MAX_LENGTH
from tests.rerank.test_oracle import LONG, PAIRS, TOLERANCE, exact, oracle

DOCUMENT_FIRST = "<s> $B </s> </s> $A </s>"


def with_template(folder, pair, specials):
    """The tokeniser of a model folder, with other pairs."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.post_processor = processors.TemplateProcessing(single="$A", pair=pair, special_tokens=specials)
    return tokenizer


@pytest.fixture
def folder(folder_of, tmp_path):
    """XLM-R that reads the document before the query."""
    shutil.copytree(folder_of("xlm-roberta"), tmp_path, dirs_exist_ok=True)
    with_template(tmp_path, DOCUMENT_FIRST, [("<s>", 0), ("</s>", 2)]).save(str(tmp_path / "tokenizer.json"))
    return tmp_path


@pytest.fixture
def expected(folder):
    return oracle(CrossEncoder(str(folder), device="cpu"), PAIRS)


def rows_of(encoder, queries, documents, query_of, document_of):
    pairs = encoder.encode(queries, documents, np.array(query_of, np.int32), np.array(document_of, np.int32))
    ids, types, offsets = pairs.join(np.arange(len(pairs)))
    assert pairs.lengths.tolist() == np.diff(offsets).tolist()
    assert not types.any()
    return pairs, [row.tolist() for row in np.split(ids, offsets[1:-1])]


def test_pairs_are_those_of_the_tokenisers_own_call(folder):
    from transformers import AutoTokenizer

    texts = [*CORPUS, "x", "", LONG * 2, "a </s> b"]
    places = [(query, document) for query in (0, 5, 10, 12) for document in range(len(texts))]
    encoder = load_encoder(exact(folder))
    _, rows = rows_of(encoder, texts, texts, *zip(*places, strict=True))
    assert rows_of(pickle.loads(pickle.dumps(encoder)), texts, texts, *zip(*places, strict=True))[1] == rows
    theirs = AutoTokenizer.from_pretrained(folder)(
        *([texts[pair[side]] for pair in places] for side in (0, 1)), truncation="longest_first", max_length=MAX_LENGTH
    )
    assert rows == theirs["input_ids"]
    assert max(map(len, rows)) == MAX_LENGTH


def test_no_more_pairs_are_encoded_at_once_than_memory_holds(folder, monkeypatch):
    encoder = load_encoder(exact(folder))
    whole = rows_of(encoder, CORPUS, CORPUS, np.zeros(10), np.arange(10))[1]
    monkeypatch.setattr("rerank.encoding.reading._CHUNK_CHARACTERS", 300)
    assert rows_of(encoder, CORPUS, CORPUS, np.zeros(10), np.arange(10))[1] == whole


@pytest.mark.parametrize("max_length", [MAX_LENGTH, MAX_LENGTH - 1])
def test_long_texts_are_read_only_in_part(folder, max_length):
    from transformers import AutoTokenizer

    words = "a b c "
    queries = ["?", words * 1_000]
    documents = [words * 999 + "d", words * 1_000, words * 1_001, " ".join(CORPUS * 20), "x" * 5_000 + words, "end"]
    places = [(query, document) for query in range(len(queries)) for document in range(len(documents))]
    encoder = load_encoder(exact(folder).model_copy(update={"max_length": max_length}))
    _, rows = rows_of(encoder, queries, documents, *zip(*places, strict=True))
    texts = ([queries[query] for query, _ in places], [documents[document] for _, document in places])
    assert rows == AutoTokenizer.from_pretrained(folder)(*texts, truncation=True, max_length=max_length)["input_ids"]
    heads = encoder._heads(queries[:1], documents, max_length, TokenLimits(), lambda: None)[1]
    assert max(map(len, heads)) < 3_000 < min(map(len, documents[:4])), "no more than a pair can hold"


def test_such_a_tokeniser_is_told_of_once(folder, caplog):
    with caplog.at_level(logging.WARNING):
        encoders = [load_encoder(exact(folder)) for _ in range(2)]
    assert [encoder.unit for encoder in encoders] == ["pair", "pair"]
    (told,) = caplog.messages
    assert told.startswith(f"{folder}: the tokeniser") and told.endswith("tokenised by itself, which takes longer")


def test_tokenisers_that_can_be_taken_apart_are(folder_of):
    assert load_encoder(exact(folder_of("xlm-roberta"))).unit == Encoder.unit == "text"


def test_a_ranked_table_holds_the_oracles_logits(folder, expected):
    table = candidate_sets((row, query, [(row, text), (-1, None)]) for row, (query, text) in enumerate(PAIRS))
    rows = Reranker(exact(folder)).rank_table(table)["candidates"].to_pylist()
    np.testing.assert_allclose([row[0]["logit"] for row in rows], expected, rtol=0, atol=TOLERANCE)


def test_pairs_of_several_requests_merge(folder):
    encoder = load_encoder(exact(folder))
    first, ids = rows_of(encoder, ["a", "b"], CORPUS, [0, 1, 1], [3, 2, 3])
    second, more = rows_of(encoder, ["c"], CORPUS, [0, 0], [5, 0])
    joined, _, offsets = merge([(first, np.array([2, 0])), (second, np.array([1]))]).join(np.arange(3))
    assert [row.tolist() for row in np.split(joined, offsets[1:-1])] == [ids[2], ids[0], more[1]]


def test_nothing_gives_no_pairs(folder):
    assert len(rows_of(load_encoder(exact(folder)), [], [], [], [])[0]) == 0


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("[CLS] $B [SEP] $A:1 [SEP]:1", r"must have a single token type, got \[0, 1\]"),
        ("[CLS] $A $A [SEP] $B [SEP]", "for a pair that is to be truncated to 64"),
    ],
)
def test_pairs_that_cannot_be_kept_are_refused(folder_of, pair, message):
    tokenizer = with_template(folder_of("bert"), pair, [("[CLS]", 2), ("[SEP]", 3)])
    with pytest.raises(ModelError, match=message):
        PairCallEncoder(tokenizer, max_length=MAX_LENGTH)


def test_a_tokeniser_that_drops_what_is_tried_is_called_too(folder_of, tmp_path):
    shutil.copytree(folder_of("xlm-roberta"), tmp_path, dirs_exist_ok=True)
    settings = json.loads((tmp_path / "tokenizer.json").read_text())
    settings["normalizer"] = {"type": "Replace", "pattern": {"Regex": "[a-z ]"}, "content": ""}
    (tmp_path / "tokenizer.json").write_text(json.dumps(settings))
    encoder = load_encoder(exact(tmp_path))
    assert encoder.unit == "pair"
    assert rows_of(encoder, ["all lower case"], ["so is this"], [0], [0])[1] == [[0, 2, 2, 2]]
