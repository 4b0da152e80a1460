"""Windows against those written down by hand, for every size, and how much of a text is tokenised at once."""

import numpy as np
import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from rerank.encoding.reading import read_starts
from rerank.encoding.windows import WindowSizes, split_text
from tests.rerank.test_passages import DOCUMENTS
from tests.rerank.windows_by_hand import windows

ALL = 10**9


class Recording:
    """A tokeniser that notes how many characters it was given at once."""

    def __init__(self, tokenizer):
        self._tokenizer, self.sizes = tokenizer, []

    def encode_batch(self, texts, **options):
        self.sizes.append(sum(map(len, texts)))
        return self._tokenizer.encode_batch(texts, **options)


def load(folder):
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    return tokenizer


@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta"])
@pytest.mark.parametrize("sizes", [(8, 0, None), (8, 1, 3), (8, 7, None), (24, 23, 9), (64, 12, None), (300, 32, 1)])
def test_windows_are_those_by_hand(folder_of, family, sizes):
    tokenizer, reference = load(folder_of(family)), AutoTokenizer.from_pretrained(folder_of(family))
    for name, text in DOCUMENTS.items():
        (starts,) = read_starts(tokenizer, [text], ALL)
        spans, end = split_text(text, starts, WindowSizes(*sizes))
        assert spans == windows(reference, text, *sizes), name
        assert sizes[2] is not None or not text[end:].strip(), name


@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta"])
def test_a_long_text_is_tokenised_in_pieces_nearly_as_if_it_were_whole(folder_of, family):
    tokenizer = load(folder_of(family))
    texts = [" ".join(f"Sentence {n} is here." for n in range(20_000)), "short", "x" * 200_000]
    recording = Recording(tokenizer)
    starts = read_starts(recording, texts, ALL)
    assert max(recording.sizes) < 70_000 and sum(recording.sizes) == sum(map(len, texts))
    whole = [first for first, _ in tokenizer.encode(texts[0], add_special_tokens=False).offsets]
    # Where a piece begins, Unigram behind a normaliser that strips loses the blank in front of a word.
    others = np.setxor1d(starts[0], whole)
    assert len(others) <= 2 * len(recording.sizes) if family == "xlm-roberta" else not len(others)


def test_only_as_much_is_tokenised_as_is_needed(folder_of):
    recording = Recording(load(folder_of("bert")))
    (starts,) = read_starts(recording, ["Sentence after sentence. " * 40_000], 500)
    assert len(starts) > 500 and sum(recording.sizes) < 20_000
