"""`rerank bench soak`: the memory of a server's processes over many requests."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any

import typer
from rich.table import Table

from jobs.bench.memory import actors_below, proportional_bytes
from jobs.bench.options import Device, Lengths, Model, Output, save
from jobs.bench.server.load import Body, Load, connected
from jobs.bench.server.process import ended_by_sigterm, our_server
from jobs.bench.server.serve import BODIES, bodies_of
from jobs.console import results_console, say
from jobs.exits import exit_codes
from rerank.config import BUNDLED, ScorerConfig, parse_config

_SAMPLES = 10

Row = dict[str, Any]


def soak(
    model: Model = BUNDLED,
    device: Device = "auto",
    requests: Annotated[int, typer.Option(min=_SAMPLES, help="How many requests are sent.")] = 50_000,
    documents: Annotated[int, typer.Option(min=1, max=1_000, help="Documents of a request.")] = 1,
    concurrency: Annotated[int, typer.Option(min=1, help="Clients at once.")] = 32,
    output: Output = None,
) -> None:
    """Send a server many requests, and see whether its processes keep their size."""
    with exit_codes(), ended_by_sigterm():
        config = parse_config(ScorerConfig, {"model": model, "device": device}, source="flags")
        with our_server(config) as url:
            watched = actors_below(os.getpid())
            bodies = bodies_of(Lengths.SHORT, documents, BODIES)
            rows = asyncio.run(watch(url, watched, bodies, clients=concurrency, requests=requests))
        results_console().print(table_of(rows, watched))
        save(rows, output)


async def watch(
    url: str, watched: Mapping[int, str], bodies: Sequence[Body], *, clients: int, requests: int
) -> list[Row]:
    """The requests so far, their rate and statuses, and bytes by process: before the first and after every tenth."""
    rows = [_row(0, Load(), watched)]
    bounds = [requests * part // _SAMPLES for part in range(_SAMPLES + 1)]
    async with connected(url) as client:
        for before, after in pairwise(bounds):
            load = await client.counted(bodies, clients=clients, requests=after - before)
            rows.append(row := _row(after, load, watched))
            sizes = ", ".join(f"{name} {row['bytes'][str(pid)] / 2**20:,.1f} MiB" for pid, name in watched.items())
            say(f"{after:,} of {requests:,} requests, {row['requests_per_second']:,.0f} a second: {sizes}")
    return rows


def _row(requests: int, load: Load, watched: Mapping[int, str]) -> Row:
    statuses = load.statuses()
    return {
        "requests": requests,
        "requests_per_second": round(statuses.total() / load.took_s, 1) if load.took_s else 0.0,
        "statuses": {str(status): number for status, number in sorted(statuses.items())},
        "bytes": {str(pid): proportional_bytes(pid) for pid in watched},
    }


def table_of(rows: Sequence[Row], watched: Mapping[int, str]) -> Table:
    """MiB of each process for a person to read; the last line is what came on top after the first tenth."""
    table = Table("requests", "a second", "not 200", box=None, pad_edge=False)
    for name in watched.values():
        table.add_column(f"{name} MiB", overflow="fold")
    for column in table.columns:
        column.justify = "right"
    for row in rows:
        others = sum(number for status, number in row["statuses"].items() if status != "200")
        sizes = (f"{size / 2**20:,.1f}" for size in row["bytes"].values())
        table.add_row(f"{row['requests']:,}", f"{row['requests_per_second']:,.0f}", f"{others:,}", *sizes)
    grown = (rows[-1]["bytes"][str(pid)] - rows[1]["bytes"][str(pid)] for pid in watched)
    table.add_row("growth", "", "", *(f"{size / 2**20:+,.1f}" for size in grown))
    return table
