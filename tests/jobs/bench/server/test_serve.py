"""`rerank bench serve`: what its clients count, and a whole run over two servers of a tiny model."""

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from io import StringIO
from pathlib import Path
from subprocess import PIPE, Popen

import pytest
from rich.console import Console
from rich.table import Table
from typer.testing import CliRunner

from jobs.bench.command import app
from jobs.bench.memory import actors_below, proportional_bytes
from jobs.bench.options import Lengths, report_table
from jobs.bench.server.load import NO_ANSWER, Load, connected
from jobs.bench.server.process import free_port
from jobs.bench.server.rivals_server import create
from jobs.bench.server.serve import bodies_of
from jobs.bench.server.soak import table_of, watch
from rerank.actor import RerankActor
from rerank.config import ScorerConfig
from rerank.errors import OverloadedError, UnavailableError
from serve.http.api import create_api
from serve.http.endpoint import Server
from serve.models import Models
from tests.serve.standins import LengthScorer, in_a_thread

BODIES = [{"query": "q", "documents": ["a", "bb"]}, {"query": "q", "documents": ["ccc"]}]


@pytest.fixture
def scorer() -> LengthScorer:
    return LengthScorer()


@pytest.fixture
def url(scorer: LengthScorer) -> Iterator[str]:
    with in_a_thread(create_api(Server(Models({"length": scorer})))) as address:
        yield address


def test_requests_have_as_many_documents_as_asked_for() -> None:
    bodies = bodies_of(Lengths.SHORT, 7, 5)
    assert [len(body["documents"]) for body in bodies] == [7] * 5
    assert len({text for body in bodies for text in body["documents"]}) > 30


def test_percentiles_are_of_one_status_and_loads_add_up() -> None:
    load = Load()
    for milliseconds in range(1, 101):
        load.add(200, milliseconds / 1000, pairs=3)
    load.add(429, 0.5, pairs=3)
    both = Load.joined([load, load])
    assert (both.pairs, both.statuses()) == (600, {200: 200, 429: 2})
    assert both.percentiles() == {"p50_ms": 50.5, "p95_ms": 95.0, "p99_ms": 99.0}
    assert both.percentiles(429)["p50_ms"] == 500
    assert Load().percentiles()["p50_ms"] is None


def test_closed_clients_ask_one_after_the_other_and_open_ones_when_it_is_time(url: str, scorer: LengthScorer) -> None:
    scorer.seconds = 0.05

    async def loads() -> tuple[Load, Load]:
        async with connected(url) as client:
            closed = await client.closed(BODIES, clients=2, seconds=0.3)
            return closed, await client.open(BODIES, per_second=100, seconds=0.3)

    closed, opened = asyncio.run(loads())
    assert 2 <= closed.statuses()[200] <= 14
    assert (opened.statuses(), opened.pairs) == ({200: 30}, 45)


def test_refusals_and_no_answer_are_counted_and_rank_nothing(url: str, scorer: LengthScorer) -> None:
    scorer.failure = OverloadedError("full")

    async def loads() -> tuple[Load, Load]:
        async with connected(url) as client, connected(f"http://127.0.0.1:{free_port()}") as nobody:
            return (
                await client.open(BODIES, per_second=50, seconds=0.1),
                await nobody.open(BODIES, per_second=20, seconds=0.1),
            )

    refused, lost = asyncio.run(loads())
    assert (refused.statuses(), refused.pairs) == ({429: 5}, 0)
    assert lost.statuses() == {NO_ANSWER: 2}


def test_a_soak_watches_the_processes_while_it_asks(url: str, start_process: Callable[..., Popen[bytes]]) -> None:
    code = "import time; print('ready', flush=True); time.sleep(60)"
    child = start_process([sys.executable, "-c", code], stdout=PIPE)
    assert child.stdout is not None and child.stdout.readline()  # before, it may hold less than a MiB
    watched = {os.getpid(): "server", child.pid: "child"}
    rows = asyncio.run(watch(url, watched, BODIES, clients=3, requests=25))
    child.kill()
    child.wait()
    assert [row["requests"] for row in rows] == [0, 2, 5, 7, 10, 12, 15, 17, 20, 22, 25]
    assert sum(row["statuses"].get("200", 0) for row in rows) == 25
    assert all(row["bytes"][str(os.getpid())] > 50 * 2**20 > row["bytes"][str(child.pid)] > 2**20 for row in rows)
    with StringIO() as out:
        Console(file=out, width=100).print(table_of(rows, watched))
        assert "child MiB" in out.getvalue() and "growth" in out.getvalue()
    with pytest.raises(UnavailableError, match=f"process {child.pid} ended while its memory was measured"):
        proportional_bytes(child.pid)


def test_actors_are_told_by_their_titles_and_ancestors(start_process: Callable[..., Popen[bytes]]) -> None:
    show = "import subprocess, sys; subprocess.run(['bash', '-c', 'exec -a \"$0\" sleep 60', sys.argv[1]])"
    titles = ("ray::ServeReplica:a:b", "ray::IDLE", "other")
    replica, idle, _other = (start_process([sys.executable, "-c", show, title]) for title in titles)
    found = {}
    for _ in range(100):
        found = actors_below(replica.pid)
        if found:
            break
        time.sleep(0.05)
    assert list(found.values()) == ["ServeReplica:a:b"]
    assert found.items() <= actors_below(os.getpid()).items()
    assert actors_below(idle.pid) == actors_below(next(iter(found))) == {}


def test_a_run_measures_both_servers_with_all_loads(folder_of, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both servers are threads of this process here; `test_process.py` has their commands."""

    def ours(config: ScorerConfig) -> AbstractContextManager[str]:
        return in_a_thread(create_api(Server(Models({"bert": RerankActor(config)}))))

    monkeypatch.setattr("jobs.bench.server.serve.our_server", ours)
    monkeypatch.setattr("jobs.bench.server.serve.rival_server", lambda config: in_a_thread(create(config.location)))
    options = ["--lengths", "short", "--documents", "5", "--concurrency", "3", "--seconds", "0.3", "--rounds", "2"]
    arguments = ["serve", "--model", str(folder_of("bert")), "--device", "cpu", *options]
    done = CliRunner().invoke(app, [*arguments, "--output", str(tmp_path / "out.json")])
    assert done.exit_code == 0, done.output
    rows = json.loads((tmp_path / "out.json").read_text())
    compared = ["1 client", "3 clients"]
    loads = [*compared, "4 alone", "mix: 1,000", "mix: 4", "10x load"]
    assert {(row["load"], row["server"]) for row in rows} == {
        *((load, "no server") for load in compared),
        *((load, server) for load in loads for server in ("rerank", "predict")),
    }
    for row in rows:
        assert row["pairs_per_second"] > 0
        assert (row["added_p50_ms"] is None) == (row["load"] != "1 client")
        assert (row["of_bare"] is None) == (row["load"] != "3 clients")
        if (row["load"], row["server"]) == ("3 clients", "no server"):  # all in one go: no request has a time
            assert row["requests"] == 0 and row["p50_ms"] is None
            continue
        assert row["requests"] > 0 and sum(row["shares"].values()) == pytest.approx(1)
        assert row["p50_ms"] <= row["p99_ms"] or row["load"] == "10x load"
    assert all(load in done.output for load in loads)


def test_a_table_is_printed_as_json_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = [{"load": "1 client", "pairs_per_second": 2.5}]
    report_table(results, Table("load"), tmp_path / "out.json", as_json=True)
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "out.json").read_text()) == results
    report_table(results, Table("load"), None, as_json=False)
    assert "load" in capsys.readouterr().out
