"""Measure the engine beside other libraries on the same pairs. Neither Ray nor files are needed."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.bench.options import Lengths
from jobs.bench.turns import in_turns
from rerank.config import ScorerConfig
from rerank.encoding.pairs import EncodedPairs
from rerank.prepare import encode
from rerank.ranking.candidates import CANDIDATES, CandidateSets
from rerank.reranker import Reranker

_CANDIDATES = 100
_WORDS = 20_000
_SAMPLE = 128  # pairs of which the rivals learn their batch size
_WARM_UP = 8  # pairs


def measure(table: pa.Table, config: ScorerConfig, *, rounds: int) -> list[dict[str, Any]]:
    """Return the results of rerank and its rivals, measured in alternation; the rates are medians."""
    from jobs.bench.rivals.of_pairs import flops_of, peak_flops, rivals
    from rerank.engines.texts.engine import TextEngine

    reranker = Reranker(config)
    sets = CandidateSets.from_table(table)
    texts = texts_of(sets)
    encoded = encode_all(sets, reranker)
    # Texts that are encoded by themselves are computed once each, whatever the pairs.
    by_themselves = isinstance(reranker.engine, TextEngine)
    lengths = np.concatenate([encoded.queries.lengths, encoded.documents.lengths]) if by_themselves else encoded.lengths
    tokens, work = int(lengths.sum()), flops_of(config, lengths)

    def ours(candidate_sets: pa.Table) -> int:
        if isinstance(reranker.engine, TextEngine):
            reranker.engine.forget()  # what it met in another round
        usage = reranker.rank_table(candidate_sets).column("usage").to_pylist()
        return tokens + sum(int(row["padding_tokens"]) for row in usage)

    others = rivals(config, texts[:_SAMPLE])
    description = reranker.engine.description
    runs: list[tuple[str, Callable[[], int]]] = [
        (f"rerank {description['engine']} {description['dtype']}", partial(ours, table)),
        *((other.name, partial(other.score, texts)) for other in others),
    ]
    ours(table.slice(0, 1))
    for other in others:
        other.score(texts[:_WARM_UP])
    peak = peak_flops(config)
    padded, seconds = in_turns(runs, rounds=rounds)
    return [
        {
            "name": name,
            "pairs_per_second": round(len(texts) / took, 1),
            "tokens_per_second": round(tokens / took, 1),
            "padding_share": round(1 - tokens / padded[place], 4),
            "flops_share": round(work / took / peak, 4),
            "seconds": [round(value, 3) for value in seconds[:, place].tolist()],
            "pairs": len(texts),
            "mean_tokens": round(tokens / len(texts), 1),
        }
        for place, ((name, _), took) in enumerate(zip(runs, np.median(seconds, axis=0).tolist(), strict=True))
    ]


def encode_all(sets: CandidateSets, reranker: Reranker) -> EncodedPairs:
    """Return all pairs of candidate sets as token ids, in the order of `texts_of`."""
    return encode(sets, np.arange(sets.pair_count, dtype=np.int32), reranker.encoder)


def texts_of(sets: CandidateSets) -> Sequence[tuple[str, str]]:
    """Return the pairs as `CrossEncoder.predict` accepts them."""
    queries = sets.queries.column("query").take(pa.array(sets.query_of)).to_pylist()
    return list(zip(queries, sets.candidates.column("text").to_pylist(), strict=True))


def synthetic_sets(lengths: Lengths, pairs: int, *, texts: int | None = None) -> pa.Table:
    """Return synthetic candidate sets of random words with log-normal lengths; every call returns the same.

    Each pair has a distinct text, or one drawn from `texts` distinct texts, at least as many as a candidate set holds.
    """
    rng = np.random.default_rng(0)
    mean, spread = (105.0, 0.5) if lengths is Lengths.NQ else (30.0, 0.3)  # in words; a word is about 1.5 tokens
    sizes = np.maximum(5, rng.lognormal(np.log(mean) - spread**2 / 2, spread, texts or pairs)).astype(int)

    def words(count: int) -> str:
        return " ".join(f"word{number}" for number in rng.zipf(1.3, count) % _WORDS)

    documents = [{"doc_id": str(place), "text": words(size)} for place, size in enumerate(sizes.tolist())]
    starts = range(0, pairs, _CANDIDATES)
    own = np.arange(pairs)
    places = [
        own[start : start + _CANDIDATES] if texts is None else rng.choice(texts, _CANDIDATES, replace=False)
        for start in starts
    ]
    return pa.table(
        {
            "query_id": [str(start) for start in starts],
            "query": [words(8) for _ in starts],
            CANDIDATES: [[documents[place] for place in row] for row in places],
        }
    )
