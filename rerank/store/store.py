"""A score store: where the scores of one model lie, and what describes them."""

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
from rerank.store.keys import Keys
from rerank.store.parts import Part, list_parts, write_part

_PREFIX = "model="
_DESCRIPTION = "_model.json"


@dataclass(frozen=True)
class ScoreStore:
    """The scores of the model with this fingerprint, below `uri`. A value: it may travel to other processes."""

    uri: str
    fingerprint: str

    @cached_property
    def folder(self) -> Folder:
        """Where the parts lie. Raises InputError."""
        return open_folder(self.uri).join(f"{_PREFIX}{self.fingerprint}")

    def parts(self) -> tuple[Part, ...]:
        """The parts there are now, oldest first. A run takes this list once and looks up in these parts only.

        Raises InputError where they cannot be listed.
        """
        # A listing is no moment in time: it may miss both the old parts of a compaction and the new one. Two in a row
        # cannot both, and one that names a part which is gone is noticed when the part is read.
        try:
            return tuple(sorted({*list_parts(self.folder), *list_parts(self.folder)}))
        except OSError as problem:
            raise InputError(f"{self.uri}: cannot list the score store: {problem}") from problem

    def append(self, keys: Keys, logits: FloatArray, tokens: IntArray) -> None:
        """Write scored pairs as one part: keys [pairs, 2], logits [pairs], tokens [pairs]. Raises OutputError.

        When this returns they are durable. Logits that are not finite are left out, to be tried again next time.
        """
        entries = Entries.of(keys, logits, tokens)
        entries = distinct(entries.take(np.isfinite(entries.logit)))
        if entries.pairs:
            try:
                self.write(entries)
            except OSError as problem:
                raise OutputError(f"{self.uri}: cannot write to the score store: {problem}") from problem

    def write(self, entries: Entries) -> None:
        """Write sorted entries as one part. Raises OSError."""
        write_part(self.folder, entries, fingerprint=self.fingerprint)

    def describe(self, model: Mapping[str, Any]) -> None:
        """Say beside the parts whose scores they are, for `rerank store ls`. Raises OutputError."""
        try:
            self.folder.write(_DESCRIPTION, json.dumps(dict(model), indent=2).encode())
        except OSError as problem:
            raise OutputError(f"{self.uri}: cannot write to the score store: {problem}") from problem

    def description(self) -> dict[str, Any]:
        """What `describe` wrote; empty if nothing readable is there."""
        try:
            content = json.loads(self.folder.read(_DESCRIPTION).to_pybytes())
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}


def open_stores(uri: str) -> list[ScoreStore]:
    """The stores of all models below `uri`, by fingerprint. Raises InputError where there is none."""
    names = sorted(entry.base_name for entry in open_folder(uri).listing() if entry.type == fs.FileType.Directory)
    stores = [ScoreStore(uri, name.removeprefix(_PREFIX)) for name in names if name.startswith(_PREFIX)]
    if not stores:
        raise InputError(f"{uri}: no score store there (expected folders named {_PREFIX}FINGERPRINT)")
    return stores
