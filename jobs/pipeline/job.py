"""The main job: candidate sets in, ranked Parquet out."""

from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import ray

from jobs.console import plural, say
from jobs.formats.columns import Layout
from jobs.input.candidates import Input, check_mixable, open_input
from jobs.input.shuffle import ensure_grouped
from jobs.input.splits import bytes_per_block, pairs_per_block, pairs_per_split, plan_splits
from jobs.pipeline.cluster import choose_pool, connect, disconnect, wait_for_room
from jobs.pipeline.dataset import rank_dataset
from jobs.pipeline.output import SCORES, check_apart, check_output, stage
from jobs.pipeline.progress import progress
from jobs.pipeline.publish import publish
from jobs.pipeline.score_lookup import ScoreLookup, damaged_parts, open_score_lookup, resolve_and_ship
from jobs.pipeline.staging import ATTEMPTS, GATHERED, Staging
from jobs.pipeline.stop import RunState, install_handlers, stoppable
from jobs.pipeline.summary import Expected, Outcome, add_up, check_nothing_lost, summarise
from jobs.pipeline.trec_run import check_trec, check_trec_ids, write_trec
from jobs.pipeline.writer import RankedSink
from rerank.config import ScorerConfig
from rerank.encoding.pairs import PairEncoder
from rerank.engines import Engine
from rerank.fingerprint import ModelIdentity
from rerank.isolation.attempts import ScoringAttempts
from rerank.paths import join_uri, locate
from rerank.ranking.options import RankingOptions
from rerank.store.folder import Folder

_WRITING_CPUS = 0  # writing waits for disks and networks; a CPU reserved for it would be missing for reading


@dataclass(frozen=True, slots=True)
class RunConfig:
    """Settings of one run; see the options of `rerank run`."""

    source: str
    output: str
    scorer: ScorerConfig = field(default_factory=ScorerConfig)
    layout: Layout | None = None
    limit: int | None = None  # read the first queries only
    corpus: str | None = None  # with `queries`: the texts of a run
    queries: str | None = None
    regroup: bool = False  # the pairs are not clustered by query
    renames: dict[str, str] = field(default_factory=dict)
    output_layout: Layout = Layout.PAIRS
    trec: str | None = None  # a TREC run file to write beside the output
    options: RankingOptions = field(default_factory=RankingOptions)
    keep_text: bool = False
    scores: str | None = None  # the score store; None: inside the output folder
    use_store: bool = True
    overwrite: bool = False
    actors: int | None = None
    block_pairs: int | None = None  # pairs per block; None: by device
    address: str | None = None
    verbose: bool = False


def run(config: RunConfig, *, engine: Engine | None = None, encoder: PairEncoder | None = None) -> dict[str, Any]:
    """Rerank `config.source` into `config.output`; return the summary, which is also the manifest.

    `engine` and `encoder` replace those of the model; they travel to the workers by pickling.
    Raises InputError, ConfigError or OutputError before a model is loaded, and ModelError if it cannot be loaded.
    """
    started = perf_counter()
    output = locate(config.output)
    inputs = [locate(uri) for uri in (config.source, config.corpus, config.queries) if uri is not None]
    check_apart(output, inputs=inputs, scores=locate(config.scores) if config.scores else None)
    check_output(output, overwrite=config.overwrite)
    trec = locate(config.trec) if config.trec else None
    if trec is not None:
        check_trec(trec, output, overwrite=config.overwrite)
    job_input = open_input(
        config.source,
        layout=config.layout,
        renames=config.renames,
        limit=config.limit,
        corpus=config.corpus,
        queries=config.queries,
        regroup=config.regroup,
    )
    if config.options.fusion is not None:
        check_mixable(job_input.source, config.options.fusion)
    if trec is not None:
        check_trec_ids(job_input.source)
    check_output(output, overwrite=config.overwrite)  # again, for reading the ids of a large input takes minutes
    staging = stage(output)
    outcome = _execute(config, job_input, staging, engine, encoder)
    sums = add_up(outcome.parts)
    check_nothing_lost(sums, Expected(job_input.queries, job_input.pairs))
    summary = {
        "source": inputs[0].uri,
        "columns": config.renames,
        "cut": config.options.as_json(),
        **summarise(outcome, sums, output=output.uri, seconds=perf_counter() - started),
    }
    if trec is not None:
        write_trec(staging.trec(trec), staging.folder, outcome.parts, config.output_layout)
    publish(staging, outcome.parts, summary, overwrite=config.overwrite, trec=trec)
    if summary["pairs_truncated"] and outcome.passages is None:
        counted = plural(summary["pairs_truncated"], "pair")
        say(f"truncated {counted}; --passage-tokens 256 would score long documents passage by passage")
    return summary


def _execute(
    config: RunConfig, job_input: Input, staging: Staging, engine: Engine | None, encoder: PairEncoder | None
) -> Outcome:
    """Run the pipeline on a cluster; it leaves staged parts."""
    with stoppable() as state:
        connect(address=config.address, verbose=config.verbose)
        install_handlers(state)  # again, because ray.init has replaced them
        try:
            return _on_cluster(config, job_input, staging, state, engine, encoder)
        finally:
            disconnect()


def _on_cluster(
    config: RunConfig,
    job_input: Input,
    staging: Staging,
    state: RunState,
    engine: Engine | None,
    encoder: PairEncoder | None,
) -> Outcome:
    pool = choose_pool(actors=config.actors, device=config.scorer.device)
    wait_for_room(pool)
    resolving = ray.remote(resolve_and_ship).options(num_gpus=pool.gpus).remote(config.scorer)
    scorer, model, shipped_encoder = ray.get(resolving)
    if not pool.gpus and scorer.threads is None:  # the actor's share of the cores, not all of them
        scorer = scorer.model_copy(update={"threads": max(1, int(pool.cpus))})
    score_lookup = _open_lookup(config, model)
    source = ensure_grouped(job_input, staging.folder.join(GATHERED))
    block = pairs_per_block(config.block_pairs, on_gpu=pool.gpus > 0)
    splits = plan_splits(source, target_pairs=pairs_per_split(block), repeated=job_input.repeated)
    counted = f"{plural(job_input.queries, 'query')} with {plural(source.pairs, 'pair')}"
    say(f"{counted} ({source.layout} layout), to be read in {plural(len(splits), 'split')}")
    say(f"model {model.name} in {model.dtype}, at most {model.max_length:,} tokens per pair, on {pool}")
    pairs_per_query = max(1, source.pairs // max(1, job_input.queries))
    sink = RankedSink(staging, config.output_layout, large_strings=job_input.source.has_large_strings)
    attempts = ScoringAttempts(Folder(staging.folder.filesystem, staging.folder.join(ATTEMPTS).path))
    state.scoring, state.store = True, score_lookup.store if score_lookup else None
    started = perf_counter()
    with progress(total_pairs=source.pairs) as reporter:
        rank_dataset(
            source,
            splits,
            scorer=scorer,
            pool=pool,
            options=config.options,
            queries_per_block=max(1, block // pairs_per_query),
            block_bytes=bytes_per_block(block),
            keep_text=config.keep_text,
            score_lookup=score_lookup,
            reporter=reporter,
            attempts=attempts,
            engine=engine,
            encoder=encoder or shipped_encoder,
        ).write_datasink(sink, ray_remote_args={"num_cpus": _WRITING_CPUS})
        seconds = perf_counter() - started
        return Outcome(sink.reports, model, pool.size, reporter.counts().sums, seconds, scorer.passages)


def _open_lookup(config: RunConfig, model: ModelIdentity) -> ScoreLookup | None:
    """Open the score store for this model, and say which parts of it are damaged; None for a run without a store."""
    if not config.use_store:
        return None
    score_lookup = open_score_lookup(config.scores or join_uri(config.output, SCORES), model)
    for damage in ray.get(ray.remote(damaged_parts).remote(score_lookup)):
        say(f"{damage.path}: damaged part of the score store, its pairs are scored again: {damage.reason}")
    return score_lookup
