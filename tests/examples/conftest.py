"""One server over the bundled model for all examples that ask one."""

from collections.abc import Callable, Iterator
from pathlib import Path
from runpy import run_path

import pytest

from rerank.actor import RerankActor
from rerank.config import ScorerConfig
from serve.http.api import create_api
from serve.http.endpoint import Server
from serve.models import Models
from tests.serve.standins import in_a_thread

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="session")
def rerank_url() -> Iterator[str]:
    """The address of a server with `docs-mini`."""
    actor = RerankActor(ScorerConfig(device="cpu", dtype="float32"))
    with in_a_thread(create_api(Server(Models({"docs-mini": actor})))) as url:
        yield url


@pytest.fixture
def run_example(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """Run an example as `python examples/NAME ARGUMENTS`; its printed lines."""

    def run(name: str, *arguments: str) -> list[str]:
        monkeypatch.setattr("sys.argv", [name, *arguments])
        run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out.splitlines()

    return run
