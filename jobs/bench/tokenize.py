"""`rerank bench tokenize`: pairs per second from text to token ids, compared with the tokenizer's own pair encoding."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import typer

from jobs.bench.options import Candidates, Lengths, MaxLength, Model, Output, Rounds, SyntheticLengths, report
from jobs.bench.scorer import head_of
from jobs.bench.scoring import synthetic_sets, texts_of
from jobs.bench.turns import in_turns
from jobs.console import say
from jobs.exits import exit_codes
from rerank.config import BUNDLED, ScorerConfig, parse_config
from rerank.encoding.pairs import PairEncoder
from rerank.engines import load_encoder
from rerank.prepare import encode
from rerank.ranking.candidates import CandidateSets

_SHARED_BY = 10  # mean number of queries that share a synthetic text
_AT_ONCE = 1_000  # pairs per call of the tokenizer, which holds a hundred bytes per token

Texts = Sequence[tuple[str, str]]


def tokenize(
    candidates: Candidates = None,
    lengths: SyntheticLengths = Lengths.NQ,
    model: Model = BUNDLED,
    max_length: MaxLength = None,
    pairs: Annotated[int, typer.Option(min=1_000, help="Number of pairs, from the beginning of IN.")] = 20_000,
    rounds: Rounds = 3,
    output: Output = None,
) -> None:
    """Encode the same pairs, alternating between rerank and the tokenizer's own pair encoding; report medians."""
    with exit_codes():
        if candidates is None:
            table = synthetic_sets(lengths, pairs, texts=pairs // _SHARED_BY)
        else:
            table = head_of(candidates, pairs)
        config = parse_config(ScorerConfig, {"model": model, "max_length": max_length}, source="flags")
        results = measure(table, config, rounds=rounds)
        first = results[0]["pairs_per_second"]
        for row in results:
            rate = row["pairs_per_second"]
            say(f"{row['name']}: {rate:,.0f} pairs/s, rerank is {first / rate:.2f} times as fast")
        report(results, output)


def measure(table: pa.Table, config: ScorerConfig, *, rounds: int) -> list[dict[str, Any]]:
    """Return the rates of rerank, of transformers' pair encoding, and of the tokenizers library that it calls."""
    sets, encoder = CandidateSets.from_table(table), load_encoder(config)
    texts = texts_of(sets)
    runs: list[tuple[str, Callable[[], int]]] = [
        ("rerank", partial(_ours, sets, encoder)),
        ("transformers' pair call", _transformers(config, texts, encoder.max_length)),
        ("tokenizers' pair call", _tokenizers(config, texts, encoder.max_length)),
    ]
    tokens, seconds = in_turns(runs, rounds=rounds)
    return [
        {
            "name": name,
            "pairs_per_second": round(len(texts) / took, 1),
            "seconds": [round(value, 3) for value in seconds[:, place].tolist()],
            "pairs": len(texts),
            "distinct_texts": len({text for _, text in texts}),
            "tokens": tokens[place],
        }
        for place, ((name, _), took) in enumerate(zip(runs, np.median(seconds, axis=0).tolist(), strict=True))
    ]


def _ours(sets: CandidateSets, encoder: PairEncoder) -> int:
    pairs = encode(sets, np.arange(sets.pair_count, dtype=np.int32), encoder)
    ids, _, _ = pairs.join(np.arange(len(pairs)))
    return len(ids)


def _transformers(config: ScorerConfig, texts: Texts, max_length: int) -> Callable[[], int]:
    tokenizer = _load(config)

    def run() -> int:
        calls = (tokenizer(part, truncation=True, max_length=max_length) for part in _parts(texts))
        return sum(len(ids) for call in calls for ids in call["input_ids"])

    return run


def _tokenizers(config: ScorerConfig, texts: Texts, max_length: int) -> Callable[[], int]:
    tokenizer = _load(config).backend_tokenizer
    tokenizer.enable_truncation(max_length, strategy="longest_first")
    tokenizer.no_padding()

    def run() -> int:
        calls = (tokenizer.encode_batch_fast(part) for part in _parts(texts))
        return sum(len(encoding.ids) for call in calls for encoding in call)

    return run


def _parts(texts: Texts) -> Iterator[Texts]:
    return (texts[start : start + _AT_ONCE] for start in range(0, len(texts), _AT_ONCE))


def _load(config: ScorerConfig) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(
        config.location, revision=config.revision, trust_remote_code=config.trust_remote_code
    )
