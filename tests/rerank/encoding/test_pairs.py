"""Pairs joined from parts must be what the tokeniser's own pair call gives, token for token."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from rerank.config import ScorerConfig
from rerank.encoding.pairs import Encoder, UnjoinableError
from rerank.encoding.truncate import truncate_longest_first
from rerank.engines import load_encoder
from rerank.errors import ModelError
from tests.models import CORPUS, FAMILIES, MAX_LENGTH

SPECIALS = ("[CLS]", "[SEP]", "[PAD]", "[UNK]", "<s>", "</s>", "<pad>", "<mask>", "<|endoftext|>", "<|im_end|>")
ODDITIES = (
    "",
    " ",
    "\n\t",
    "\u200b",
    "\ufeff",
    "🙂",
    "👩‍👩‍👧",
    "é",
    "e\u0301",
    "ﬁ",
    "配送",
    "مرحبا",
    "\x00",
    "a" * 120,
)

words = st.one_of(st.sampled_from(SPECIALS + ODDITIES + CORPUS), st.text(max_size=15))
texts = st.builds(str.join, st.sampled_from(["", " "]), st.lists(words, max_size=12))


@pytest.fixture(scope="module")
def tokenizers(model_folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model_folder), Tokenizer.from_file(str(model_folder / "tokenizer.json"))


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(queries=st.lists(texts, min_size=1, max_size=4), document=texts, max_length=st.integers(8, MAX_LENGTH))
@example(queries=["?"], document=" ".join(CORPUS * 3), max_length=MAX_LENGTH)
@example(queries=[" ".join(CORPUS * 3)], document="?", max_length=MAX_LENGTH)
@example(queries=[" ".join(CORPUS)], document=" ".join(CORPUS[::-1]), max_length=MAX_LENGTH - 1)
@example(queries=["", " "], document="", max_length=8)
def test_pairs_equal_the_tokenisers_own(tokenizers, queries, document, max_length):
    theirs, ours = tokenizers
    encoder = Encoder(ours, max_length=max_length)
    pairs = encoder.pair(
        encoder.tokenize(queries),
        encoder.tokenize([document]),
        np.arange(len(queries), dtype=np.int32),
        np.zeros(len(queries), dtype=np.int32),
    )
    ids, types, offsets = pairs.join(np.arange(len(pairs)))
    expected = theirs(
        queries,
        [document] * len(queries),
        truncation="longest_first",
        max_length=max_length,
        return_token_type_ids=True,
    )
    assert [row.tolist() for row in np.split(ids, offsets[1:-1])] == expected["input_ids"]
    assert [row.tolist() for row in np.split(types, offsets[1:-1])] == expected["token_type_ids"]
    assert pairs.lengths.tolist() == [len(row) for row in expected["input_ids"]]


def ids_of(pairs) -> list[list[int]]:
    """The token ids of each pair."""
    ids, _, offsets = pairs.join(np.arange(len(pairs)))
    return [row.tolist() for row in np.split(ids, offsets[1:-1])]


class Counting:
    """A tokeniser that counts the characters and the tokens of its calls."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.characters: list[int] = []
        self.tokens: list[int] = []

    def encode_batch_fast(self, texts, **options):
        encodings = self.tokenizer.encode_batch_fast(texts, **options)
        self.characters.append(sum(map(len, texts)))
        self.tokens.append(sum(map(len, encodings)))
        return encodings

    def __getattr__(self, name):
        return getattr(self.tokenizer, name)


SPARSE = " " * 5_000 + "a" * 3_000  # few tokens in many characters
LONG_ONES = (" ".join(CORPUS * 100), "配送" * 9_000, SPARSE + " ".join(CORPUS * 100), "." * 30_000)


def test_a_long_text_is_read_only_as_far_as_a_pair_can_hold_it(tokenizers):
    theirs, ours = tokenizers
    counting = Counting(ours)
    encoder = Encoder(counting, max_length=MAX_LENGTH)
    count = np.arange(len(LONG_ONES), dtype=np.int32)
    pairs = encoder.encode(["?"], LONG_ONES, np.zeros_like(count), count)
    expected = theirs(["?"] * len(LONG_ONES), LONG_ONES, truncation="longest_first", max_length=MAX_LENGTH)["input_ids"]
    assert ids_of(pairs) == expected
    assert sum(counting.characters) < sum(map(len, LONG_ONES)) / 2
    assert pairs.documents.lengths.max() <= MAX_LENGTH + 1


def test_no_more_is_tokenised_at_once_than_memory_holds(folder_of):
    counting = Counting(Tokenizer.from_file(str(folder_of("bert") / "tokenizer.json")))
    encoder = Encoder(counting, max_length=MAX_LENGTH)
    rows = np.arange(300, dtype=np.int32)
    encoder.encode(["?"], ["." * 10_000] * 300, np.zeros_like(rows), rows)
    assert max(counting.characters) <= 65_536 and max(counting.tokens) <= 65_536
    assert len(counting.tokens) == 10


def test_encoding_stops_at_the_next_chunk(folder_of):
    counting = Counting(Tokenizer.from_file(str(folder_of("bert") / "tokenizer.json")))
    encoder = Encoder(counting, max_length=MAX_LENGTH)
    rows = np.arange(300, dtype=np.int32)

    def stop() -> None:
        if len(counting.characters) >= 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        encoder.encode(["?"], ["." * 10_000] * 300, np.zeros_like(rows), rows, checkpoint=stop)
    assert len(counting.characters) == 3


long_words = st.one_of(
    st.sampled_from([*ODDITIES, *CORPUS, "a" * 99, "xq" * 50, "a" * 101, "配送" * 300, "." * 900, " " * 2_000]),
    st.text(max_size=40),
)
long_texts = st.builds(
    lambda words, times, end: " ".join(words) * times + end,
    st.lists(long_words, min_size=1, max_size=5),
    st.integers(1, 6),
    st.sampled_from(["", ".", " end of it"]),
)


@settings(max_examples=10, suppress_health_check=[HealthCheck.too_slow])
@given(query=st.one_of(texts, long_texts), documents=st.lists(long_texts, min_size=1, max_size=2), odd=st.booleans())
@example(query="a " * 3_000, documents=["a " * 2_999, "a " * 3_000, "a " * 3_001], odd=True)
@example(query="a " * 3_000, documents=["a " * 2_999, "a " * 3_000, "a " * 3_001], odd=False)
def test_long_texts_give_the_tokenisers_own_pairs(tokenizers, query, documents, odd):
    """The longer text of a pair keeps the odd token, even where both are read only in part."""
    theirs, ours = tokenizers
    count = np.arange(len(documents), dtype=np.int32)
    pairs = Encoder(ours, max_length=MAX_LENGTH - odd).encode([query], documents, np.zeros_like(count), count)
    options = {"truncation": "longest_first", "max_length": MAX_LENGTH - odd}
    assert ids_of(pairs) == theirs([query] * len(documents), documents, **options)["input_ids"]


SENT = """
import pickle, sys
encoders, texts = pickle.load(sys.stdin.buffer)
rows = [[encoder.tokenize(texts).to_arrow().to_pylist(), encoder.template, encoder.max_length] for encoder in encoders]
pickle.dump((rows, "torch" in sys.modules), sys.stdout.buffer)
"""


def test_an_encoder_that_is_sent_to_a_process_is_the_same_and_brings_no_torch(folder_of):
    encoders = [load_encoder(ScorerConfig(model=str(folder_of(family)))) for family in FAMILIES]
    texts = [*ODDITIES, *SPECIALS, *CORPUS]
    sent = subprocess.run(
        [sys.executable, "-c", SENT], input=pickle.dumps((encoders, texts)), capture_output=True, check=True
    )
    here = [
        [encoder.tokenize(texts).to_arrow().to_pylist(), encoder.template, encoder.max_length] for encoder in encoders
    ]
    assert pickle.loads(sent.stdout) == (here, False)


def test_a_join_of_some_pairs_is_in_the_order_asked_for(tokenizers):
    encoder = Encoder(tokenizers[1], max_length=20)
    rows = np.arange(len(CORPUS), dtype=np.int32)
    tokens = encoder.tokenize(CORPUS)
    pairs = encoder.pair(tokens, tokens, rows, rows[::-1].copy())
    ids, _, offsets = pairs.join(rows)
    each = np.split(ids, offsets[1:-1])
    some, _, bounds = pairs.join(np.array([7, 2, 2]))
    assert [row.tolist() for row in np.split(some, bounds[1:-1])] == [each[place].tolist() for place in (7, 2, 2)]
    nothing, _, bounds = pairs.join(np.array([], dtype=np.int64))
    assert (nothing.tolist(), bounds.tolist()) == ([], [0])


def test_truncation_equals_the_tokenizers_library_at_every_small_length():
    tokenizer = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    sizes = [(first, second) for first in range(9) for second in range(9)]
    first, second = np.array(sizes).T
    for budget in range(1, 17):
        tokenizer.enable_truncation(budget, strategy="longest_first")
        encoded = tokenizer.encode_batch([("a " * one, "a " * two) for one, two in sizes])
        expected = [(pair.sequence_ids.count(0), pair.sequence_ids.count(1)) for pair in encoded]
        ours = truncate_longest_first(first, second, budget)
        assert list(zip(*(lengths.tolist() for lengths in ours), strict=True)) == expected


def test_a_limit_without_room_for_text_is_refused(folder_of):
    tokenizer = Tokenizer.from_file(str(folder_of("bert") / "tokenizer.json"))
    with pytest.raises(ModelError, match="max_length must be above 3, the special tokens of a pair, got 3"):
        Encoder(tokenizer, max_length=3)
    assert Encoder(tokenizer, max_length=4).template.special_count == 3


def test_a_limit_beyond_the_models_positions_is_refused(model_folder):
    accepted = ScorerConfig(model=str(model_folder), max_length=MAX_LENGTH)
    assert load_encoder(accepted).max_length == MAX_LENGTH
    with pytest.raises(ModelError, match=f"max_length must be at most {MAX_LENGTH}, .* got {MAX_LENGTH + 1}"):
        load_encoder(accepted.model_copy(update={"max_length": MAX_LENGTH + 1}))


@pytest.mark.parametrize("pair", ["[CLS] $B [SEP] $A [SEP]", "[CLS] $A $A [SEP] $B [SEP]"])
def test_a_template_that_is_not_two_texts_between_special_tokens_is_refused(folder_of, pair):
    tokenizer = Tokenizer.from_file(str(folder_of("bert") / "tokenizer.json"))
    specials = [("[CLS]", 2), ("[SEP]", 3)]
    tokenizer.post_processor = processors.TemplateProcessing(single="$A", pair=pair, special_tokens=specials)
    with pytest.raises(UnjoinableError, match=r"depend on the texts|differently inside a pair"):
        Encoder(tokenizer, max_length=32)
