"""`rerank bench serve`: rates and latencies of a server, compared with other servers and with the bare scorer."""

import asyncio
from contextlib import AsyncExitStack, ExitStack
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from jobs.bench.options import AsJson, Device, Lengths, Output, SyntheticLengths, report_table
from jobs.bench.scoring import synthetic_sets
from jobs.bench.server.load import Body, Client, Load, connected
from jobs.bench.server.process import ended_by_sigterm, infinity_server, our_server, rival_server
from jobs.bench.server.turns import BareScorer, Target, added_ms, many_clients, one_client, share_of
from jobs.exits import exit_codes
from rerank.config import BUNDLED, ScorerConfig, parse_config
from rerank.ranking.candidates import CANDIDATES

BODIES = 32
_LONG, _SHORT = 1_000, 4  # documents per request of the two clients in the mixed load
_SHORT_PER_SECOND = 10.0
_OVERLOAD = 10  # times the highest rate that was measured
_COLUMNS = {  # of the table, with the width of their longest value
    "pairs/s": 7,
    "of bare": 4,
    "p50 ms": 6,
    "added ms": 6,
    "p95 ms": 6,
    "200": 4,
    "429": 4,
    "429 after ms": 5,
    "other": 5,
}
_OURS, _RIVAL, _INFINITY, _BARE = "rerank", "predict", "infinity", "no server"

Row = dict[str, Any]


def serve(
    url: Annotated[str | None, typer.Option(help="Address of a running server; one is started if left out.")] = None,
    key: Annotated[str | None, typer.Option(envvar="RERANK_KEY", help="API key of that server.")] = None,
    model: Annotated[
        str, typer.Option(help="A folder, a Hub id, or the name of the bundled model; the model that --url serves.")
    ] = BUNDLED,
    device: Device = "auto",
    lengths: SyntheticLengths = Lengths.NQ,
    documents: Annotated[int, typer.Option(min=1, max=1_000, help="Documents per request.")] = 32,
    concurrency: Annotated[
        int, typer.Option(min=2, help="Concurrent clients; one client is always measured too.")
    ] = 16,
    seconds: Annotated[float, typer.Option(min=0.1, help="Seconds per run; with one client, times --rounds.")] = 10.0,
    rounds: Annotated[int, typer.Option(min=1, help="Number of times that each server is measured.")] = 2,
    rival: Annotated[bool, typer.Option(help="Also measure FastAPI with CrossEncoder.predict.")] = True,
    infinity: Annotated[
        Path | None,
        typer.Option(help="Interpreter of an environment with infinity_emb[torch,server]: also measure it."),
    ] = None,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """Measure a server and its rivals with one client, many clients, mixed request sizes, and tenfold overload."""
    with exit_codes(), ended_by_sigterm(), ExitStack() as running:
        config = parse_config(ScorerConfig, {"model": model, "device": device}, source="flags")
        bare = BareScorer(config)
        urls = {_OURS: url or running.enter_context(our_server(config))}
        if rival:
            urls[_RIVAL] = running.enter_context(rival_server(config))
        if infinity is not None:
            urls[_INFINITY] = running.enter_context(infinity_server(config, infinity))
        measured = measure(urls, bare, lengths, documents, concurrency, seconds=seconds, rounds=rounds, key=key)
        rows = asyncio.run(measured)
        report_table(rows, table_of(rows), output, as_json=as_json)


async def measure(
    urls: dict[str, str],
    bare: BareScorer,
    lengths: Lengths,
    documents: int,
    clients: int,
    *,
    seconds: float,
    rounds: int,
    key: str | None = None,
) -> list[Row]:
    """Return the results of all servers, measured in alternation; the overload comes last because it leaves a queue."""
    bodies = bodies_of(lengths, documents, BODIES)
    async with AsyncExitStack() as open_:
        servers = {
            name: await open_.enter_async_context(connected(url, key=key if name == _OURS else None))
            for name, url in urls.items()
        }
        targets: dict[str, Target] = {_BARE: bare, **servers}
        for target in targets.values():
            await target.send(bodies[0], Load())  # the first request is slower
        ones = await one_client(targets, bodies, seconds=seconds * rounds)
        rows = [row_of("1 client", name, load, added=added_ms(load, ones[_BARE])) for name, load in ones.items()]
        runs = await many_clients(targets, bodies, clients=clients, seconds=seconds, rounds=rounds)
        for name, loads in runs.items():
            rows.append(row_of(f"{clients} clients", name, Load.joined(loads), share=share_of(loads, runs[_BARE])))
        most = {name: max(row["pairs_per_second"] for row in rows if row["server"] == name) for name in servers}
        for name, server in servers.items():
            rows += await mix(server, name, lengths, seconds=seconds)
        for name, server in servers.items():
            load = await server.open(bodies, per_second=_OVERLOAD * most[name] / documents, seconds=seconds)
            rows.append(row_of(f"{_OVERLOAD}x load", name, load))
    return rows


async def mix(client: Client, name: str, lengths: Lengths, *, seconds: float) -> list[Row]:
    """Measure a short request every 100 ms: alone, and while another client sends long requests without pause."""
    short = bodies_of(lengths, _SHORT, BODIES)
    alone = await client.open(short, per_second=_SHORT_PER_SECOND, seconds=seconds)
    long, beside = await asyncio.gather(
        client.closed(bodies_of(lengths, _LONG, 1), clients=1, seconds=seconds),
        client.open(short, per_second=_SHORT_PER_SECOND, seconds=seconds),
    )
    loads = {f"{_SHORT} alone": alone, f"mix: {_LONG:,}": long, f"mix: {_SHORT}": beside}
    return [row_of(description, name, load) for description, load in loads.items()]


def bodies_of(lengths: Lengths, documents: int, requests: int) -> list[Body]:
    """Return request bodies with `documents` synthetic documents each."""
    table = synthetic_sets(lengths, documents * requests)
    queries = cycle(table.column("query").to_pylist())
    texts = iter([place["text"] for row in table.column(CANDIDATES).to_pylist() for place in row])
    return [{"query": next(queries), "documents": list(islice(texts, documents))} for _ in range(requests)]


def row_of(description: str, server: str, load: Load, *, added: float | None = None, share: float | None = None) -> Row:
    """Return the results of a load: rate, latencies of ranked and of refused requests, and shares by status.

    `added`: milliseconds more than the bare scorer; `share`: of the bare scorer's rate.
    """
    statuses = load.statuses()
    return {
        "load": description,
        "server": server,
        "pairs_per_second": round(load.rate, 1),
        "of_bare": share,
        "added_p50_ms": added,
        **load.percentiles(),
        "refused_p50_ms": load.percentiles(429)["p50_ms"],
        "requests": statuses.total(),
        "shares": {str(status): round(number / statuses.total(), 4) for status, number in sorted(statuses.items())},
    }


def table_of(rows: list[Row]) -> Table:
    """Return the results as a table that fits into a terminal of 80 columns."""
    table = Table("load", "server", box=None, pad_edge=False, collapse_padding=True)
    for column in table.columns:
        column.no_wrap = True
    for name, width in _COLUMNS.items():
        table.add_column(name, justify="right", min_width=width)
    for row in rows:
        shares = row["shares"]
        times = (row["p50_ms"], row["added_p50_ms"], row["p95_ms"])
        ranked, refused = shares.get("200", 0.0), shares.get("429", 0.0)
        table.add_row(
            row["load"],
            row["server"],
            f"{row['pairs_per_second']:,.0f}",
            "" if row["of_bare"] is None else f"{row['of_bare']:.0%}",
            *("" if value is None else f"{value:,.0f}" for value in times),
            *(f"{share:.0%}" if shares else "" for share in (ranked, refused)),
            "" if row["refused_p50_ms"] is None else f"{row['refused_p50_ms']:,.0f}",
            f"{1 - ranked - refused:.0%}" if shares else "",
        )
    return table
