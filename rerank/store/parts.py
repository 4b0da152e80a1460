"""Parts: the Parquet files of a store. They appear complete, are never changed, and have checksums."""

import time
import uuid
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from rerank.store.entries import Entries
from rerank.store.folder import Folder

_SCHEMA = pa.schema([("high", pa.uint64()), ("low", pa.uint64()), ("logit", pa.float32()), ("tokens", pa.int32())])
_FORMAT = b"1"


@dataclass(frozen=True, slots=True, order=True)
class Part:
    """A file of a store: `name` sorts by age, `size` is in bytes, `written` in seconds since 1970."""

    name: str
    size: int
    written: float = field(default=0.0, compare=False)


class Damage(NamedTuple):
    """A part that cannot be read, and why. Its pairs count as missing and are scored again."""

    path: str
    reason: str


def list_parts(folder: Folder) -> tuple[Part, ...]:
    """Return the parts of a folder, oldest first."""
    files = (entry for entry in folder.listing() if entry.type == fs.FileType.File)
    return tuple(
        sorted(
            Part(entry.base_name, entry.size, entry.mtime.timestamp() if entry.mtime else 0.0)
            for entry in files
            if entry.base_name.startswith("part-") and entry.base_name.endswith(".parquet")
        )
    )


def write_part(folder: Folder, entries: Entries, *, fingerprint: str) -> None:
    """Write sorted entries as a new part, which is durable when this returns. Raises OSError."""
    columns = [pa.array(np.ascontiguousarray(column)) for column in entries]
    table = pa.Table.from_arrays(columns, schema=_SCHEMA.with_metadata(_metadata(fingerprint)))
    content = pa.BufferOutputStream()
    # Hashes are random and logits nearly so: nothing here compresses, and plain pages are read at memory speed.
    pq.write_table(
        table, content, compression="none", use_dictionary=False, write_statistics=False, write_page_checksum=True
    )
    folder.write(f"part-{time.time_ns():016x}-{uuid.uuid4().hex[:8]}.parquet", content.getvalue(), durable=True)


def read_part(folder: Folder, part: Part, *, fingerprint: str) -> Entries | Damage:
    """Return the entries of a part, sorted by hash. Raises FileNotFoundError if a compaction has deleted the part."""
    path = folder.path_of(part.name)
    try:
        content = folder.read(part.name)
        table = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True).read()
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as problem:
        return Damage(path, " ".join(str(problem).split()))
    if not table.schema.remove_metadata().equals(_SCHEMA):
        return Damage(path, f"has columns {', '.join(table.schema.names)}, expected {', '.join(_SCHEMA.names)}")
    metadata = {name: (table.schema.metadata or {}).get(name, b"") for name in _metadata(fingerprint)}
    if metadata != _metadata(fingerprint):
        return Damage(path, f"was written for {metadata}, expected {_metadata(fingerprint)}")
    entries = Entries(*(column.to_numpy() for column in table.columns))
    if np.any(entries.high[1:] < entries.high[:-1]):
        return Damage(path, "its hashes are not sorted")
    return entries


def count_pairs(folder: Folder, part: Part) -> int | Damage:
    """Return the number of pairs by a part's footer; its pages are not read. Raises FileNotFoundError."""
    path = folder.path_of(part.name)
    try:
        with folder.open(part.name) as file:
            return int(pq.read_metadata(file).num_rows)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as problem:
        return Damage(path, " ".join(str(problem).split()))


def _metadata(fingerprint: str) -> dict[bytes, bytes]:
    return {b"rerank.format": _FORMAT, b"rerank.fingerprint": fingerprint.encode()}
