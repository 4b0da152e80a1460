"""`rerank bench job`: the overhead of the job over the bare scorer, and what the score store saves in later runs."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import typer

from jobs.bench.options import MaxLength, Model, Output, Pairs, Rounds, report
from jobs.bench.scorer import head_of
from jobs.bench.turns import further_rate
from jobs.console import say
from jobs.exits import exit_codes
from jobs.pipeline.job import RunConfig, run
from jobs.pipeline.stages.pool_settings import ActorRange, PoolSettings
from rerank.config import BUNDLED, ScorerConfig, parse_config
from rerank.ranking.candidates import CANDIDATES, CandidateSets, text_column
from rerank.ranking.options import RankingOptions
from rerank.reranker import Reranker

_CHANGED = 20  # one pair in this many has changed in the second run
_TOP_K = 10


def job(
    candidates: Annotated[str, typer.Argument(metavar="IN", help="Candidate sets to rank.")],
    model: Model = BUNDLED,
    max_length: MaxLength = None,
    actors: Annotated[int | None, typer.Option(min=1, help="Number of actors.")] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of an actor and of the bare scorer, all cores if left out.")
    ] = None,
    pairs: Pairs = 10_000,
    rounds: Rounds = 2,
    output: Output = None,
) -> None:
    """Rank the same pairs without a job, as a job, again with 5 % of them changed, and with another --top-k.

    Rates are pairs divided by wall time. A job's time starts when its cluster is up and includes the start of its
    actors. The rate of each further pair compares the full run with the one that scores few pairs, because all else
    is the same in both.
    """
    with exit_codes(), TemporaryDirectory() as folder:
        flags = {"model": model, "max_length": max_length, "threads": threads}
        config = parse_config(ScorerConfig, flags, source="flags")
        results = measure(Path(folder), head_of(candidates, pairs), config, actors=actors, rounds=rounds)
        bare = results[0]["pairs_per_second"]
        for row in results:
            say(
                f"{row['name']}: {row['pairs_per_second']:,.1f} pairs/s, {row['pairs_scored']:,} of {row['pairs']:,} "
                f"scored, {row['seconds']:.1f} s in total, {row['pairs_per_second'] / bare:.0%} of the bare scorer"
            )
        further = further_pairs_per_second(results[1], results[2])
        if further is not None:
            say(f"each further pair to score: {further:,.1f} pairs/s, {further / bare:.0%} of the bare scorer")
        results[1]["further_pairs_per_second"] = further
        report(results, output)


def further_pairs_per_second(many: dict[str, Any], few: dict[str, Any]) -> float | None:
    """Return the rate of the pairs that only the first of two jobs over the same input scored; see `further_rate`."""
    fewer, more = ((row["pairs_scored"], row["pairs"] / row["pairs_per_second"]) for row in (few, many))
    return further_rate(fewer, more)


def measure(
    folder: Path, table: pa.Table, config: ScorerConfig, *, actors: int | None, rounds: int
) -> list[dict[str, Any]]:
    """Return medians over the rounds; files are written to `folder`."""
    pool = PoolSettings(actors=ActorRange(actors, actors) if actors else None)
    base = RunConfig(source=str(folder / "first.parquet"), output="", scorer=config, pool=pool)
    pq.write_table(table, base.source)
    pq.write_table(changed(table), folder / "second.parquet")
    reranker = Reranker(config)
    reranker.rank_table(table.slice(0, 1))
    turns = []
    for turn in range(rounds):
        first = replace(base, output=str(folder / f"first-{turn}"), scores=str(folder / f"scores-{turn}"))
        second = replace(first, source=str(folder / "second.parquet"), output=str(folder / f"second-{turn}"))
        other = replace(first, output=str(folder / f"top-{turn}"), options=RankingOptions(top_k=_TOP_K))
        turns.append(
            [
                _bare(reranker, table),
                _result_of("job", run(first)),
                _result_of("job, 5 % changed", run(second)),
                _result_of("job, another --top-k", run(other)),
            ]
        )
    return [_median(rows) for rows in zip(*turns, strict=True)]


def changed(table: pa.Table) -> pa.Table:
    """Return the candidate sets with a word added to the text of every twentieth pair."""
    sets = CandidateSets.from_table(table)
    texts = text_column(sets.candidates, "text")
    longer = pc.binary_join_element_wise(texts, *(pa.scalar(word, texts.type) for word in ("changed", " ")))
    picked = pa.array(np.arange(len(texts)) % _CHANGED == 0)
    place = sets.candidates.column_names.index("text")
    return sets.with_candidates(sets.candidates.set_column(place, "text", pc.if_else(picked, longer, texts))).to_table()


def _bare(reranker: Reranker, table: pa.Table) -> dict[str, Any]:
    started = perf_counter()
    pairs = sum(len(row) for row in reranker.rank_table(table).column(CANDIDATES))
    took = perf_counter() - started
    return {
        "name": "bare scorer",
        "pairs": pairs,
        "pairs_scored": pairs,
        "seconds": took,
        "pairs_per_second": pairs / took,
    }


def _result_of(name: str, summary: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "pairs": summary["pairs_ranked"],
        "seconds": summary["seconds"]["total"],
        **{key: summary[key] for key in ("pairs_scored", "pairs_per_second", "engine_utilization")},
    }


def _median(rows: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    rates = {key: float(np.median([row[key] for row in rows])) for key in ("seconds", "pairs_per_second")}
    return rows[0] | {key: round(value, 2) for key, value in rates.items()}
