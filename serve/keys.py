"""API keys. Only their hashes are stored; `python -m serve.keys FILE NAME` makes a key and adds its hash to FILE."""

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


class ApiKeys:
    """Names and hashes of API keys. A file of them is read again when it changes: deleting a line revokes its key."""

    def __init__(self, file: Path | None = None, *, fixed: Mapping[str, str] | None = None) -> None:
        """Take the keys in `file` and those in `fixed`, from name to key. Raises ConfigError for an invalid file."""
        self._file = file
        self._fixed = {name: _digest(key) for name, key in (fixed or {}).items()}
        self._read_state: tuple[int, int] | None = None  # modification time and size of the file when it was read
        self._digests: dict[str, str] = {}
        self._refresh()

    def check(self, authorization: str | None) -> str:
        """Return the name of the key in an Authorization header. Raises UnauthorizedError."""
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise UnauthorizedError("an API key is required: send the header 'Authorization: Bearer KEY'")
        self._refresh()
        digest = _digest(key.strip())
        matching_name = None
        for name, known_digest in {**self._digests, **self._fixed}.items():  # no early exit: timing must reveal nothing
            if hmac.compare_digest(digest, known_digest):
                matching_name = name
        if matching_name is None:
            raise UnauthorizedError("the API key is unknown or was revoked")
        return matching_name

    def _refresh(self) -> None:
        if self._file is None:
            return
        try:
            status = self._file.stat()
            state = (status.st_mtime_ns, status.st_size)
            if state == self._read_state:
                return
            self._digests, self._read_state = read_keys(self._file), state
        except OSError as error:  # removing the file revokes its keys
            if self._read_state is None:
                raise ConfigError(f"keys_file: cannot read {str(self._file)!r}: {error.strerror}") from error
            self._digests = {}
        except ConfigError:
            if self._read_state is None:
                raise


def read_keys(file: Path) -> dict[str, str]:
    """Return names and hashes from a file of `NAME sha256:HEX` lines, where `#` starts a comment.

    Raises ConfigError for an invalid line, OSError if the file cannot be read.
    """
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
    """Return the keys in RERANK_KEYS by name: `name=key`, separated by commas. Raises ConfigError."""
    keys = {}
    for part in filter(None, map(str.strip, os.environ.get(ENVIRONMENT, "").split(","))):
        name, _, key = part.partition("=")
        if not name.strip() or not key.strip():
            raise ConfigError(f"{ENVIRONMENT} must be name=key,name=key, got a part without a name or without a key")
        keys[name.strip()] = key.strip()
    return keys


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()  # keys are 256 random bits, which need no slow hash


def main() -> None:
    """Make an API key, add its hash to a file, and print the key once."""
    parser = argparse.ArgumentParser(prog="python -m serve.keys", description=main.__doc__)
    parser.add_argument("file", type=Path, help="file of 'NAME sha256:HEX' lines; created if it does not exist")
    parser.add_argument("name", help="name of the key; to revoke the key, delete its line")
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
