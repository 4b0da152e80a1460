"""The `rerank inspect` command: what a model is, and how it would run on this machine; loads no weights."""

import json
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from jobs.console import results_console
from jobs.exits import exit_codes
from rerank.config import ScorerConfig, parse_config


def inspect(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Model folder or Hub id.")],
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a Hub model.")] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run Python code that comes with the model.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N, mps.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16, float16, int8.")] = "auto",
    max_length: Annotated[
        int | None, typer.Option(min=8, help="Tokens per pair, at most; the model's limit if not given.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Say what kind of model this is, what it reads, what it needs, and what its relevance score means."""
    with exit_codes():
        settings = {
            "model": model,
            "revision": revision,
            "trust_remote_code": trust_remote_code,
            "device": device,
            "dtype": dtype,
            "max_length": max_length,
        }
        from rerank.engines.inspect import inspect_model  # imports torch

        inspection = inspect_model(parse_config(ScorerConfig, settings, source="flags"))
        if as_json:
            typer.echo(json.dumps(inspection.as_json()))
            return
        table = Table(box=None, show_header=False)
        table.add_row("model", inspection.model)
        table.add_row("kind", inspection.kind)
        table.add_row("architecture", inspection.architecture)
        table.add_row("parameters", f"{inspection.parameters:,}")
        table.add_row("limit", f"{inspection.max_length:,} tokens")
        table.add_row("template", escape(json.dumps(inspection.template, ensure_ascii=False)))
        table.add_row("instruction", escape(inspection.instruction or "none of its own"))
        table.add_row("instructions go", inspection.instruction_place)
        table.add_row("runs", f"{inspection.engine}, in {inspection.dtype} on {inspection.device}")
        table.add_row(
            "memory", f"{_size(inspection.weight_bytes)} of weights, about {_size(inspection.memory_bytes)} in all"
        )
        table.add_row("relevance score", inspection.relevance)
        results_console().print(table)


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
