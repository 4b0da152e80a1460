"""API keys. Only their hashes are stored; `python -m serve.keys FILE NAME` makes a key and adds its hash to FILE."""

import argparse
import codecs
import errno
import hashlib
import hmac
import logging
import os
import re
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rerank.errors import ConfigError
from serve.errors import UnauthorizedError

ENVIRONMENT = "RERANK_KEYS"
_LINE = re.compile(r"(?P<name>[\w.@-]+)\s+sha256:(?P<digest>[0-9a-f]{64})")
_EXPECTED = "a line must be 'NAME sha256:HEX', as python -m serve.keys writes it"
_LINES_LOGGED = 10

_log = logging.getLogger("rerank.serve")


@dataclass(frozen=True, slots=True)
class KeyLines:
    """The lines of a keys file: hashes by name, and the numbers of the lines that are not valid, from 1."""

    digests: Mapping[str, str] = field(default_factory=dict)
    bad_lines: tuple[int, ...] = ()


class ApiKeys:
    """Names and hashes of API keys. A file of them is read again when it changes: deleting a line revokes its key.

    What cannot be read does not count: while the file is away its keys are refused, and of a damaged file only the
    valid lines count.
    """

    def __init__(self, file: Path | None = None, *, fixed: Mapping[str, str] | None = None) -> None:
        """Take the keys in `file` and those in `fixed`, from name to key.

        Raises ConfigError if the file cannot be read, or if none of its lines is valid although it has some.
        """
        self._file = file
        self._fixed = {name: _digest(key) for name, key in (fixed or {}).items()}
        self._read_version: tuple[int, ...] | None = None  # of the file when it was read; None: it cannot be read
        self._lines = KeyLines()
        if file is not None:
            try:
                self._read_if_changed(file)
            except OSError as error:
                raise ConfigError(f"keys_file: cannot read {str(file)!r}: {error.strerror}") from error
            if self._lines.bad_lines and not self._lines.digests:
                raise ConfigError(f"{file}:{self._lines.bad_lines[0]}: {_EXPECTED}")

    def check(self, authorization: str | None) -> str:
        """Return the name of the key in an Authorization header. Raises UnauthorizedError."""
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise UnauthorizedError("an API key is required: send the header 'Authorization: Bearer KEY'")
        self._refresh()
        digest = _digest(key.strip())
        matching_name = None
        known_digests = {**self._lines.digests, **self._fixed}
        for name, known_digest in known_digests.items():  # no early exit: timing must reveal nothing
            if hmac.compare_digest(digest, known_digest):
                matching_name = name
        if matching_name is None:
            raise UnauthorizedError("the API key is unknown or was revoked")
        return matching_name

    @property
    def file_errors(self) -> int:
        """Return the number of lines of the file that are not valid; 1 if the file cannot be read."""
        is_unreadable = self._file is not None and self._read_version is None
        return 1 if is_unreadable else len(self._lines.bad_lines)

    def _refresh(self) -> None:
        """Read the file again if it changed. Keys that it does not hold any more, or that cannot be read, are gone."""
        if self._file is None:
            return
        try:
            self._read_if_changed(self._file)
        except OSError as error:
            if self._read_version is not None:  # once, not for every request
                _log.warning("keys_file: cannot read %r, its keys are refused: %s", str(self._file), error.strerror)
            self._read_version, self._lines = None, KeyLines()

    def _read_if_changed(self, file: Path) -> None:
        version = _version(file)
        if version == self._read_version:
            return
        self._lines, self._read_version = read_keys(file), version
        for number in self._lines.bad_lines[:_LINES_LOGGED]:
            _log.warning("keys_file: %s:%d is ignored: %s", file, number, _EXPECTED)
        if (more := len(self._lines.bad_lines) - _LINES_LOGGED) > 0:
            _log.warning("keys_file: %s: lines that are not valid and ignored besides these: %d", file, more)


def read_keys(file: Path) -> KeyLines:
    """Return the lines of a file of `NAME sha256:HEX` lines, where `#` starts a comment.

    Comments may be in any encoding. Raises OSError if the file cannot be read.
    """
    digests, bad_lines = {}, []
    for number, line in enumerate(file.read_bytes().removeprefix(codecs.BOM_UTF8).splitlines(), start=1):
        entry = line.partition(b"#")[0].strip()
        match = _LINE.fullmatch(entry.decode("utf-8", errors="replace"))
        if match:
            digests[match["name"]] = match["digest"]
        elif entry:
            bad_lines.append(number)
    return KeyLines(digests, tuple(bad_lines))


def _version(file: Path) -> tuple[int, ...]:
    """Return numbers that change whenever the file is written or replaced. Raises OSError."""
    status = file.stat()
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for its writer
        raise OSError(errno.EINVAL, "not a regular file")
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size


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
    lines = read_keys(options.file) if options.file.exists() else KeyLines()
    if lines.bad_lines:
        parser.error(f"{options.file}:{lines.bad_lines[0]}: {_EXPECTED}")
    if options.name in lines.digests:
        parser.error(f"{options.file} already has a key named {options.name!r}: delete its line or use another name")
    with options.file.open("a+b") as out:
        out.seek(0)
        is_cut_off = not (b"\n" + out.read()).endswith(b"\n")  # its last line has no end, and must not swallow this one
        out.write(("\n" * is_cut_off + f"{line}\n").encode())
    print(key)  # noqa: T201


if __name__ == "__main__":
    main()
