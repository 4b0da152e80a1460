"""`rerank plan`: what a run would read, look up, score, take and cost, from a sample; writes nothing."""

import json
from time import perf_counter
from typing import Annotated, Any

import numpy as np
import pyarrow.compute as pc
import typer
from rich.table import Table

from jobs.console import results_console
from jobs.exits import exit_codes
from jobs.formats.columns import Layout
from jobs.formats.renames import parse_renames
from jobs.input.candidates import Input, open_input
from jobs.input.join import PAIRS_PER_ROW_GROUP
from jobs.input.sample import sample
from jobs.input.source import Source
from jobs.input.splits import pairs_per_block, pairs_per_split, plan_splits
from jobs.pipeline.progress import peak_memory
from jobs.pipeline.score_lookup import ScoreLookup, open_snapshot, resolve
from rerank.config import BUNDLED, ScorerConfig
from rerank.encoding.pairs import EncodedPairs
from rerank.prepare import encode
from rerank.ranking.candidates import CandidateSets, text_column
from rerank.ranking.reject import Reason, check
from rerank.reranker import Reranker
from rerank.store import ScoreStore, pair_keys

_MEASURED_SECONDS = 5.0
_MEASURED_PAIRS = 64


def plan(
    source: Annotated[str, typer.Argument(metavar="IN", help="Candidate sets, as for `rerank run`.")],
    layout: Annotated[Layout | None, typer.Option(help="Layout of IN; by its column types if not given.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N queries of IN.")] = None,
    corpus: Annotated[str | None, typer.Option(help="IN is a run; this has doc_id, text.")] = None,
    queries: Annotated[str | None, typer.Option(help="IN is a run; this has query_id, query.")] = None,
    regroup: Annotated[bool, typer.Option("--regroup", help="Pairs that are not clustered by query.")] = False,
    column: Annotated[list[str] | None, typer.Option(help="Read a column by another name: text=body.")] = None,
    model: Annotated[str, typer.Option(help="A folder, a Hub id, or the bundled model.")] = BUNDLED,
    max_length: Annotated[int | None, typer.Option(min=8, help="Tokens per pair.")] = None,
    scores: Annotated[str | None, typer.Option(help="The score store that the run would use.")] = None,
    actors: Annotated[int, typer.Option(min=1, help="Actors like this machine that the run would have.")] = 1,
    block_pairs: Annotated[int | None, typer.Option(min=1, help="Pairs per block, as for the run.")] = None,
    usd_per_hour: Annotated[float | None, typer.Option(min=0, help="Price of one such actor.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Say what a run would read, look up and score, how long it would take and what it would cost."""
    with exit_codes():
        given = open_input(
            source,
            layout=layout,
            renames=parse_renames(column or []),
            limit=limit,
            corpus=corpus,
            queries=queries,
            regroup=regroup,
        )
        scorer = ScorerConfig(model=model, max_length=max_length)
        planned = make_plan(given, scorer, scores=scores, actors=actors, block_pairs=block_pairs)
        if usd_per_hour is not None:
            planned["usd"] = round(planned["seconds"] / 3600 * actors * usd_per_hour, 4)
        if as_json:
            typer.echo(json.dumps(planned))
        else:
            results_console().print(_table(planned))


def make_plan(
    given: Input, scorer: ScorerConfig, *, scores: str | None = None, actors: int = 1, block_pairs: int | None = None
) -> dict[str, Any]:
    """The plan. Counts of queries, pairs and splits are exact, what a sample of the texts stands for is estimated.

    Raises ModelError where the model cannot be loaded.
    """
    resolved, identity, encoder = resolve(scorer)
    reranker = Reranker(resolved, encoder=encoder)
    on_gpu = reranker.engine.description["device"].startswith("cuda")
    target = pairs_per_split(pairs_per_block(block_pairs, on_gpu=on_gpu))
    sets = CandidateSets.from_table(sample(given.source, target_pairs=target))
    sound = np.flatnonzero(check(sets)[1] == Reason.OK).astype(np.int32)
    known = _known_share(sets, ScoreStore(scores, identity.fingerprint)) if scores else 0.0
    encoded = encode(sets, sound, reranker.encoder)
    tokens_per_pair = float(encoded.lengths.mean()) if len(encoded) else 0.0
    tokens_per_second = _measure(reranker, encoded)
    to_score = given.pairs * (1 - known) * len(sound) / max(1, sets.pair_count)
    distinct = len(pc.unique(text_column(sets.candidates, "text")))
    return {
        **_reading(given, target),
        "queries": given.queries,
        "pairs": given.pairs,
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


def _reading(given: Input, target: int) -> dict[str, Any]:
    """What would be read, and in how many splits; of rows that lie apart those of what gathering them will leave."""
    if isinstance(given.source, Source):
        splits = len(plan_splits(given.source, target_pairs=target))
        return {"layout": str(given.source.layout), "files": _files(given.source), "splits": splits}
    gathering = given.source
    tables = [table for table in (gathering.rows, gathering.corpus, gathering.queries) if table is not None]
    return {
        "layout": "pairs, to be grouped by query" if gathering.corpus is None else "run, to be joined with its texts",
        "files": sum(map(_files, tables)),
        "splits": -(-given.pairs // max(target, PAIRS_PER_ROW_GROUP)),
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
    """The share of the pairs whose scores the store has."""
    keys = pair_keys(text_column(sets.queries, "query"), text_column(sets.candidates, "text"), sets.query_of)
    return float(open_snapshot(ScoreLookup(store, store.parts())).lookup(keys).known.mean()) if len(keys) else 0.0


def _measure(reranker: Reranker, pairs: EncodedPairs) -> float:
    """Tokens per second of this machine's engine on these pairs, in some seconds; the first batch only warms up."""
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
