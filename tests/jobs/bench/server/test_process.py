"""Servers in processes of their own: their commands, and when they count as started, failed and stopped."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from jobs.bench.server import process, rivals_server
from jobs.bench.server.process import free_port, our_server, rival_server
from rerank.config import ScorerConfig
from rerank.errors import UnavailableError
from serve.settings import parse_settings

CONFIG = ScorerConfig(model="org/name", device="cpu")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What would be started: the command, its port and environment, and the settings that it is given in a file."""
    noted: dict[str, Any] = {}

    @contextmanager
    def note(command: list[str], port: int, environment: dict[str, str]) -> Iterator[str]:
        noted.update(command=command, port=port, environment=environment)
        if command[-1].endswith(".yaml"):
            noted["settings"] = yaml.safe_load(Path(command[-1]).read_text())
        yield "address"

    monkeypatch.setattr(process, "_running", note)
    return noted


def test_ours_is_served_on_a_ray_of_its_own(started: dict[str, Any]) -> None:
    with our_server(CONFIG) as url:
        assert url == "address"
    assert started["command"][3] == "run" and started["environment"]["RAY_ADDRESS"] == "local"
    settings = ServeDeploySchema.model_validate(started["settings"])
    assert (settings.http_options.host, settings.http_options.port) == ("127.0.0.1", started["port"])
    (application,) = settings.applications
    assert application.import_path == "serve.app:build"
    assert parse_settings(application.args).models[0].scorer == CONFIG


def test_the_rival_is_told_its_model_and_port(started: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[object] = []
    with rival_server(CONFIG):
        module, *arguments = started["command"][2:]
    assert module == rivals_server.__name__
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    monkeypatch.setattr(rivals_server, "create", lambda location: location)
    monkeypatch.setattr(rivals_server.uvicorn, "run", lambda api, *, port, **_: served.extend([api, port]))
    rivals_server.main()
    assert served == ["org/name", started["port"]]


def test_a_server_that_ends_at_once_tells_why() -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such model')"]
    with pytest.raises(UnavailableError, match="did not start: no such model"), process._running(command, 1, {}):
        pass


def test_a_server_is_stopped_with_its_block() -> None:
    port = free_port()
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    with process._running(command, port, {}, ready="/") as url:
        assert urlopen(url).status == 200
    with pytest.raises(OSError, match="refused"):
        urlopen(url)
