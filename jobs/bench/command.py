"""`rerank bench`: the benchmarks as commands."""

import typer

from jobs.bench.pipeline import pipeline
from jobs.bench.scorer import scorer

app = typer.Typer(no_args_is_help=True, help="Measure this machine: the pipeline, the scorer.")
app.command("pipeline")(pipeline)
app.command("scorer")(scorer)
