"""Options that the benchmark commands share, and how they report results."""

import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from jobs.console import results_console


class Lengths(StrEnum):
    """Lengths of synthetic texts: like Natural Questions (about 170 tokens per pair, long tail), or short passages."""

    NQ = "nq"
    SHORT = "short"


Candidates = Annotated[
    str | None, typer.Argument(metavar="[IN]", help="Candidate sets to read; synthetic texts if left out.")
]
SyntheticLengths = Annotated[Lengths, typer.Option(help="Lengths of synthetic texts.")]
Model = Annotated[str, typer.Option(help="A folder, a Hub id, or the name of the bundled model.")]
MaxLength = Annotated[int | None, typer.Option(min=8, help="Maximum number of tokens per pair.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Pairs = Annotated[int, typer.Option(min=100, help="Number of pairs, taken from the beginning of IN.")]
Rounds = Annotated[int, typer.Option(min=1, help="Number of times that each is measured.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="File to which the results are written as JSON.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def report(results: Sequence[dict[str, Any]], output: Path | None) -> None:
    """Print the results on stdout as one line of JSON, and write them to `output` if it is given."""
    typer.echo(json.dumps(results))
    save(results, output)


def report_table(results: Sequence[dict[str, Any]], table: Table, output: Path | None, *, as_json: bool) -> None:
    """Print the results on stdout, as JSON or as `table`, and write them to `output` if it is given."""
    if as_json:
        typer.echo(json.dumps(results))
    else:
        results_console().print(table)
    save(results, output)


def save(results: Sequence[dict[str, Any]], output: Path | None) -> None:
    """Write the results to `output` as JSON, if it is given."""
    if output is not None:
        output.write_text(json.dumps(results), encoding="utf-8")
