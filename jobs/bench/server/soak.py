"""`rerank bench soak`: the memory of a server's processes over many requests."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any

import typer
from rich.table import Table

from jobs.bench.memory import actors_below, proportional_bytes
from jobs.bench.options import AsJson, Device, Lengths, Model, Output, report_table
from jobs.bench.server.load import Body, Load, connected
from jobs.bench.server.process import ended_by_sigterm, our_server
from jobs.bench.server.serve import BODIES, bodies_of
from jobs.console import say
from jobs.exits import exit_codes
from rerank.config import BUNDLED, ScorerConfig, parse_config

_SAMPLES = 10

Row = dict[str, Any]


def soak(
    model: Model = BUNDLED,
    device: Device = "auto",
    requests: Annotated[int, typer.Option(min=_SAMPLES, help="Number of requests.")] = 50_000,
    documents: Annotated[int, typer.Option(min=1, max=1_000, help="Documents per request.")] = 1,
    concurrency: Annotated[int, typer.Option(min=1, help="Concurrent clients.")] = 32,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """Send many requests to a server, and report whether the memory of its processes grows."""
    with exit_codes(), ended_by_sigterm():
        config = parse_config(ScorerConfig, {"model": model, "device": device}, source="flags")
        with our_server(config) as url:
            watched = actors_below(os.getpid())
            bodies = bodies_of(Lengths.SHORT, documents, BODIES)
            rows = asyncio.run(watch(url, watched, bodies, clients=concurrency, requests=requests))
        report_table(rows, table_of(rows, watched), output, as_json=as_json)


async def watch(
    url: str, watched: Mapping[int, str], bodies: Sequence[Body], *, clients: int, requests: int
) -> list[Row]:
    """Return requests so far, their rate and statuses, and bytes by process, at the start and after each tenth."""
    rows = [_row(0, Load(), watched)]
    bounds = [requests * part // _SAMPLES for part in range(_SAMPLES + 1)]
    async with connected(url) as client:
        for before, after in pairwise(bounds):
            load = await client.counted(bodies, clients=clients, requests=after - before)
            rows.append(row := _row(after, load, watched))
            sizes = ", ".join(f"{name} {row['bytes'][str(pid)] / 2**20:,.1f} MiB" for pid, name in watched.items())
            say(f"{after:,} of {requests:,} requests, {row['requests_per_second']:,.0f} per second: {sizes}")
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
    """Return a table of the MiB of each process; its last line is the growth after the first tenth of the requests."""
    table = Table("requests", "per second", "not 200", box=None, pad_edge=False)
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
