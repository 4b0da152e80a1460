"""What a request may ask to be cut, and what it may ask not to be: with both encoders, against the tokeniser itself."""

import asyncio
import shutil

import numpy as np
import pytest
from tokenizers import Tokenizer, processors
from transformers import AutoTokenizer

from rerank.actor import RerankActor
from rerank.config import ScorerConfig
from rerank.engines import load_encoder
from rerank.errors import InputError, TooLongError
from rerank.types import RerankRequest, TokenLimits
from tests.models import CORPUS, MAX_LENGTH
from tests.rerank.test_oracle import TOLERANCE

QUERY, SHORT, LONG = CORPUS[0], CORPUS[9], " ".join(CORPUS * 2)
DOCUMENTS = (SHORT, LONG, CORPUS[1])


@pytest.fixture(scope="module", params=["bert", "xlm-roberta", "document first"])
def folder(request, folder_of, tmp_path_factory):
    """Models whose pairs are joined from parts, and one whose are not."""
    if request.param != "document first":
        return folder_of(request.param)
    folder = tmp_path_factory.mktemp("document-first")
    shutil.copytree(folder_of("xlm-roberta"), folder, dirs_exist_ok=True)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A", pair="<s> $B </s> </s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture
def rows(folder):
    """Token ids of each document's pair under these limits."""
    encoder = load_encoder(ScorerConfig(model=str(folder)))

    def encode(limits, documents=DOCUMENTS, query=QUERY):
        places = np.arange(len(documents), dtype=np.int32)
        pairs = encoder.encode([query], documents, np.zeros_like(places), places, limits)
        ids, _, offsets = pairs.join(places)
        return [row.tolist() for row in np.split(ids, offsets[1:-1])]

    return encode


@pytest.fixture
def tokenizer(folder):
    return AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("most", [1, 7, 40])
def test_each_document_is_cut_before_it_is_paired(folder, rows, tokenizer, most):
    """Without a template a document is cut between two tokens of its text, where a lone blank may be lost."""
    fewest = most - 1 if folder.name.startswith("document-first") else most
    short = tokenizer(SHORT, add_special_tokens=False)["input_ids"]
    beside = len(tokenizer(QUERY, SHORT)["input_ids"]) - len(short)
    for row, document in zip(rows(TokenLimits(document=most)), DOCUMENTS, strict=True):
        alone = tokenizer(document, add_special_tokens=False)["input_ids"]
        kept = len(row) - beside
        assert min(fewest, len(alone)) <= kept <= min(most, len(alone))
        assert any(row[start : start + kept] == alone[:kept] for start in range(len(row)))


@pytest.mark.parametrize(("limit", "query"), [(MAX_LENGTH, QUERY), (10**30, QUERY), (10**30, LONG)])
def test_a_limit_above_the_models_changes_nothing(rows, limit, query):
    assert rows(TokenLimits(document=limit, pair=limit), query=query) == rows(TokenLimits(), query=query)


@pytest.mark.parametrize("most", [9, 30, 64])
def test_pairs_are_cut_as_the_tokeniser_cuts_them(rows, tokenizer, most):
    theirs = tokenizer([QUERY] * 3, list(DOCUMENTS), truncation="longest_first", max_length=most)
    assert rows(TokenLimits(pair=most)) == theirs["input_ids"]
    assert max(map(len, rows(TokenLimits()))) == MAX_LENGTH


def test_a_pair_that_must_not_be_cut_is_refused_by_its_place(rows, tokenizer):
    longest = max(len(ids) for ids in tokenizer([QUERY] * 2, [SHORT, CORPUS[1]])["input_ids"])
    assert rows(TokenLimits(strict=True), (SHORT, CORPUS[1])) == rows(TokenLimits(), (SHORT, CORPUS[1]))
    assert len(rows(TokenLimits(pair=longest, strict=True), (SHORT, CORPUS[1]))) == 2
    for limits, most in ((TokenLimits(strict=True), MAX_LENGTH), (TokenLimits(pair=longest, strict=True), longest)):
        with pytest.raises(TooLongError, match=rf"documents\[1\] must have at most {most} tokens") as problem:
            rows(limits)
        assert (problem.value.index, problem.value.most) == (1, most)


def test_no_room_for_text_is_refused(rows):
    with pytest.raises(InputError, match=r"limit of a pair must be above its \d special tokens, got 2"):
        rows(TokenLimits(pair=2))


@pytest.mark.parametrize("limits", [{"document": 0}, {"pair": -1}])
def test_limits_are_at_least_one(limits):
    with pytest.raises(InputError, match="must be at least 1"):
        TokenLimits(**limits)


def test_requests_with_and_without_limits_share_batches(folder_of):
    actor = RerankActor(ScorerConfig(model=str(folder_of("bert")), device="cpu", dtype="float32"))
    limits = (TokenLimits(), TokenLimits(document=5), TokenLimits(pair=30), TokenLimits(strict=True))

    async def rank(limit):
        return await actor.rerank(RerankRequest(QUERY, DOCUMENTS, token_limits=limit))

    async def together():
        return await asyncio.gather(*map(rank, limits), return_exceptions=True)

    *ranked, refused = asyncio.run(together())
    assert isinstance(refused, TooLongError)
    for limit, result in zip(limits, ranked, strict=False):
        alone = asyncio.run(rank(limit))
        assert result.tokens == alone.tokens
        assert [place.logit for place in result.ranked] == pytest.approx(
            [place.logit for place in alone.ranked], abs=TOLERANCE
        )
    assert ranked[1].tokens < ranked[2].tokens < ranked[0].tokens
