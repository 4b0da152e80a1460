"""The main job: candidate sets in, ranked Parquet out."""

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module
from time import perf_counter
from typing import Any

import ray

from jobs.console import plural, say
from jobs.formats.columns import Layout
from jobs.input.candidates import Input, check_mixable, check_readable, key_names_of, open_input, text_tables
from jobs.input.convert import TextConverter
from jobs.input.splits import bytes_per_block, pairs_per_block, pairs_per_split, plan_splits
from jobs.pipeline.cluster import connect, disconnect, is_local, secure_pools
from jobs.pipeline.counts import start_counting
from jobs.pipeline.output import SCORES, check_apart, check_output, check_partition_by, stage
from jobs.pipeline.own_cluster.data_actors import no_data_actors
from jobs.pipeline.progress import progress
from jobs.pipeline.publish import publish
from jobs.pipeline.score_lookup import ScoreLookup, damaged_parts, open_score_lookup
from jobs.pipeline.stages.load import Resolved, load_stages, pipeline_stages, resolve_at_once
from jobs.pipeline.stages.pool_settings import DEFAULT_POOL, PoolSettings
from jobs.pipeline.stages.settings import StageConfig, check_cascade
from jobs.pipeline.staging import ATTEMPTS, CONVERTED, GATHERED, Staging
from jobs.pipeline.stop import RunState, install_handlers, stoppable
from jobs.pipeline.summary import Expected, Outcome, RankedBy, add_up, check_nothing_lost, summarise, versions
from jobs.pipeline.trec_run import check_trec, check_trec_ids, write_trec
from rerank.config import ScorerConfig
from rerank.encoding.pairs import PairEncoder
from rerank.engines import Engine, Kind
from rerank.fingerprint import ModelIdentity
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
    beir: str | None = None  # a folder with the corpus and the queries of a run
    regroup: bool = False  # the pairs are not clustered by query
    renames: dict[str, str] = field(default_factory=dict)
    columns: dict[str, tuple[str, ...]] = field(default_factory=dict)  # of text files without a header, by table
    output_layout: Layout = Layout.PAIRS
    partition_by: tuple[str, ...] = ()  # columns that become folders of the output
    trec: str | None = None  # a TREC run file to write beside the output
    options: RankingOptions = field(default_factory=RankingOptions)
    stages: tuple[StageConfig, ...] = ()  # of a cascade, instead of `scorer` and `pool`
    stage_logits: bool = False  # write the logits of all stages
    keep_text: bool = False
    scores: str | None = None  # the score store; None: inside the output folder
    use_store: bool = True
    overwrite: bool = False
    pool: PoolSettings = DEFAULT_POOL
    prepare_resources: dict[str, float] = field(default_factory=dict)  # custom ones, of each task that prepares
    patience_s: float | None = None  # for free resources, and nodes that an autoscaler starts; None: a default
    block_pairs: int | None = None  # pairs per block; None: by device
    address: str | None = None
    verbose: bool = False

    @property
    def all_stages(self) -> tuple[StageConfig, ...]:
        """Return the stages of a cascade, or the one stage of a single model."""
        return self.stages or (StageConfig(scorer=self.scorer, pool=self.pool),)


def run(config: RunConfig, *, engine: Engine | None = None, encoder: PairEncoder | None = None) -> dict[str, Any]:
    """Rerank `config.source` into `config.output`; return the summary, which is also the manifest.

    `engine` and `encoder` replace those of the model, or of every stage; they travel to the workers by pickling.
    Raises InputError, ConfigError or OutputError before a model is loaded, and ModelError if it cannot be loaded.
    """
    started = perf_counter()
    check_cascade(config.stages, config.options, stage_logits=config.stage_logits)
    output = locate(config.output)
    corpus, queries = text_tables(config.corpus, config.queries, config.beir)
    inputs = [locate(uri) for uri in (config.source, corpus, queries) if uri is not None]
    check_apart(output, inputs=inputs, scores=locate(config.scores) if config.scores else None)
    check_output(output, overwrite=config.overwrite)
    trec = locate(config.trec) if config.trec else None
    if trec is not None:
        check_trec(trec, output, overwrite=config.overwrite)
    staged = cache(lambda: stage(output))  # before the input is checked only if text files must be written there
    job_input = open_input(
        config.source,
        layout=config.layout,
        renames=config.renames,
        limit=config.limit,
        corpus=corpus,
        queries=queries,
        regroup=config.regroup,
        texts=TextConverter(lambda: staged().folder.join(CONVERTED), config.columns),
    )
    if config.options.fusion is not None:
        check_mixable(job_input.source, config.options.fusion)
    check_partition_by(config.partition_by, job_input.source, config.output_layout)
    if renamed := job_input.source.renamed:
        names = ", ".join(f"{name} is {new_name}" for name, new_name in renamed.items())
        say(f"columns of the input that are called like columns of the output get other names there: {names}")
    if job_input.shared:
        say(
            f"{plural(job_input.shared, 'query id')} found in more than one partition: "
            "the candidates of each partition are ranked by themselves"
        )
    if trec is not None:
        check_trec_ids(job_input)
    check_output(output, overwrite=config.overwrite)  # again, for reading the ids of a large input takes minutes
    staging = staged()
    outcome = _execute(config, job_input, staging, engine, encoder)
    sums = add_up(outcome.parts)
    check_nothing_lost(sums, Expected(job_input.queries, job_input.pairs))
    summary = {
        "source": inputs[0].uri,
        "columns": config.renames,
        "renamed": job_input.source.renamed,
        "limit": config.limit,
        "cut": config.options.as_json(),
        "partition_by": list(config.partition_by),
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
    with stoppable() as state, ThreadPoolExecutor(1) as thread:
        # In a thread, because `ray.init` must run in the main one: what a thread started ends with that thread.
        preparing = thread.submit(_prepare_driver, config)
        connect(address=config.address, verbose=config.verbose, stages=len(config.all_stages))
        install_handlers(state)  # again, because ray.init has replaced them
        try:
            with no_data_actors() if is_local(config.address) and not config.verbose else nullcontext():
                return _on_cluster(config, job_input, staging, state, preparing, engine, encoder)
        finally:
            disconnect()


def _prepare_driver(config: RunConfig) -> list[Resolved | None]:
    """Do what needs no cluster while Ray starts: this process would only wait, for seconds.

    Import Ray Data, and identify the models of a job on a local cluster if that needs no worker. Raises as `resolve`.
    """
    import_module("jobs.pipeline.dataset")
    versions()
    return resolve_at_once(config.all_stages) if is_local(config.address) else [None] * len(config.all_stages)


def _on_cluster(
    config: RunConfig,
    job_input: Input,
    staging: Staging,
    state: RunState,
    preparing: "Future[list[Resolved | None]]",
    engine: Engine | None,
    encoder: PairEncoder | None,
) -> Outcome:
    pools = secure_pools(config.all_stages, prepare=config.prepare_resources, patience_s=config.patience_s)
    reporter = start_counting()
    loaded = load_stages(config.all_stages, pools, preparing.result())
    # Not at the top: these import Ray Data, which takes half a second, and `_prepare_driver` did that in the meantime.
    from jobs.input.shuffle import ensure_grouped
    from jobs.pipeline.dataset import rank_dataset
    from jobs.pipeline.writer import RankedSink

    for found in loaded:
        check_readable(job_input.source, Kind(found.model.kind))
    lookups = [_open_lookup(config, stage.model) for stage in loaded]
    source = ensure_grouped(job_input, staging.folder.join(GATHERED))
    blocks = [
        pairs_per_block(
            config.block_pairs,
            on_gpu=pool.gpus > 0,
            vector_bytes=source.vector_bytes,
            pairs=source.pairs,
            actors=pool.most,
        )
        for pool in pools
    ]
    splits = plan_splits(source, target_pairs=pairs_per_split(blocks[0]), repeated=job_input.repeated)
    counted = f"{plural(job_input.queries, 'query')} with {plural(source.pairs, 'pair')}"
    say(f"{counted} ({source.layout} layout), to be read in {plural(len(splits), 'split')}")
    for found in loaded:
        say(str(found))
    sink = RankedSink(
        staging,
        config.output_layout,
        partition_by=config.partition_by,
        key_names=key_names_of(job_input.source),
        large_strings=job_input.source.has_large_strings,
    )
    state.scoring, state.stores = True, [lookup.store for lookup in lookups if lookup]
    stages = pipeline_stages(
        loaded,
        lookups,
        options=config.options,
        keep_text=config.keep_text,
        stage_logits=config.stage_logits,
        blocks=blocks,
        pairs_per_query=max(1, source.pairs // max(1, job_input.queries)),
        attempts=Folder(staging.folder.filesystem, staging.folder.join(ATTEMPTS).path),
    )
    if engine is not None or encoder is not None:
        stages = [replace(stage, engine=engine, encoder=encoder or stage.encoder) for stage in stages]
    started = perf_counter()
    with progress(reporter, total_pairs=source.pairs):
        rank_dataset(
            source,
            splits,
            stages,
            block_bytes=bytes_per_block(blocks[0]),
            keep_text=config.keep_text,
            reporter=reporter,
            prepare_resources=config.prepare_resources,
        ).write_datasink(sink, ray_remote_args={"num_cpus": _WRITING_CPUS})
        seconds, passages = perf_counter() - started, loaded[-1].scorer.passages
        counts = reporter.counts()
        ranked_by = [RankedBy(stage.model, stage.actors(counts.actors), stage.config.keep) for stage in loaded]
        return Outcome(sink.reports, ranked_by, counts.sums, seconds, passages)


def _open_lookup(config: RunConfig, model: ModelIdentity) -> ScoreLookup | None:
    """Open the score store for this model, and say which parts of it are damaged; None for a run without a store."""
    if not config.use_store:
        return None
    score_lookup = open_score_lookup(config.scores or join_uri(config.output, SCORES), model)
    if not score_lookup.parts:
        return score_lookup
    if is_local(config.address):
        damaged = damaged_parts(score_lookup)  # workers run on the same node, and one would have to start first
    else:
        damaged = ray.get(ray.remote(damaged_parts).remote(score_lookup))
    for damage in damaged:
        say(f"{damage.path}: damaged part of the score store, its pairs are scored again: {damage.reason}")
    return score_lookup
