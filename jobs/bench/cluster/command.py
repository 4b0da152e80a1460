"""`rerank bench cluster`: the throughput of a job on 1 to 32 engines that sleep, as a table and a plot."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.table import Table

from jobs.bench.cluster.measure import Row, Workload, measure
from jobs.bench.cluster.model import JobModel, fit
from jobs.bench.cluster.plot import draw
from jobs.bench.options import AsJson, report_table
from jobs.console import plural, say
from jobs.exits import exit_codes
from rerank.engines.device.cores import available_cores
from rerank.errors import ConfigError


def cluster(
    engines: Annotated[str, typer.Option(help="Numbers of engines, separated by commas.")] = "1,2,4,8,16,32",
    rate: Annotated[float, typer.Option(min=1, help="Pairs that an engine scores per second.")] = 250.0,
    pairs: Annotated[int | None, typer.Option(min=1000, help="Pairs of each job, however many engines.")] = None,
    seconds: Annotated[
        float, typer.Option(min=1, help="Without --pairs: how long each job keeps its engines busy, in seconds.")
    ] = 60.0,
    block_seconds: Annotated[float, typer.Option(min=0.1, help="How long an engine scores a block.")] = 4.0,
    tokens: Annotated[int, typer.Option(min=0, help="Tokens per pair.")] = 170,
    preparing: Annotated[int, typer.Option(min=1, help="Tasks that read and prepare at the same time.")] = 2,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File for the results: .json, or .svg for a plot.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a job on engines that sleep instead of computing: pairs/s and efficiency by number of engines.

    The cluster is a node of this machine with made-up GPUs. Rates are those of the time in which all engines have work:
    without the start of the processes, and without the tail, in which the last blocks are scored.
    """
    with exit_codes(), TemporaryDirectory(prefix="rerank-cluster-") as folder:
        workload = Workload(rate, tokens, block_seconds, preparing)
        rows = []
        for count in _counts(engines):
            size = pairs or round(count * rate * seconds)
            rows.append(measure(Path(folder), workload, engines=count, pairs=size))
            reached = f"{rows[-1]['pairs_per_second']:,.0f} pairs/s, {rows[-1]['efficiency']:.1%} of linear"
            say(f"{plural(count, 'engine')}: {reached}")
        model = predict(rows, rate)
        cores = available_cores()
        say(
            f"a pair costs {1_000 * model.cpu_seconds:.3f} CPU ms: {plural(cores, 'core')} can feed "
            f"{model.most_pairs_per_second(cores):,.0f} pairs/s"
        )
        is_plot = output is not None and output.suffix == ".svg"
        report_table(rows, _table(rows), None if is_plot else output, as_json=as_json)
        if output is not None and is_plot:
            output.write_text(draw(rows, rate), encoding="utf-8")


def predict(rows: Sequence[Row], rate: float) -> JobModel:
    """Add to each row what the model predicts for it; return the model."""
    model = fit(rows, rate)
    for row in rows:
        row["predicted"] = model.pairs_per_second(row["engines"], available_cores())
    return model


def _counts(engines: str) -> list[int]:
    """Return the numbers in an option. Raises ConfigError."""
    counts = [int(count) if count.strip().isdecimal() else 0 for count in engines.split(",")]
    if min(counts) < 1:
        raise ConfigError(f"--engines must be numbers from 1 separated by commas, got {engines!r}")
    return counts


def _table(rows: Sequence[Row]) -> Table:
    table = Table("engines", "pairs", "seconds", "pairs/s", "efficiency", "with tail", "predicted", "cores", "others")
    for row in rows:
        table.add_row(
            f"{row['engines']}",
            f"{row['pairs']:,}",
            f"{row['seconds']:.0f}",
            f"{row['pairs_per_second']:,.0f}",
            f"{row['efficiency']:.1%}",
            f"{row['efficiency_with_tail']:.1%}",
            f"{row['predicted']:,.0f}",
            f"{row['cores']:.2f}",
            f"{row['cores_of_others']:.2f}",
        )
    return table
