"""A score store: the scores of one model, and the description of that model."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from pyarrow import fs

from rerank.arrays import FloatArray, IntArray
from rerank.errors import InputError, OutputError
from rerank.store.entries import Entries, distinct
from rerank.store.folder import Folder, open_folder
from rerank.store.keys import Hashes
from rerank.store.parts import Part, list_parts, write_part

_PREFIX = "model="
_DESCRIPTION = "_model.json"


@dataclass(frozen=True)
class ScoreStore:
    """The scores of the model with this fingerprint, below `uri`. It can be pickled and sent to other processes."""

    uri: str
    fingerprint: str

    @cached_property
    def folder(self) -> Folder:
        """Return the folder of the parts. Raises InputError."""
        return open_folder(self.uri).join(f"{_PREFIX}{self.fingerprint}")

    def parts(self) -> tuple[Part, ...]:
        """Return the current parts, oldest first. A run takes this list once and looks up in these parts only.

        Raises InputError if they cannot be listed.
        """
        # A listing is not atomic: it may miss both the old parts of a compaction and the new one. Two listings in a row
        # never both miss them. A part that was deleted in the meantime is noticed when it is read.
        try:
            return tuple(sorted({*list_parts(self.folder), *list_parts(self.folder)}))
        except OSError as problem:
            raise InputError(f"{self.uri}: cannot list the score store: {problem}") from problem

    def append(self, pair_hashes: Hashes, logits: FloatArray, tokens: IntArray) -> None:
        """Write scored pairs as one part: hashes [pairs, 2], logits [pairs], tokens [pairs]. Raises OutputError.

        They are durable when this returns. Logits that are not finite are left out, and tried again by the next run.
        """
        entries = Entries.of(pair_hashes, logits, tokens)
        entries = distinct(entries.take(np.isfinite(entries.logit)))
        if entries.pairs:
            try:
                self.write(entries)
            except OSError as problem:
                raise OutputError(f"{self.uri}: cannot write to the score store: {problem}") from problem

    def write(self, entries: Entries) -> None:
        """Write sorted entries as one part, which is durable when this returns. Raises OSError."""
        write_part(self.folder, entries, fingerprint=self.fingerprint)

    def describe(self, model: Mapping[str, Any]) -> None:
        """Write a description of the model beside the parts, for `rerank store ls`. Raises OutputError."""
        try:
            self.folder.write(_DESCRIPTION, json.dumps(dict(model), indent=2).encode())
        except OSError as problem:
            raise OutputError(f"{self.uri}: cannot write to the score store: {problem}") from problem

    def description(self) -> dict[str, Any]:
        """Return what `describe` wrote; empty if there is nothing readable."""
        try:
            content = json.loads(self.folder.read(_DESCRIPTION).to_pybytes())
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}


def open_stores(uri: str) -> list[ScoreStore]:
    """Return the stores of all models below `uri`, by fingerprint. Raises InputError if there is none."""
    names = sorted(entry.base_name for entry in open_folder(uri).listing() if entry.type == fs.FileType.Directory)
    stores = [ScoreStore(uri, name.removeprefix(_PREFIX)) for name in names if name.startswith(_PREFIX)]
    if not stores:
        raise InputError(f"{uri}: no score store there (expected folders named {_PREFIX}FINGERPRINT)")
    return stores
