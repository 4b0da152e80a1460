"""`rerank plan`: estimate what a run would read, look up, score and cost, from a sample; writes nothing."""

import json
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Annotated, Any

import numpy as np
import pyarrow.compute as pc
import typer
from rich.table import Table

from jobs.console import results_console
from jobs.exits import exit_codes
from jobs.formats.columns import Layout
from jobs.formats.renames import parse_columns, parse_renames
from jobs.input.candidates import Input, open_input, text_tables
from jobs.input.convert import TextConverter
from jobs.input.join import PAIRS_PER_ROW_GROUP
from jobs.input.sample import sample
from jobs.input.source import Source
from jobs.input.splits import pairs_per_block, pairs_per_split, plan_splits
from jobs.pipeline.counts import peak_memory
from jobs.pipeline.score_lookup import ScoreLookup, open_snapshot, resolve
from rerank.config import BUNDLED, ScorerConfig, parse_config
from rerank.encoding.pairs import EncodedPairs
from rerank.paths import locate
from rerank.prepare import encode
from rerank.ranking.candidates import CandidateSets, text_column
from rerank.ranking.reject import Reason, check
from rerank.reranker import Reranker
from rerank.store import ScoreStore, hash_pairs

_MEASURED_SECONDS = 5.0
_MEASURED_PAIRS = 64


def plan(
    source: Annotated[str, typer.Argument(metavar="IN", help="Candidate sets, as for `rerank run`.")],
    layout: Annotated[Layout | None, typer.Option(help="Layout of IN; told by its columns if not given.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N queries of IN.")] = None,
    corpus: Annotated[str | None, typer.Option(help="The documents of a run (doc_id, text), if IN is a run.")] = None,
    queries: Annotated[str | None, typer.Option(help="The queries of a run (query_id, query), if IN is a run.")] = None,
    beir: Annotated[str | None, typer.Option(metavar="DIR", help="A folder of BEIR, as for the run.")] = None,
    regroup: Annotated[bool, typer.Option("--regroup", help="IN has pairs that are not clustered by query.")] = False,
    column: Annotated[list[str] | None, typer.Option(help="Read a column by another name: text=body.")] = None,
    columns: Annotated[
        list[str] | None, typer.Option(help="Columns of CSV or TSV without a header, as for the run.")
    ] = None,
    model: Annotated[str, typer.Option(help="A folder, a Hub id, or the bundled model.")] = BUNDLED,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a Hub model.")] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run Python code that comes with the model.")
    ] = False,
    allow_pickle: Annotated[bool, typer.Option("--allow-pickle", help="Load weights that are no safetensors.")] = False,
    max_length: Annotated[int | None, typer.Option(min=8, help="Tokens per pair.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N, mps.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16, float16.")] = "auto",
    deterministic: Annotated[bool, typer.Option("--deterministic", help="As for the run.")] = False,
    split_special_tokens: Annotated[bool, typer.Option("--split-special-tokens", help="As for the run.")] = False,
    scores: Annotated[str | None, typer.Option(help="The score store that the run would use.")] = None,
    actors: Annotated[int, typer.Option(min=1, help="Number of actors in the run, each as fast as this machine.")] = 1,
    block_pairs: Annotated[int | None, typer.Option(min=1, help="Pairs per block, as for the run.")] = None,
    usd_per_hour: Annotated[float | None, typer.Option(min=0, help="Price of one actor per hour.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Say what a run would read, look up and score, how long it would take and what it would cost."""
    with exit_codes(), TemporaryDirectory(prefix="rerank-plan-") as scratch:
        corpus, queries = text_tables(corpus, queries, beir)
        opened = open_input(
            source,
            layout=layout,
            renames=parse_renames(column or []),
            limit=limit,
            corpus=corpus,
            queries=queries,
            regroup=regroup,
            texts=TextConverter(lambda: locate(scratch), parse_columns(columns or [], "corpus", "queries")),
        )
        settings = {
            "model": model,
            "revision": revision,
            "trust_remote_code": trust_remote_code,
            "allow_pickle": allow_pickle,
            "max_length": max_length,
            "device": device,
            "dtype": dtype,
            "deterministic": deterministic,
            "split_special_tokens": split_special_tokens,
        }
        scorer = parse_config(ScorerConfig, settings, source="flags")
        planned = make_plan(opened, scorer, scores=scores, actors=actors, block_pairs=block_pairs)
        if usd_per_hour is not None:
            planned["usd"] = round(planned["seconds"] / 3600 * actors * usd_per_hour, 4)
        if as_json:
            typer.echo(json.dumps(planned))
        else:
            results_console().print(_table(planned))


def make_plan(
    opened: Input, scorer: ScorerConfig, *, scores: str | None = None, actors: int = 1, block_pairs: int | None = None
) -> dict[str, Any]:
    """Return the plan: exact counts of queries, pairs and splits, the rest estimated from a sample of the texts.

    Raises ModelError if the model cannot be loaded.
    """
    resolved, identity, encoder = resolve(scorer)
    reranker = Reranker(resolved, encoder=encoder)
    on_gpu = reranker.engine.description["device"].startswith("cuda")
    target = pairs_per_split(pairs_per_block(block_pairs, on_gpu=on_gpu))
    sets = CandidateSets.from_table(sample(opened.source, target_pairs=target))
    sound = np.flatnonzero(check(sets)[1] == Reason.OK).astype(np.int32)
    known = _known_share(sets, ScoreStore(scores, identity.fingerprint)) if scores else 0.0
    encoded = encode(sets, sound, reranker.encoder)
    tokens_per_pair = float(encoded.lengths.mean()) if len(encoded) else 0.0
    tokens_per_second = _measure(reranker, encoded)
    to_score = opened.pairs * (1 - known) * len(sound) / max(1, sets.pair_count)
    distinct = len(pc.unique(text_column(sets.candidates, "text")))
    return {
        **_reading(opened, target),
        "queries": opened.queries,
        "pairs": opened.pairs,
        "sampled_pairs": sets.pair_count,
        "rejected_share": round(1 - len(sound) / max(1, sets.pair_count), 4),
        "distinct_texts_share": round(distinct / max(1, sets.pair_count), 4),
        "store_hits_share": round(known, 4),
        "pairs_to_score": round(to_score),
        "tokens_to_score": round(to_score * tokens_per_pair),
        "tokens_per_pair": round(tokens_per_pair, 1),
        "model": identity.name,
        "fingerprint": identity.fingerprint,
        "dtype": identity.dtype,
        "pairs_per_second": round(tokens_per_second / tokens_per_pair, 1) if tokens_per_pair else 0.0,
        "memory_bytes_per_actor": peak_memory(),
        "seconds": round(to_score * tokens_per_pair / tokens_per_second / actors, 1) if tokens_per_second else 0.0,
    }


def _reading(opened: Input, target: int) -> dict[str, Any]:
    """Return the layout, the number of files and of splits; for ungrouped rows the splits after grouping."""
    if isinstance(opened.source, Source):
        splits = len(plan_splits(opened.source, target_pairs=target))
        return {"layout": str(opened.source.layout), "files": _files(opened.source), "splits": splits}
    join = opened.source
    tables = [table for table in (join.rows, join.corpus, join.queries) if table is not None]
    return {
        "layout": "pairs, to be grouped by query" if join.corpus is None else "run, to be joined with its texts",
        "files": sum(map(_files, tables)),
        "splits": -(-opened.pairs // max(target, PAIRS_PER_ROW_GROUP)),
    }


def _table(planned: dict[str, Any]) -> Table:
    """Return one line per value: the name in words, the value as a person reads it."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in planned.items():
        form = ".1%" if name.endswith("_share") else ","
        words = name.removesuffix("_share").replace("_", " ")
        table.add_row(words, value if isinstance(value, str) else format(value, form))
    return table


def _files(source: Source) -> int:
    return len({group.path for group in source.row_groups})


def _known_share(sets: CandidateSets, store: ScoreStore) -> float:
    """Return the share of the pairs whose scores are in the store."""
    hashes = hash_pairs(text_column(sets.queries, "query"), text_column(sets.candidates, "text"), sets.query_of)
    return float(open_snapshot(ScoreLookup(store, store.parts())).lookup(hashes).known.mean()) if len(hashes) else 0.0


def _measure(reranker: Reranker, pairs: EncodedPairs) -> float:
    """Measure tokens per second of this machine's engine on these pairs, for some seconds after a warm-up batch."""
    tokens, started, seconds = 0, perf_counter(), 0.0
    chosen = np.random.default_rng(0).permutation(len(pairs))
    for start in range(0, len(pairs), _MEASURED_PAIRS):
        batch = pairs.take(chosen[start : start + _MEASURED_PAIRS])
        reranker.engine.score(batch)
        if start == 0:
            started = perf_counter()
            continue
        tokens += int(batch.lengths.sum())
        seconds = perf_counter() - started
        if seconds > _MEASURED_SECONDS:
            break
    return tokens / seconds if seconds else 0.0


if __name__ == "__main__":
    typer.run(plan)
