"""`rerank bench job`: what the job costs beside the bare scorer, and what the score store saves the next night."""

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

from jobs.bench.options import MaxLength, Model, Output, Pairs, Rounds, hand_over
from jobs.bench.scorer import head_of
from jobs.bench.turns import further_rate
from jobs.console import say
from jobs.exits import exit_codes
from jobs.pipeline.job import RunConfig, run
from rerank.config import BUNDLED, ScorerConfig, parse_config
from rerank.ranking.candidates import CANDIDATES, CandidateSets, text_column
from rerank.ranking.options import RankingOptions
from rerank.reranker import Reranker

_CHANGED = 20  # every so many-th pair is another one the next night
_TOP_K = 10


def job(
    candidates: Annotated[str, typer.Argument(metavar="IN", help="Candidate sets to rank.")],
    model: Model = BUNDLED,
    max_length: MaxLength = None,
    actors: Annotated[int | None, typer.Option(min=1, help="Size of the pool.")] = None,
    pairs: Pairs = 10_000,
    rounds: Rounds = 2,
    output: Output = None,
) -> None:
    """Rank the same pairs bare, as a job, the next night with 5 % of them changed, and with another --top-k, in turns.

    Rates are pairs over wall time; a job's begins when its cluster is up, and holds the start of its actors. What a
    further pair takes shows beside the night that scores few: the rest of the two is alike.
    """
    with exit_codes(), TemporaryDirectory() as folder:
        config = parse_config(ScorerConfig, {"model": model, "max_length": max_length}, source="flags")
        results = measure(Path(folder), head_of(candidates, pairs), config, actors=actors, rounds=rounds)
        bare = results[0]["pairs_per_second"]
        for row in results:
            say(
                f"{row['name']}: {row['pairs_per_second']:,.1f} pairs/s, {row['pairs_scored']:,} of {row['pairs']:,} "
                f"scored, {row['seconds']:.1f} s with start and end, {row['pairs_per_second'] / bare:.0%} of bare"
            )
        further = further_pairs_per_second(results[1], results[2])
        if further is not None:
            say(f"each further pair to score: {further:,.1f} pairs/s, {further / bare:.0%} of bare")
        results[1]["further_pairs_per_second"] = further
        hand_over(results, output)


def further_pairs_per_second(many: dict[str, Any], few: dict[str, Any]) -> float | None:
    """The rate of the pairs that only the first of two jobs over one input scored; see `further_rate`."""
    fewer, more = ((row["pairs_scored"], row["pairs"] / row["pairs_per_second"]) for row in (few, many))
    return further_rate(fewer, more)


def measure(
    folder: Path, table: pa.Table, config: ScorerConfig, *, actors: int | None, rounds: int
) -> list[dict[str, Any]]:
    """Medians over the rounds; files go to `folder`."""
    night = RunConfig(source=str(folder / "first.parquet"), output="", scorer=config, actors=actors)
    pq.write_table(table, night.source)
    pq.write_table(changed(table), folder / "second.parquet")
    reranker = Reranker(config)
    reranker.rank_table(table.slice(0, 1))
    turns = []
    for turn in range(rounds):
        first = replace(night, output=str(folder / f"first-{turn}"), scores=str(folder / f"scores-{turn}"))
        second = replace(first, source=str(folder / "second.parquet"), output=str(folder / f"second-{turn}"))
        other = replace(first, output=str(folder / f"top-{turn}"), options=RankingOptions(top_k=_TOP_K))
        turns.append(
            [
                _bare(reranker, table),
                _of("job", run(first)),
                _of("job, 5 % changed", run(second)),
                _of("job, another --top-k", run(other)),
            ]
        )
    return [_median(rows) for rows in zip(*turns, strict=True)]


def changed(table: pa.Table) -> pa.Table:
    """The candidate sets with a word more in the text of every twentieth pair."""
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


def _of(name: str, summary: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "pairs": summary["pairs_ranked"],
        "seconds": summary["seconds"]["total"],
        **{key: summary[key] for key in ("pairs_scored", "pairs_per_second", "engine_utilization")},
    }


def _median(rows: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    rates = {key: float(np.median([row[key] for row in rows])) for key in ("seconds", "pairs_per_second")}
    return rows[0] | {key: round(value, 2) for key, value in rates.items()}
