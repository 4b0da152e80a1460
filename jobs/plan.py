"""`rerank plan`: estimate what a run would read, look up, score and cost, from a sample; writes nothing."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table

from jobs.config_file import read_config
from jobs.console import results_console
from jobs.exits import exit_codes
from jobs.formats.columns import Layout
from jobs.formats.renames import parse_columns, parse_renames
from jobs.input.candidates import Input, check_readable, open_input, text_tables
from jobs.input.convert import TextConverter
from jobs.input.join import PAIRS_PER_ROW_GROUP
from jobs.input.sample import sample
from jobs.input.source import Source
from jobs.input.splits import pairs_per_block, pairs_per_split, plan_splits
from jobs.pipeline.counts import peak_memory
from jobs.pipeline.score_lookup import ScoreLookup, open_snapshot, resolve
from jobs.pipeline.stages.pool_settings import pool_settings
from jobs.pipeline.stages.settings import StageConfig, read_stages
from rerank.config import BUNDLED, ScorerConfig, parse_config, without_none
from rerank.encoding.pairs import EncodedPairs
from rerank.engines import Kind
from rerank.paths import locate
from rerank.prepare import candidate_vectors, hash_documents, prepare
from rerank.ranking.candidates import CandidateSets
from rerank.ranking.passages import pairs_of
from rerank.ranking.reject import Reason
from rerank.reranker import Reranker
from rerank.store import Hashes, ScoreStore, StoredScores
from rerank.tables.prepared import REASON, encoded_pairs, pair_hashes_of

_MEASURED_SECONDS = 5.0
_MEASURED_PAIRS = 64
_OF_MODEL = ("model", "fingerprint", "dtype", "tokens_per_pair", "pairs_per_second")


def plan(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="IN", help="Candidate sets, as for `rerank run`.")],
    layout: Annotated[Layout | None, typer.Option(help="Layout of IN; told by its columns if not given.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N queries of IN.")] = None,
    corpus: Annotated[str | None, typer.Option(help="The documents of a run (doc_id, text), if IN is a run.")] = None,
    queries: Annotated[str | None, typer.Option(help="The queries of a run (query_id, query), if IN is a run.")] = None,
    beir: Annotated[str | None, typer.Option(metavar="DIR", help="A folder of BEIR, as for the run.")] = None,
    regroup: Annotated[bool, typer.Option("--regroup", help="IN has pairs that are not clustered by query.")] = False,
    column: Annotated[list[str] | None, typer.Option(help="Read a column by another name: text=body.")] = None,
    config: Annotated[
        str | None,
        typer.Option(metavar="FILE", is_eager=True, callback=read_config, help="YAML file with options, as for run."),
    ] = None,
    stage: Annotated[
        list[str] | None, typer.Option(metavar="MODEL:KEEP", help="A stage of a cascade, as for the run.")
    ] = None,
    columns: Annotated[
        list[str] | None, typer.Option(help="Columns of CSV or TSV without a header, as for the run.")
    ] = None,
    model: Annotated[str, typer.Option(help="A folder, a Hub id, or the bundled model.")] = BUNDLED,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a Hub model.")] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run Python code that comes with the model.")
    ] = False,
    allow_pickle: Annotated[bool, typer.Option("--allow-pickle", help="Load weights that are no safetensors.")] = False,
    instruction: Annotated[str | None, typer.Option(metavar="TEXT", help="As for the run.")] = None,
    max_length: Annotated[int | None, typer.Option(min=8, help="Tokens per pair.")] = None,
    passage_tokens: Annotated[int | None, typer.Option(help="Passages of long documents, as for the run.")] = None,
    passage_overlap: Annotated[int | None, typer.Option(help="As for the run.")] = None,
    passage_aggregate: Annotated[str | None, typer.Option(metavar="max|mean|first", help="As for the run.")] = None,
    max_passages: Annotated[int | None, typer.Option(help="As for the run.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N, mps.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16, float16, int8.")] = "auto",
    deterministic: Annotated[bool, typer.Option("--deterministic", help="As for the run.")] = False,
    split_special_tokens: Annotated[bool, typer.Option("--split-special-tokens", help="As for the run.")] = False,
    scores: Annotated[str | None, typer.Option(help="The score store that the run would use.")] = None,
    actors: Annotated[
        str,
        typer.Option(
            metavar="N|MIN:MAX", help="Actors in the run, each as fast as this machine; of a range, MAX counts."
        ),
    ] = "1",
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
            "passages": without_none(
                tokens=passage_tokens, overlap=passage_overlap, aggregate=passage_aggregate, max_passages=max_passages
            ),
            "device": device,
            "dtype": dtype,
            "deterministic": deterministic,
            "split_special_tokens": split_special_tokens,
            "instruction": instruction,
        }
        pool = pool_settings(actors=actors)
        stages = read_stages(stage or [], context.obj, settings, pool=pool)
        if stages:
            planned = make_cascade_plan(opened, stages, scores=scores, block_pairs=block_pairs)
        else:
            scorer = parse_config(ScorerConfig, settings, source="flags")
            planned = make_plan(opened, scorer, scores=scores, actors=pool.most_actors, block_pairs=block_pairs)
        if usd_per_hour is not None:
            used = planned.get("stages", [{**planned, "actors": pool.most_actors}])
            planned["usd"] = round(sum(each["seconds"] * each["actors"] for each in used) / 3600 * usd_per_hour, 4)
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
    check_readable(opened.source, Kind(identity.kind))
    vector_bytes = opened.source.vector_bytes if isinstance(opened.source, Source) else 0
    store = ScoreStore(scores, identity.fingerprint) if scores else None
    target = pairs_per_split(
        pairs_per_block(
            block_pairs,
            on_gpu=on_gpu,
            vector_bytes=vector_bytes,
            pairs=opened.pairs,
            actors=actors,
        )
    )
    sets = CandidateSets.from_table(sample(opened.source, target_pairs=target))
    prepared = CandidateSets.from_table(
        prepare(
            sets.to_table(),
            reranker.encoder,
            lookup=_nothing_known,
            splitter=reranker.splitter,
            instruction=scorer.instruction,
        )
    )
    sound = int(np.count_nonzero(prepared.candidates.column(REASON).to_numpy() == Reason.OK))
    paired = pairs_of(prepared)  # what is paired with the queries: the candidates, or their passages
    encoded, rows = encoded_pairs(paired, reranker.encoder.row_template)
    hashes = pair_hashes_of(paired, rows)
    known = _known_share(hashes, store) if store else 0.0
    tokens_per_pair = float(encoded.lengths.mean()) if len(encoded) else 0.0
    tokens_per_second = _measure(reranker, encoded)
    to_score = opened.pairs * (1 - known) * len(rows) / max(1, sets.pair_count)
    distinct = len(np.unique(hash_documents(sets, candidate_vectors(sets, reranker.encoder)), axis=0))
    return {
        **_reading(opened, target),
        "queries": opened.queries,
        "pairs": opened.pairs,
        "sampled_pairs": sets.pair_count,
        "rejected_share": round(1 - sound / max(1, sets.pair_count), 4),
        "distinct_texts_share": round(distinct / max(1, sets.pair_count), 4),
        "passages_per_document": round(len(rows) / max(1, sound), 2),
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


def make_cascade_plan(
    opened: Input, stages: Sequence[StageConfig], *, scores: str | None = None, block_pairs: int | None = None
) -> dict[str, Any]:
    """Return the plan of a cascade: that of each stage in `stages`, and their sums.

    A later stage is measured on the same sample as the first, and gets at most what the one before it keeps. `seconds`
    is the time of the stages one after another; a run overlaps them.
    """
    plans, upcoming = [], opened
    for stage in stages:
        actors = stage.pool.most_actors
        planned = make_plan(upcoming, stage.scorer, scores=scores, actors=actors, block_pairs=block_pairs)
        plans.append({**planned, "actors": actors})
        if stage.keep is not None:
            upcoming = replace(upcoming, pairs=min(upcoming.pairs, upcoming.queries * stage.keep))
    first = plans[0]
    of_stage = (*_OF_MODEL, "pairs", "store_hits_share", "pairs_to_score", "tokens_to_score", "seconds", "actors")
    return {
        **{name: value for name, value in first.items() if name not in (*_OF_MODEL, "store_hits_share", "actors")},
        **{name: sum(each[name] for each in plans) for name in ("pairs_to_score", "tokens_to_score")},
        "memory_bytes_per_actor": max(each["memory_bytes_per_actor"] for each in plans),
        "seconds": round(sum(each["seconds"] for each in plans), 1),
        "stages": [
            {"keep": stage.keep, **{name: each[name] for name in of_stage}}
            for stage, each in zip(stages, plans, strict=True)
        ],
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
    for name, value in _flat(planned):
        form = ".1%" if name.endswith("_share") else ","
        words = name.removesuffix("_share").replace("_", " ")
        table.add_row(words, value if isinstance(value, str) else format(value, form))
    return table


def _flat(planned: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the names and values of a plan, then those of its stages."""
    yield from ((name, value) for name, value in planned.items() if name != "stages")
    for number, stage in enumerate(planned.get("stages", []), start=1):
        yield from ((f"stage_{number}_{name}", "all" if value is None else value) for name, value in stage.items())


def _files(source: Source) -> int:
    return len({group.path for group in source.row_groups})


def _known_share(hashes: Hashes, store: ScoreStore) -> float:
    """Return the share of the pairs with these hashes whose scores are in the store."""
    return float(open_snapshot(ScoreLookup(store, store.parts())).lookup(hashes).known.mean()) if len(hashes) else 0.0


def _nothing_known(hashes: Hashes) -> StoredScores:
    nothing = np.zeros(len(hashes), dtype=np.int32)
    return StoredScores(np.full(len(hashes), np.nan, dtype=np.float32), nothing, nothing.astype(np.bool_))


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
