"""Emulators of Google Cloud Storage and of Azure Blob Storage on this machine, each with an empty bucket `data`.

The first is a package of the extra `dev`. The second, Azurite, is a program of Node.js: `npm install --global azurite`.
"""

import base64
import hashlib
import hmac
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import pytest
from pyarrow import fs

from rerank.paths import Location, locate
from tests.processes import started

# What every Azurite has.
_ACCOUNT = "devstoreaccount1"
_ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_TO_START_S = 20


@dataclass(frozen=True)
class ObjectStore:
    """An emulator that runs, with an empty bucket `data`."""

    before: str  # a path in a URI
    after: str
    filesystem: fs.FileSystem

    def uri(self, path: str) -> str:
        return f"{self.before}{path}{self.after}"

    def place(self, path: str) -> Location:
        return Location(self.uri(path), self.filesystem, f"data/{path}")


@contextmanager
def google_store() -> Iterator[ObjectStore]:
    """Run an emulator of Google Cloud Storage."""
    pytest.importorskip("gcp_storage_emulator")
    port = _free_port()
    command = [sys.executable, "-m", "gcp_storage_emulator", "start", "--in-memory", "--default-bucket", "data"]
    with _listening([*command, "--host", "127.0.0.1", "--port", str(port)], port):
        options = f"?scheme=http&endpoint_override=127.0.0.1:{port}&retry_limit_seconds=10"
        yield ObjectStore("gs://anonymous@data/", options, locate(f"gs://anonymous@data{options}").filesystem)


@contextmanager
def azure_store(folder: Path) -> Iterator[ObjectStore]:
    """Run an emulator of Azure Blob Storage, which keeps its files in `folder`.

    Its URIs have a signature. Its filesystem has the account's key, because Azurite deletes no folder for a signature.
    """
    program = shutil.which("azurite-blob") or pytest.skip("needs Azurite: npm install --global azurite")
    port = _free_port()
    options = ["--silent", "--skipApiVersionCheck", "--disableTelemetry", "--location", str(folder)]
    with _listening([program, *options, "--blobPort", str(port)], port):
        authority = f"127.0.0.1:{port}"
        filesystem = fs.AzureFileSystem(
            _ACCOUNT,
            account_key=_ACCOUNT_KEY,
            blob_storage_authority=authority,
            dfs_storage_authority=authority,
            blob_storage_scheme="http",
            dfs_storage_scheme="http",
        )
        filesystem.create_dir("data")
        signed = f"?enable_tls=false&{_shared_access_signature()}"
        yield ObjectStore(f"abfs://{_ACCOUNT}@{authority}/data/", signed, filesystem)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextmanager
def _listening(command: list[str], port: int) -> Iterator[None]:
    """Run a server until the end of the block, which begins when the server takes connections."""
    with started(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + _TO_START_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.05)
        yield


def _shared_access_signature() -> str:
    """Return a signature for all of the account, see "Create an account SAS" in Azure's documentation."""
    version = "2022-11-02"
    fields = {"sp": "rwdlac", "ss": "b", "srt": "sco", "st": "", "se": "2100-01-01T00:00:00Z", "sip": "", "spr": ""}
    lines = [_ACCOUNT, *fields.values(), version, ""]
    text = "".join(f"{line}\n" for line in lines).encode()
    signature = base64.b64encode(hmac.digest(base64.b64decode(_ACCOUNT_KEY), text, hashlib.sha256)).decode()
    return urlencode({"sv": version, **{name: value for name, value in fields.items() if value}, "sig": signature})
