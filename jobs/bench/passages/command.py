"""`rerank bench passages`: what a document costs by its length, truncated and by passages, and a nightly run."""

from time import process_time
from typing import Annotated, Any

import numpy as np
import typer

from jobs.bench.options import Device, Model, Output, Rounds, report
from jobs.bench.passages.documents import changed, document
from jobs.console import say
from jobs.exits import exit_codes
from rerank.config import BUNDLED, ScorerConfig, parse_config
from rerank.encoding.windows import Splitter
from rerank.engines import load_encoder
from rerank.reranker import Reranker

_QUERY = "how is a parcel returned"
_PARAGRAPHS = (1, 4, 16, 64)  # of about 100 tokens
_LENGTHS_AT_NIGHT = (5, 60)  # paragraphs of a long document, at least and at most


def passages(
    model: Model = BUNDLED,
    device: Device = "auto",
    tokens: Annotated[int, typer.Option(min=8, help="Tokens of a passage.")] = 256,
    overlap: Annotated[int, typer.Option(min=0, help="Tokens that a passage repeats.")] = 32,
    documents: Annotated[int, typer.Option(min=1, help="Number of documents of each length.")] = 8,
    nightly: Annotated[int, typer.Option(min=1, help="Number of long documents in the nightly run.")] = 2_000,
    share: Annotated[float, typer.Option(min=0, max=1, help="Share of them with a changed paragraph.")] = 0.05,
    rounds: Rounds = 3,
    output: Output = None,
) -> None:
    """Score documents of several lengths truncated and by passages, in turns; count what a nightly run scores again."""
    with exit_codes():
        settings = {"model": model, "device": device, "passages": {"tokens": tokens, "overlap": overlap}}
        config = parse_config(ScorerConfig, settings, source="flags")
        results = [cost(config, count, documents=documents, rounds=rounds) for count in _PARAGRAPHS]
        for row in results:
            say(
                f"{row['tokens_per_document']:,.0f} tokens: {row['milliseconds']:,.1f} ms by {row['passages']:.1f} "
                f"passages, {row['milliseconds_truncated']:,.1f} ms truncated"
            )
        splitter = Splitter(load_encoder(config), config.passages) if config.passages else None
        assert splitter is not None
        night = rescored(splitter, documents=nightly, share=share)
        say(f"nightly run: {night['rescored_share']:.2%} of {night['passages']:,} passages are scored again")
        report([*results, night], output)


def cost(config: ScorerConfig, paragraphs: int, *, documents: int, rounds: int) -> dict[str, Any]:
    """Return milliseconds of processor time per document of this many paragraphs, by passages and truncated.

    They are medians of the rounds, of all threads together, for other programs do not change them much.
    """
    rng = np.random.default_rng(paragraphs)
    texts = [document(rng, paragraphs) for _ in range(documents)]
    by_passages = Reranker(config)
    truncated = Reranker(config.model_copy(update={"passages": None}), engine=by_passages.engine)
    seconds = np.empty((rounds, 2))
    for turn in range(-1, rounds):  # the first one warms up
        for place, reranker in enumerate((by_passages, truncated)):
            started = process_time()
            reranker.rank(_QUERY, texts)
            seconds[max(turn, 0), place] = process_time() - started
    passages_ms, truncated_ms = (np.median(seconds, axis=0) * 1000 / documents).tolist()
    lengths = [len(starts) for starts in by_passages.encoder.token_starts(texts, 2**31 - 1)]
    ranked = by_passages.rank(_QUERY, texts)
    return {
        "name": f"{paragraphs} paragraphs",
        "tokens_per_document": float(np.mean(lengths)),
        "passages": float(np.mean([found.passages or 0 for found in ranked])),
        "milliseconds": round(passages_ms, 2),
        "milliseconds_truncated": round(truncated_ms, 2),
    }


def rescored(splitter: Splitter, *, documents: int, share: float) -> dict[str, Any]:
    """Return the share of the passages of long documents that a store does not know after one paragraph changed.

    Of each document a paragraph is replaced with probability `share`, by another of any length.
    """
    rng = np.random.default_rng(0)
    paragraphs = rng.integers(*_LENGTHS_AT_NIGHT, size=documents).tolist()
    before = [document(rng, count) for count in paragraphs]
    after = [changed(rng, text) if rng.random() < share else text for text in before]
    known = [set(splitter.split([text]).texts([text])) for text in before]
    now = [splitter.split([text]).texts([text]) for text in after]
    passages = sum(map(len, now))
    unknown = sum(passage not in old for old, new in zip(known, now, strict=True) for passage in new)
    return {
        "name": "nightly run",
        "documents": documents,
        "changed_documents": sum(old != new for old, new in zip(before, after, strict=True)),
        "passages": passages,
        "rescored_share": round(unknown / passages, 5),
    }
