"""The `rerank run` command; `python -m jobs.run` is the same for `ray job submit`."""

import json
import sys
from contextlib import redirect_stdout
from typing import Annotated

import typer

from jobs.config_file import read_config
from jobs.console import plural, say
from jobs.exits import TOO_MANY_REJECTED, end_without_collection, exit_codes
from jobs.formats.columns import Layout
from jobs.formats.renames import parse_columns, parse_renames
from jobs.pipeline.job import RunConfig
from jobs.pipeline.job import run as run_job
from jobs.pipeline.stages.pool_settings import parse_resources, pool_settings
from jobs.pipeline.stages.settings import read_stages
from rerank.config import BUNDLED, ScorerConfig, parse_config, without_none
from rerank.errors import ConfigError
from rerank.ranking.fusion import ScoreFusion
from rerank.ranking.options import RankingOptions


def run(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            metavar="IN", help="Candidate sets: a file, directory, glob or URI, of Parquet, JSON lines, CSV or TSV."
        ),
    ],
    output: Annotated[
        str | None, typer.Argument(metavar="OUT", help="Folder or URI for the ranked Parquet.", show_default=False)
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", is_eager=True, callback=read_config, help="YAML file with options, and stages of a cascade."
        ),
    ] = None,
    stage: Annotated[
        list[str] | None,
        typer.Option(metavar="MODEL:KEEP", help="A stage of a cascade, and how many candidates it keeps; repeat it."),
    ] = None,
    stage_logits: Annotated[
        bool, typer.Option("--stage-logits", help="Write each candidate's logits of all stages into OUT.")
    ] = False,
    model: Annotated[str, typer.Option(help="Model folder or Hub id; the bundled model if not given.")] = BUNDLED,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a Hub model.")] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run Python code that comes with the model.")
    ] = False,
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Load weights that are no safetensors; they can run any code.")
    ] = False,
    instruction: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What makes a document relevant, for queries that bring none.")
    ] = None,
    top_k: Annotated[int | None, typer.Option(min=1, help="Keep the K best candidates of each query.")] = None,
    min_score: Annotated[
        float | None, typer.Option(min=0, max=1, help="Drop candidates with a lower relevance score.")
    ] = None,
    depth: Annotated[
        int | None, typer.Option(min=1, help="Score the first N candidates; the others rank below.")
    ] = None,
    mix: Annotated[
        str | None, typer.Option(metavar="METHOD:WEIGHT", help="Rank by both stages' scores: scores:0.7, rrf:0.5.")
    ] = None,
    layout: Annotated[Layout | None, typer.Option(help="Layout of IN; told by its columns if not given.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Rerank only the first N queries of IN.")] = None,
    corpus: Annotated[str | None, typer.Option(help="For a run as IN: its documents (doc_id, text).")] = None,
    queries: Annotated[str | None, typer.Option(help="For a run as IN: its queries (query_id, query).")] = None,
    beir: Annotated[
        str | None, typer.Option(metavar="DIR", help="A folder of BEIR, for its corpus and its queries.")
    ] = None,
    run_file: Annotated[
        str | None, typer.Option("--run", metavar="FILE", help="The run to rerank, instead of IN before OUT.")
    ] = None,
    regroup: Annotated[bool, typer.Option("--regroup", help="Shuffle pairs that are not clustered by query.")] = False,
    column: Annotated[
        list[str] | None, typer.Option(help="Read a column by another name: text=body, corpus.text=body.")
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(help="Columns of CSV or TSV without a header: query_id,doc_id,query,text, corpus=doc_id,text."),
    ] = None,
    output_layout: Annotated[Layout, typer.Option(help="Write one row per pair, or one per query.")] = Layout.PAIRS,
    partition_by: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN,…", help="Write OUT in Hive partitions by these columns; may be repeated."),
    ] = None,
    trec: Annotated[str | None, typer.Option(metavar="FILE", help="Also write a TREC run file.")] = None,
    keep_text: Annotated[bool, typer.Option("--keep-text", help="Copy query and text into OUT.")] = False,
    scores: Annotated[
        str | None, typer.Option(help="Score store, to share scores between runs; OUT/_scores if not given.")
    ] = None,
    no_store: Annotated[bool, typer.Option("--no-store", help="Do not look scores up, and do not keep them.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier result, and the file of --trec, when done.")
    ] = False,
    max_error_rate: Annotated[
        float, typer.Option(min=0, max=1, help="Largest share of rejected pairs; beyond it exit code 3.")
    ] = 0.01,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N, mps.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16, float16, int8.")] = "auto",
    max_length: Annotated[
        int | None, typer.Option(min=8, help="Tokens per pair, at most; the model's limit if not given.")
    ] = None,
    passage_tokens: Annotated[
        int | None, typer.Option(help="Score documents that are longer than this passage by passage.")
    ] = None,
    passage_overlap: Annotated[
        int | None, typer.Option(help="Tokens that a passage repeats from the one before it; 32 if not given.")
    ] = None,
    passage_aggregate: Annotated[
        str | None, typer.Option(metavar="max|mean|first", help="A document's score from those of its passages.")
    ] = None,
    max_passages: Annotated[int | None, typer.Option(help="Score only the first N passages of a document.")] = None,
    batch_tokens: Annotated[int | None, typer.Option(min=1, help="Tokens per batch; by device if not given.")] = None,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="Score each pair by itself, for bit-identical scores; slower.")
    ] = False,
    split_special_tokens: Annotated[
        bool, typer.Option("--split-special-tokens", help="Read [SEP] and the like in a text as text.")
    ] = False,
    vector_cache: Annotated[
        int, typer.Option(min=0, help="Bytes of vectors that an actor remembers, of models for single texts.")
    ] = 512 * 2**20,
    actors: Annotated[
        str | None,
        typer.Option(
            metavar="N|MIN:MAX",
            help="Number of actors, or a range to grow in; one per GPU, or per eight CPUs, if not given.",
        ),
    ] = None,
    gpus_per_actor: Annotated[
        float | None, typer.Option(help="GPUs of each actor, such as 0.5; 0 for actors on CPUs.")
    ] = None,
    accelerator_type: Annotated[
        str | None, typer.Option(metavar="NAME", help="Run actors on GPUs of this type, such as L4, as Ray names it.")
    ] = None,
    resources: Annotated[
        str | None, typer.Option(metavar="JSON", help="Custom Ray resources of each actor: '{\"big_node\": 0.001}'.")
    ] = None,
    prepare_resources: Annotated[
        str | None, typer.Option(metavar="JSON", help="Custom Ray resources of each task that reads and prepares.")
    ] = None,
    wait: Annotated[
        float | None,
        typer.Option(
            min=0, help="Seconds to wait for free resources: 120, or 900 where Ray's autoscaler may start nodes."
        ),
    ] = None,
    block_pairs: Annotated[int | None, typer.Option(min=1, help="Pairs per block; by device if not given.")] = None,
    address: Annotated[str | None, typer.Option(help="Ray cluster; RAY_ADDRESS or this machine if not given.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show Ray's own messages.")] = False,
) -> None:
    """Rerank candidate sets: Parquet or text files in, ranked Parquet out."""
    with exit_codes():
        source, output = _in_and_out(source, output, run_file)
        scorer = {
            "model": model,
            "revision": revision,
            "trust_remote_code": trust_remote_code,
            "allow_pickle": allow_pickle,
            "device": device,
            "dtype": dtype,
            "max_length": max_length,
            "passages": without_none(
                tokens=passage_tokens, overlap=passage_overlap, aggregate=passage_aggregate, max_passages=max_passages
            ),
            "batch_tokens": batch_tokens,
            "deterministic": deterministic,
            "split_special_tokens": split_special_tokens,
            "vector_cache": vector_cache,
            "instruction": instruction,
        }
        pool = pool_settings(actors=actors, gpus=gpus_per_actor, resources=resources, accelerator_type=accelerator_type)
        stages = read_stages(stage or [], context.obj, scorer, pool=pool)
        with redirect_stdout(sys.stderr):  # Ray prints there what died; stdout is for the summary
            summary = run_job(
                RunConfig(
                    source=source,
                    output=output,
                    scorer=parse_config(ScorerConfig, scorer, source="flags"),
                    layout=layout,
                    limit=limit,
                    corpus=corpus,
                    queries=queries,
                    beir=beir,
                    regroup=regroup,
                    renames=parse_renames(column or []),
                    columns=parse_columns(columns or [], "corpus", "queries"),
                    output_layout=output_layout,
                    partition_by=tuple(name for names in partition_by or [] for name in names.split(",")),
                    stages=stages,
                    stage_logits=stage_logits,
                    options=RankingOptions(top_k, min_score, depth, ScoreFusion.parse(mix) if mix else None),
                    trec=trec,
                    keep_text=keep_text,
                    scores=scores,
                    use_store=not no_store,
                    overwrite=overwrite,
                    pool=pool,
                    prepare_resources=parse_resources(prepare_resources, option="--prepare-resources"),
                    patience_s=wait,
                    block_pairs=block_pairs,
                    address=address,
                    verbose=verbose,
                )
            )
        typer.echo(json.dumps(summary))
        if summary["pairs_rejected"] > max_error_rate * summary["pairs_read"]:
            counted = f"{summary['pairs_rejected']:,} of {plural(summary['pairs_read'], 'pair')}"
            say(f"rejected {counted}, more than --max-error-rate {max_error_rate:g} allows; see {output}/_errors")
            raise SystemExit(TOO_MANY_REJECTED)


def _in_and_out(source: str, output: str | None, run_file: str | None) -> tuple[str, str]:
    """Return IN and OUT: with --run the only argument is OUT. Raises ConfigError."""
    if run_file is not None and output is None:
        return run_file, source
    if run_file is not None:
        raise ConfigError(f"--run {run_file} is read instead of IN: expected OUT alone, got {source} and {output}")
    if output is None:
        raise ConfigError(f"OUT is missing: expected IN and OUT, got {source}")
    return source, output


if __name__ == "__main__":
    end_without_collection()
    typer.run(run)
