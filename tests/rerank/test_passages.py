"""Long documents by passages: windows, logits and spans against the reference library, and every way to rank alike."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder
from transformers import AutoTokenizer

from rerank.actor import RerankActor
from rerank.config import PassageSettings, ScorerConfig
from rerank.errors import ConfigError, InputError, TooLongError
from rerank.prepare import prepare
from rerank.ranking.options import RankingOptions
from rerank.ranking.passages import aggregate, in_documents
from rerank.reranker import USAGE, Reranker
from rerank.store import StoredScores
from rerank.types import PassageLimits, RerankRequest, TokenLimits
from tests.fakes import HashEngine, candidate_sets
from tests.models import CORPUS
from tests.rerank.test_oracle import TOLERANCE
from tests.rerank.windows_by_hand import windows

SIZE, OVERLAP = 24, 6
QUERY = CORPUS[0]
DOCUMENTS = {
    "short": CORPUS[9],
    "sentences": " ".join([*CORPUS, *reversed(CORPUS)]),
    "lines": "\n".join(line.rstrip(".?") for line in CORPUS),
    "no ends": " ".join(CORPUS).translate(str.maketrans("", "", ".?:;")),
    "chinese": " ".join(f"配送状況{n}はどこで。追跡番号を入力してください。「返品は無料です。」{n}" for n in range(7)),
    "chinese without ends": "".join(f"配送状況{n}追跡番号確認返品無料" for n in range(12)),
    "emoji": "".join(f"🙂👨‍👩‍👧👍🏽🇦🇹🇩🇪e\u0301{n} " for n in range(12)),
    "emoji without blanks": "".join(f"🙂{n}👨‍👩‍👧👍🏽🇦🇹🇩🇪e\u0301" for n in range(12)),
    "endless word": "".join(f"deepcopy{n}" for n in range(80)),
    "mostly blank": "Returns are free." + " \n" * 300 + "\t" * 200 + "Pack the parcel.",
    "quotes": "".join(f"He said: (return {n}.) \"Why?\" 'Free…' " for n in range(9)),
}
TEXTS = tuple(DOCUMENTS.values())


@pytest.fixture(scope="module", params=["bert", "roberta", "xlm-roberta"])
def folder(request, folder_of):
    """WordPiece, byte-level BPE, and Unigram over Metaspace."""
    return folder_of(request.param)


@pytest.fixture(scope="module")
def reference(folder):
    return CrossEncoder(str(folder), device="cpu"), AutoTokenizer.from_pretrained(folder)


def scorer(folder, **passages):
    settings = {"tokens": SIZE, "overlap": OVERLAP, **passages}
    return ScorerConfig(model=str(folder), device="cpu", dtype="float32", threads=1, passages=settings)


def by_hand(reference, how="max", most=None, overlap=OVERLAP, texts=TEXTS):
    """(index, logit, passages, best span) of each document, best first."""
    model, tokenizer = reference
    rows = []
    for index, text in enumerate(texts):
        spans = windows(tokenizer, text, SIZE, overlap, 1 if how == "first" else most)
        pairs = [(QUERY, text[start:end]) for start, end in spans]
        logits = model.predict(pairs, activation_fn=torch.nn.Identity())
        logit = float(logits.mean() if how == "mean" else logits.max())
        rows.append((index, logit, len(spans), spans[int(logits.argmax())]))
    return sorted(rows, key=lambda row: -row[1])


def check(ranked, expected):
    assert [(found[0], *found[2:]) for found in ranked] == [(row[0], *row[2:]) for row in expected]
    np.testing.assert_allclose([found[1] for found in ranked], [row[1] for row in expected], rtol=0, atol=TOLERANCE)


def of_result(result):
    return [(found.index, found.logit, found.passages, found.best_passage[:2]) for found in result.ranked]


def of_table(table):
    rows = table["candidates"].to_pylist()[0]
    spans = [(row["best_passage"]["start"], row["best_passage"]["end"]) for row in rows]
    return [(row["doc_id"], row["logit"], row["passages"], span) for row, span in zip(rows, spans, strict=True)]


def table_of(texts=TEXTS):
    return candidate_sets([("q", QUERY, list(enumerate(texts)))])


@pytest.mark.parametrize("how", ["max", "mean", "first"])
def test_every_way_to_rank_equals_the_reference_library(folder, reference, how):
    config = scorer(folder, aggregate=how)
    expected = by_hand(reference, how)
    reranker = Reranker(config)
    check(of_table(reranker.rank_table(table_of())), expected)
    check(of_table(reranker.rank_table(prepare(table_of(), reranker.encoder, splitter=reranker.splitter))), expected)
    request = RerankRequest(QUERY, TEXTS)
    check(of_result(reranker.rerank(request)), expected)
    check(of_result(reranker.rank_many([CORPUS[1], QUERY], [TEXTS[:3], TEXTS])[1]), expected)
    check(of_result(asyncio.run(RerankActor(config).rerank(request))), expected)


@pytest.mark.parametrize(("overlap", "most"), [(0, None), (6, 2), (23, None), (1, 1)])
def test_overlap_and_the_number_of_passages(folder, reference, overlap, most):
    expected = by_hand(reference, most=most, overlap=overlap)
    config = scorer(folder, overlap=overlap, max_passages=most)
    check(of_table(Reranker(config).rank_table(table_of())), expected)
    asked = RerankRequest(QUERY, TEXTS, passage_limits=PassageLimits(most, overlap))
    check(of_result(Reranker(scorer(folder)).rerank(asked)), expected)


def test_a_document_that_fits_scores_as_without_passages(folder):
    short = ["Reset it.", " \tfree of charge\n", "?"]
    reranker = Reranker(scorer(folder))
    whole = Reranker(reranker.config.model_copy(update={"passages": None})).rank(QUERY, short)
    ranked = reranker.rank(QUERY, short)
    assert [(found.index, found.logit, found.score) for found in ranked] == [
        (found.index, found.logit, found.score) for found in whole
    ]
    assert all(found.passages == 1 and found.best_passage[:2] == (0, len(short[found.index])) for found in ranked)
    assert all(found.passages is None and found.best_passage is None for found in whole)


def test_requests_cut_documents_before_they_are_split(folder, reference):
    limited = RerankRequest(QUERY, (DOCUMENTS["sentences"],), token_limits=TokenLimits(document=60))
    (found,) = Reranker(scorer(folder)).rerank(limited).ranked
    offsets = reference[1](DOCUMENTS["sentences"], add_special_tokens=False, return_offsets_mapping=True)
    head = DOCUMENTS["sentences"][: offsets["offset_mapping"][60][0]]
    check([(0, found.logit, found.passages, found.best_passage[:2])], by_hand(reference, texts=[head.rstrip()]))


def test_a_request_that_limits_pairs_is_truncated_as_it_asks(folder):
    request = RerankRequest(QUERY, TEXTS, token_limits=TokenLimits(pair=40))
    config = scorer(folder)
    without = Reranker(config.model_copy(update={"passages": None}))
    assert Reranker(config).rerank(request) == without.rerank(request)


def test_what_must_not_be_truncated_names_the_document(folder):
    query = " ".join(CORPUS)
    strict = RerankRequest(query, (CORPUS[9], DOCUMENTS["sentences"]), token_limits=TokenLimits(strict=True))
    with pytest.raises(TooLongError) as caught:
        Reranker(scorer(folder)).rerank(replace(strict, documents=strict.documents[::-1]))
    assert caught.value.index == 0
    fits = Reranker(scorer(folder)).rerank(replace(strict, query="free"))
    assert fits == Reranker(scorer(folder)).rerank(replace(strict, query="free", token_limits=TokenLimits()))


def test_only_passages_that_changed_are_scored_again():
    """With a store of nothing but a dictionary: one of 40 paragraphs gets a longer sentence."""
    encoder = Reranker().encoder
    reranker = Reranker(ScorerConfig(passages={"tokens": 128}), engine=HashEngine(), encoder=encoder)
    sentences = [f"Sentence {n} says that {CORPUS[n % 10].rstrip('.?')}." for n in range(160)]
    paragraphs = [" ".join(sentences[n : n + 4]) for n in range(0, 160, 4)]
    changed = [*paragraphs]
    changed[20] += " It is new, and nobody has read it before."
    stored = {}

    def lookup(hashes):
        logits = np.array([stored.get(tuple(row), np.nan) for row in hashes.tolist()], dtype=np.float32)
        return StoredScores(logits, np.zeros(len(logits), dtype=np.int32), ~np.isnan(logits))

    def save(hashes, logits, _):
        stored.update(zip(map(tuple, hashes.tolist()), np.nan_to_num(logits).tolist(), strict=True))

    def run(lines):
        table = prepare(table_of(["\n\n".join(lines)]), encoder, lookup=lookup, splitter=reranker.splitter)
        ranked = reranker.rank_table(table, save_scores=save)
        return ranked, ranked[USAGE].to_pylist()[0]

    usage = run(paragraphs)[1]
    assert usage["pairs_scored"] == usage["passages"] > 25 and usage["store_hits"] == 0
    again, usage = run(paragraphs)
    assert (
        usage["pairs_scored"] == 0
        and usage["store_hits"] == usage["passages"] == again["candidates"].to_pylist()[0][0]["passages"]
    )
    usage = run(changed)[1]
    assert 1 <= usage["pairs_scored"] <= 5 and usage["store_hits"] == usage["passages"] - usage["pairs_scored"]


def test_usage_counts_what_was_cut_and_what_was_truncated(folder_of):
    texts = [DOCUMENTS["short"], DOCUMENTS["sentences"], DOCUMENTS["sentences"], " "]
    cut = Reranker(scorer(folder_of("bert"), max_passages=2)).rank_table(table_of(texts))[USAGE].to_pylist()[0]
    assert (cut["passages"], cut["documents_cut"], cut["pairs_truncated"], cut["pairs_ranked"]) == (5, 2, 0, 3)
    whole = Reranker(ScorerConfig(model=str(folder_of("bert")))).rank_table(table_of(texts))[USAGE].to_pylist()[0]
    assert (whole["passages"], whole["documents_cut"], whole["pairs_truncated"], whole["pairs_ranked"]) == (0, 0, 2, 3)


def test_unscored_and_rejected_candidates_have_no_passages(folder_of):
    reranker = Reranker(scorer(folder_of("bert")))
    ranked = reranker.rank_table(table_of([" ", *TEXTS[:3]]), options=RankingOptions(depth=2))
    rows = ranked["candidates"].to_pylist()[0]
    assert [row["doc_id"] for row in rows] == [1, 2, 3]
    assert [row["passages"] is None and row["best_passage"] is None for row in rows] == [False, True, True]
    assert [row["reason"] for row in ranked["rejected"].to_pylist()[0]] == ["text is blank"]


def test_kept_texts_bring_the_passage(folder_of):
    reranker = Reranker(scorer(folder_of("bert")))
    table = prepare(table_of(), reranker.encoder, splitter=reranker.splitter, keep_text=True)
    for row in reranker.rank_table(table)["candidates"].to_pylist()[0]:
        span = row["best_passage"]
        assert span["text"] == row["text"][span["start"] : span["end"]]


def test_a_document_with_a_passage_that_fails_is_rejected(folder_of):
    class HalfEngine:
        lanes = None
        description = {"engine": "half"}  # noqa: RUF012

        def __init__(self, engine):
            self._engine = engine

        def score(self, pairs):
            scores = self._engine.score(pairs)
            return replace(scores, logits=np.where(pairs.document_lengths == bad, -np.inf, scores.logits))

    reranker = Reranker(scorer(folder_of("bert")))
    pairs = reranker.encode(RerankRequest(QUERY, (DOCUMENTS["sentences"],)))
    bad = int(pairs.document_lengths[-1])
    assert np.count_nonzero(pairs.document_lengths == bad) == 1
    failing = Reranker(reranker.config, engine=HalfEngine(reranker.engine))
    ranked = failing.rank_table(table_of([DOCUMENTS["sentences"], "free returns"]))
    assert [row["doc_id"] for row in ranked["candidates"].to_pylist()[0]] == [1]
    assert [row["reason"] for row in ranked["rejected"].to_pylist()[0]] == ["logit is not finite"]


@pytest.mark.parametrize(
    ("passages", "message"),
    [
        ({"tokens": 7}, "passages.tokens: .* greater than or equal to 8, got 7"),
        ({"tokens": 16, "overlap": 16}, "passages: overlap must be smaller than a passage of 16 tokens, got 16"),
        ({"token": 16}, "unknown setting 'passages.token': did you mean 'tokens'?"),
        ({"aggregate": "sum"}, "passages.aggregate: .*, got 'sum'"),
        ({"max_passages": 0}, "passages.max_passages: .*, got 0"),
    ],
)
def test_settings_that_cannot_be_used_are_named(passages, message):
    from rerank.config import parse_config

    with pytest.raises(ConfigError, match=message):
        parse_config(ScorerConfig, {"passages": passages}, source="flags")


def test_passages_must_fit_into_the_models_limit(folder_of):
    folder = folder_of("bert")
    most = Reranker(ScorerConfig(model=str(folder))).encoder.passage_limit
    assert Reranker(scorer(folder, tokens=None)).splitter.sizes.tokens == most < 96 - 3
    message = (
        f"tokens must be at most {most}, which is what the model's limit of 96 tokens leaves beside a query, got 90"
    )
    with pytest.raises(ConfigError, match=message):
        Reranker(scorer(folder, tokens=90))
    with pytest.raises(ConfigError, match=f"overlap must be smaller than a passage of {most} tokens, got 80"):
        Reranker(scorer(folder, tokens=None, overlap=80))
    asked = RerankRequest(QUERY, TEXTS, passage_limits=PassageLimits(overlap=SIZE))
    with pytest.raises(InputError, match=f"overlap must be smaller than a passage of {SIZE} tokens, got {SIZE}"):
        Reranker(scorer(folder)).rerank(asked)


def test_a_block_without_documents_to_split(folder_of):
    reranker = Reranker(scorer(folder_of("bert")))
    full = reranker.rank_table(table_of())
    for table in (table_of().slice(0, 0), candidate_sets([("q", QUERY, []), ("r", QUERY, [("a", " ")])])):
        ranked = reranker.rank_table(table)
        assert ranked.column_names == full.column_names and not sum(map(len, ranked["candidates"].to_pylist()))


@pytest.mark.parametrize(
    ("how", "expected"),
    [("max", [3, np.nan, 5, np.nan]), ("mean", [2, np.nan, 5, np.nan]), ("first", [3, np.nan, 5, np.nan])],
)
def test_aggregates(how, expected):
    logits, best = aggregate(np.array([1, 3, 2, 5, 1, np.nan], dtype=np.float32), np.array([3, 0, 1, 2]), how)
    np.testing.assert_array_equal(logits, np.array(expected, dtype=np.float32))
    assert best.tolist()[:3] == [1, -1, 3]


def test_progress_counts_documents():
    reported = []
    report = in_documents(reported.append, 0.25)
    for pairs in (0, 3, 3, 2, -8, 8):
        report(pairs)
    assert reported == [0, 1, 1, -2, 2]


def test_settings_are_values():
    assert PassageSettings(aggregate="first").most == 1 and PassageSettings(max_passages=3).most == 3
