"""`rerank bench scorer`: pairs per second from text to logits, compared with `CrossEncoder.predict`."""

from typing import Annotated

import numpy as np
import pyarrow as pa
import typer

from jobs.bench.options import (
    Candidates,
    Device,
    Lengths,
    MaxLength,
    Model,
    Output,
    Pairs,
    Rounds,
    SyntheticLengths,
    report,
)
from jobs.bench.scoring import measure, synthetic_sets
from jobs.console import say
from jobs.exits import exit_codes
from jobs.input.source import open_source
from jobs.input.splits import pairs_per_split, plan_splits, read_split
from rerank.config import BUNDLED, ScorerConfig, parse_config
from rerank.ranking.candidates import CANDIDATES


def scorer(
    candidates: Candidates = None,
    lengths: SyntheticLengths = Lengths.NQ,
    model: Model = BUNDLED,
    max_length: MaxLength = None,
    device: Device = "auto",
    dtype: Annotated[
        str, typer.Option(help="Data type of our engine: auto, float32, bfloat16, float16, int8.")
    ] = "auto",
    pairs: Pairs = 1_000,
    rounds: Rounds = 3,
    output: Output = None,
) -> None:
    """Score the same pairs with the same weights, alternating between rerank and other libraries; report medians."""
    with exit_codes():
        table = synthetic_sets(lengths, pairs) if candidates is None else head_of(candidates, pairs)
        settings = {"model": model, "max_length": max_length, "device": device, "dtype": dtype}
        config = parse_config(ScorerConfig, settings, source="flags")
        results = measure(table, config, rounds=rounds)
        first = results[0]["pairs_per_second"]
        for row in results:
            say(
                f"{row['name']}: {row['pairs_per_second']:,.1f} pairs/s, {row['tokens_per_second']:,.0f} tokens/s, "
                f"{row['padding_share']:.1%} padding, {row['flops_share']:.0%} of the peak of matrix products, "
                f"rerank is {first / row['pairs_per_second']:.2f} times as fast"
            )
        report(results, output)


def head_of(uri: str, pairs: int) -> pa.Table:
    """Return the first candidate sets of `uri` that hold at least `pairs` pairs. Raises InputError."""
    source = open_source(uri)
    taken: list[pa.Table] = []
    count = 0
    for split in plan_splits(source, target_pairs=pairs_per_split(pairs)):
        for table in read_split(source, split):
            ends = np.cumsum([len(row) for row in table.column(CANDIDATES)])
            kept = int(np.searchsorted(ends, pairs - count)) + 1
            taken.append(table.slice(0, kept))
            count += int(ends[min(kept, len(ends)) - 1])
            if count >= pairs:
                return pa.concat_tables(taken)
    return pa.concat_tables(taken)
