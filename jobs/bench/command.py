"""The `rerank bench` commands."""

import typer

from jobs.bench.cluster.command import cluster
from jobs.bench.cluster.store import store
from jobs.bench.durability import durability
from jobs.bench.job import job
from jobs.bench.language_model import language_model
from jobs.bench.passages.command import passages
from jobs.bench.pipeline import pipeline
from jobs.bench.scorer import scorer
from jobs.bench.server.serve import serve
from jobs.bench.server.soak import soak
from jobs.bench.startup import startup
from jobs.bench.sweep import sweep
from jobs.bench.tokenize import tokenize

app = typer.Typer(no_args_is_help=True, help="Measure speed and memory on this machine: scorer, job, pipeline, server.")
app.command("pipeline")(pipeline)
app.command("scorer")(scorer)
app.command("job")(job)
app.command("startup")(startup)
app.command("sweep")(sweep)
app.command("serve")(serve)
app.command("soak")(soak)
app.command("tokenize")(tokenize)
app.command("durability")(durability)
app.command("store")(store)
app.command("cluster")(cluster)
app.command("passages")(passages)
app.command("language-model")(language_model)
