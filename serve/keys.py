"""Bearer keys: who may ask. Only hashes are kept; `python -m serve.keys FILE NAME` makes a key and adds its hash."""

import argparse
import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

from rerank.errors import ConfigError
from serve.errors import UnauthorizedError

ENVIRONMENT = "RERANK_KEYS"
_LINE = re.compile(r"(?P<name>[\w.@-]+)\s+sha256:(?P<digest>[0-9a-f]{64})")


class Keys:
    """Names and hashes of keys, read again whenever their file changes: deleting a line revokes its key."""

    def __init__(self, file: Path | None = None, *, fixed: Mapping[str, str] | None = None) -> None:
        """Keys of a file, and of a mapping from name to key. Raises ConfigError where a line cannot be read."""
        self._file = file
        self._fixed = {name: _digest(key) for name, key in (fixed or {}).items()}
        self._stamp: tuple[int, int] | None = None
        self._digests: dict[str, str] = {}
        self._refresh()

    def check(self, authorization: str | None) -> str:
        """The name of the key in an Authorization header. Raises UnauthorizedError."""
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise UnauthorizedError("an API key is required: send the header 'Authorization: Bearer KEY'")
        self._refresh()
        digest = _digest(key.strip())
        found = None
        for name, known in {**self._digests, **self._fixed}.items():  # all of them, so that time tells nothing
            if hmac.compare_digest(digest, known):
                found = name
        if found is None:
            raise UnauthorizedError("the API key is unknown or was revoked")
        return found

    def _refresh(self) -> None:
        if self._file is None:
            return
        try:
            status = self._file.stat()
            if self._stamp == (stamp := (status.st_mtime_ns, status.st_size)):
                return
            self._digests, self._stamp = read_keys(self._file), stamp
        except OSError as problem:  # a file that is gone revokes its keys
            if self._stamp is None:
                raise ConfigError(f"keys_file: cannot read {str(self._file)!r}: {problem.strerror}") from problem
            self._digests = {}
        except ConfigError:
            if self._stamp is None:
                raise


def read_keys(file: Path) -> dict[str, str]:
    """Names and hashes in a file of `NAME sha256:HEX` lines; `#` begins a comment. Raises ConfigError, OSError."""
    digests = {}
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        text = line.partition("#")[0].strip()
        match = _LINE.fullmatch(text)
        if match:
            digests[match["name"]] = match["digest"]
        elif text:
            raise ConfigError(f"{file}:{number}: a line must be 'NAME sha256:HEX', as python -m serve.keys writes it")
    return digests


def keys_from_environment() -> dict[str, str]:
    """Keys in RERANK_KEYS, as `name=key` separated by commas. Raises ConfigError."""
    keys = {}
    for part in filter(None, map(str.strip, os.environ.get(ENVIRONMENT, "").split(","))):
        name, found, key = part.partition("=")
        if not found or not name.strip() or not key.strip():
            raise ConfigError(f"{ENVIRONMENT} must be name=key,name=key, got a part without a name or without a key")
        keys[name.strip()] = key.strip()
    return keys


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()  # keys are 256 random bits, which need no slow hash


def main() -> None:
    """Make a key, add its hash to a file and show the key once."""
    parser = argparse.ArgumentParser(prog="python -m serve.keys", description=main.__doc__)
    parser.add_argument("file", type=Path, help="file of 'NAME sha256:HEX' lines, made if it is not there")
    parser.add_argument("name", help="whose key it is; delete its line to revoke it")
    options = parser.parse_args()
    key = f"rk-{secrets.token_urlsafe(32)}"
    if not _LINE.fullmatch(line := f"{options.name} sha256:{_digest(key)}"):
        parser.error(f"NAME may contain letters, digits and . @ _ -, got {options.name!r}")
    if options.file.exists() and options.name in read_keys(options.file):
        parser.error(f"{options.file} already has a key named {options.name!r}: delete its line or use another name")
    with options.file.open("a", encoding="utf-8") as out:
        out.write(f"{line}\n")
    print(key)  # noqa: T201


if __name__ == "__main__":
    main()
