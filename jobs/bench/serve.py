"""`rerank bench serve`: pairs a second and latencies of a server, beside the usual one and the bare scorer."""

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import count, cycle, islice
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from jobs.bench.options import Device, Lengths, MadeUp, Output, save
from jobs.bench.scorer import made_up
from jobs.bench.serve_load import Body, Client, Load, connected
from jobs.bench.serve_process import ended_by_sigterm, infinity_server, our_server, rival_server
from jobs.exits import exit_codes
from jobs.progress import say
from rerank.candidates import CANDIDATES
from rerank.config import BUNDLED, ScorerConfig, parse_config
from rerank.reranker import Reranker

BODIES = 32
_LONG, _SHORT = 1_000, 4  # documents of the two clients of the mix
_SHORT_PER_SECOND = 10.0
_TIMES_TOO_MUCH = 10
_OURS, _RIVAL, _INFINITY, _BARE = "rerank", "predict", "infinity", "no server"

Row = dict[str, Any]


class Bare:
    """The scorer without a server round it."""

    def __init__(self, config: ScorerConfig) -> None:
        """Load it, and score once: the first time is slower."""
        self._reranker = Reranker(config)
        self._reranker.rank("warm", ["up"])

    def closed(self, bodies: Sequence[Body], *, clients: int, seconds: float) -> Load:
        """Requests one by one for one client; for more all in one go, where none has a time of its own."""
        load, started = Load(), perf_counter()
        for turn in count():
            asked = [bodies[turn % len(bodies)]] if clients == 1 else bodies
            since = perf_counter()
            self._reranker.rank_many([body["query"] for body in asked], [body["documents"] for body in asked])
            load.pairs += sum(len(body["documents"]) for body in asked)
            if clients == 1:
                load.add(200, perf_counter() - since, 0)
            if perf_counter() > started + seconds:
                break
        load.took_s = perf_counter() - started
        return load


def serve(
    url: Annotated[str | None, typer.Option(help="A server that runs; one is started if not given.")] = None,
    key: Annotated[str | None, typer.Option(envvar="RERANK_KEY", help="A key of that server.")] = None,
    model: Annotated[str, typer.Option(help="A folder, a Hub id, or the bundled model; what --url serves.")] = BUNDLED,
    device: Device = "auto",
    lengths: MadeUp = Lengths.NQ,
    documents: Annotated[int, typer.Option(min=1, max=1_000, help="Documents of a request.")] = 32,
    concurrency: Annotated[int, typer.Option(min=2, help="Clients at once, beside runs with one alone.")] = 16,
    seconds: Annotated[float, typer.Option(min=0.1, help="Length of each run.")] = 10.0,
    rounds: Annotated[int, typer.Option(min=1, help="Turns that each server takes.")] = 2,
    rival: Annotated[bool, typer.Option(help="Measure FastAPI over CrossEncoder.predict in turns with it.")] = True,
    infinity: Annotated[
        Path | None, typer.Option(help="Python of an environment with infinity_emb[torch,server], to measure it too.")
    ] = None,
    output: Output = None,
) -> None:
    """Ask a server in turns with its rivals: one client, many, a mix of long and short, and ten times too much."""
    with exit_codes(), ended_by_sigterm(), ExitStack() as running:
        config = parse_config(ScorerConfig, {"model": model, "device": device}, source="flags")
        bare = Bare(config)
        urls = {_OURS: url or running.enter_context(our_server(config))}
        if rival:
            urls[_RIVAL] = running.enter_context(rival_server(config))
        if infinity is not None:
            urls[_INFINITY] = running.enter_context(infinity_server(config, infinity))
        measured = measure(urls, bare, lengths, documents, [1, concurrency], seconds=seconds, rounds=rounds, key=key)
        rows = asyncio.run(measured)
        Console().print(table_of(rows))
        save(rows, output)


async def measure(
    urls: dict[str, str],
    bare: Bare,
    lengths: Lengths,
    documents: int,
    concurrencies: Sequence[int],
    *,
    seconds: float,
    rounds: int,
    key: str | None = None,
) -> list[Row]:
    """The results of all servers: in turns where rates are compared, the overload last because it leaves a queue."""
    rows = []
    bodies = bodies_of(lengths, documents, BODIES)
    keys = {_OURS: key}
    for clients in concurrencies:
        loads = {name: Load() for name in (_BARE, *urls)}
        for turn in range(rounds):
            for name in loads:
                if name == _BARE:
                    load = bare.closed(bodies, clients=clients, seconds=seconds)
                else:
                    async with connected(urls[name], key=keys.get(name)) as client:
                        await client.ask(bodies[0], Load())
                        load = await client.closed(bodies, clients=clients, seconds=seconds)
                say(f"round {turn + 1} of {rounds}, {name}: {load.pairs / load.took_s:,.0f} pairs/s, {clients} clients")
                loads[name] = loads[name].joined(load)
        rows += [row_of(f"{clients} client{'s' * (clients > 1)}", name, load) for name, load in loads.items()]
    most = {name: max(row["pairs_per_second"] for row in rows if row["server"] == name) for name in urls}
    for name, url in urls.items():
        async with connected(url, key=keys.get(name)) as client:
            rows += await mix(client, name, lengths, seconds=seconds)
    for name, url in urls.items():
        per_second = _TIMES_TOO_MUCH * most[name] / documents
        async with connected(url, key=keys.get(name)) as client:
            load = await client.open(bodies, per_second=per_second, seconds=seconds)
        rows.append(row_of(f"{_TIMES_TOO_MUCH}x load", name, load))
    return rows


async def mix(client: Client, name: str, lengths: Lengths, *, seconds: float) -> list[Row]:
    """A short request every 100 ms, alone and then beside a client with long requests back to back."""
    short = bodies_of(lengths, _SHORT, BODIES)
    alone = await client.open(short, per_second=_SHORT_PER_SECOND, seconds=seconds)
    long, beside = await asyncio.gather(
        client.closed(bodies_of(lengths, _LONG, 1), clients=1, seconds=seconds),
        client.open(short, per_second=_SHORT_PER_SECOND, seconds=seconds),
    )
    loads = {f"{_SHORT} alone": alone, f"mix: {_LONG:,}": long, f"mix: {_SHORT}": beside}
    return [row_of(load, name, seen) for load, seen in loads.items()]


def bodies_of(lengths: Lengths, documents: int, requests: int) -> list[Body]:
    """Requests of so many made-up documents each."""
    table = made_up(lengths, documents * requests)
    queries = cycle(table.column("query").to_pylist())
    texts = iter([place["text"] for row in table.column(CANDIDATES).to_pylist() for place in row])
    return [{"query": next(queries), "documents": list(islice(texts, documents))} for _ in range(requests)]


def row_of(load: str, server: str, seen: Load) -> Row:
    """What a load came to: rates, latencies of what was ranked and of what was refused, and shares by status."""
    statuses = seen.statuses()
    return {
        "load": load,
        "server": server,
        "pairs_per_second": round(seen.pairs / seen.took_s, 1),
        **seen.percentiles(),
        "refused_p50_ms": seen.percentiles(429)["p50_ms"],
        "requests": statuses.total(),
        "shares": {str(status): round(number / statuses.total(), 4) for status, number in sorted(statuses.items())},
    }


def table_of(rows: list[Row]) -> Table:
    """The results for a person to read."""
    table = Table("load", "server", box=None, pad_edge=False)
    for column in table.columns:
        column.no_wrap = True
    names = ("pairs/s", "p50 ms", "p95 ms", "p99 ms", "200", "429", "429 after ms", "other")
    for name in names:
        table.add_column(name, justify="right")
    for row in rows:
        shares = row["shares"]
        times = (row["p50_ms"], row["p95_ms"], row["p99_ms"])
        ranked, refused = shares.get("200", 0.0), shares.get("429", 0.0)
        table.add_row(
            row["load"],
            row["server"],
            f"{row['pairs_per_second']:,.0f}",
            *("" if value is None else f"{value:,.0f}" for value in times),
            *(f"{share:.0%}" if shares else "" for share in (ranked, refused)),
            "" if row["refused_p50_ms"] is None else f"{row['refused_p50_ms']:,.0f}",
            f"{1 - ranked - refused:.0%}" if shares else "",
        )
    return table
