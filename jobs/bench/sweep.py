"""`rerank bench sweep`: find the best token budget of a batch for a device, a model and text lengths."""

from collections.abc import Sequence
from time import perf_counter
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import typer

from jobs.bench.options import Candidates, Device, Lengths, MaxLength, Model, Output, Pairs, SyntheticLengths, report
from jobs.bench.scorer import head_of
from jobs.bench.scoring import synthetic_sets
from jobs.console import say
from jobs.exits import exit_codes
from rerank.config import BUNDLED, ScorerConfig, parse_config
from rerank.ranking.candidates import CANDIDATES
from rerank.reranker import Reranker

_CPU_BUDGETS = (512, 1_024, 2_048, 4_096, 8_192)
_GPU_BUDGETS = (16_384, 32_768, 65_536, 131_072, 262_144)
_ENOUGH = 0.98  # share of the best rate; the smallest budget that reaches it is recommended, as it needs least memory


def sweep(
    candidates: Candidates = None,
    lengths: SyntheticLengths = Lengths.NQ,
    model: Model = BUNDLED,
    max_length: MaxLength = None,
    device: Device = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    pairs: Pairs = 1_000,
    rounds: Annotated[int, typer.Option(min=1, help="Number of times that each budget is measured.")] = 3,
    budget: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Tokens per forward pass to try; repeatable; chosen by device if left out."),
    ] = None,
    output: Output = None,
) -> None:
    """Score the same pairs with each token budget in turn, report median rates, and recommend a budget."""
    with exit_codes():
        table = synthetic_sets(lengths, pairs) if candidates is None else head_of(candidates, pairs)
        settings = {"model": model, "max_length": max_length, "device": device, "dtype": dtype}
        results = measure(table, parse_config(ScorerConfig, settings, source="flags"), budget, rounds=rounds)
        for row in results:
            say(f"{row['batch_tokens']:,} tokens: {row['pairs_per_second']:,.1f} pairs/s")
        say(f"recommended: --batch-tokens {recommended(results)}")
        report(results, output)


def measure(
    table: pa.Table, config: ScorerConfig, budgets: Sequence[int] | None, *, rounds: int
) -> list[dict[str, Any]]:
    """Return the pairs per second of each budget, by default the device's budgets. One engine is loaded at a time."""
    budgets = budgets or _budgets_of(Reranker(config).engine.description["device"])
    pairs = sum(len(row) for row in table.column(CANDIDATES))
    seconds = np.empty((rounds, len(budgets)))
    for turn in range(rounds):
        for place, tokens in enumerate(budgets):
            reranker = Reranker(config.model_copy(update={"batch_tokens": tokens}))
            reranker.rank_table(table.slice(0, 1))
            started = perf_counter()
            reranker.rank_table(table)
            seconds[turn, place] = perf_counter() - started
    return [
        {"batch_tokens": tokens, "pairs": pairs, "pairs_per_second": round(pairs / took, 1)}
        for tokens, took in zip(budgets, np.median(seconds, axis=0).tolist(), strict=True)
    ]


def _budgets_of(device: str) -> Sequence[int]:
    return _GPU_BUDGETS if device.startswith("cuda") else _CPU_BUDGETS


def recommended(results: Sequence[dict[str, Any]]) -> int:
    """Return the smallest budget that is about as fast as the fastest."""
    best = max(row["pairs_per_second"] for row in results)
    return min(int(row["batch_tokens"]) for row in results if row["pairs_per_second"] >= _ENOUGH * best)
