"""Real SDKs against the server, those that are installed here; `clients/run.py` runs all, each in its environment."""

import subprocess
import sys
from pathlib import Path

import pytest

CLIENTS = Path(__file__).parent / "clients"
sys.path.insert(0, str(CLIENTS))

from sdk_server import running  # noqa: E402


@pytest.fixture(scope="module")
def url():
    with running() as address:
        yield address


@pytest.mark.parametrize("name", ["requests", "cohere", "mixedbread"])
def test_client(url, name):
    pytest.importorskip(name)
    command = [sys.executable, str(CLIENTS / f"with_{name}.py"), url]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
