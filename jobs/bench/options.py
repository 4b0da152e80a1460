"""What the benchmarks' commands share: options, and how results are handed over."""

import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer


class Lengths(StrEnum):
    """Made-up texts: Natural Questions' mean of about 170 tokens a pair with its long tail, or short passages."""

    NQ = "nq"
    SHORT = "short"


Candidates = Annotated[
    str | None, typer.Argument(metavar="[IN]", help="Candidate sets to read; made-up texts if not given.")
]
MadeUp = Annotated[Lengths, typer.Option(help="Lengths of made-up texts.")]
Model = Annotated[str, typer.Option(help="A folder, a Hub id, or the bundled model.")]
MaxLength = Annotated[int | None, typer.Option(min=8, help="Tokens per pair.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N, mps.")]
Pairs = Annotated[int, typer.Option(min=100, help="How many pairs, from the head of IN.")]
Rounds = Annotated[int, typer.Option(min=1, help="Turns that each takes.")]
Output = Annotated[Path | None, typer.Option("--json", help="Write the results to this file too.")]


def hand_over(results: Sequence[dict[str, Any]], output: Path | None) -> None:
    """One JSON line on stdout, and the same in the file."""
    typer.echo(json.dumps(results))
    save(results, output)


def save(results: Sequence[dict[str, Any]], output: Path | None) -> None:
    """The results as JSON in the file, where one was asked for."""
    if output is not None:
        output.write_text(json.dumps(results))
