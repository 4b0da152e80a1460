"""Group pair rows into candidate sets: look texts up by id, then nest the rows of each query. Knows no Ray.

Works on tables that `jobs.input.join` reads, once a shuffle has put all rows of one key into the same table.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs.input.join import (
    DOCUMENT,
    IS_TEXT,
    KEY,
    KEY_HASH,
    PLACE,
    QUERY,
    ROW,
    RowOwner,
    RunJoin,
    key_hash,
    own_id,
    wide_id,
)
from jobs.input.source import Partitions
from rerank.arrays import Offsets, offsets_of
from rerank.ranking.candidates import CANDIDATES, combined, keep_columns, list_column
from rerank.ranking.rank import SOURCE_SCORE
from rerank.ranking.reject import INSTRUCTION, REFUSED, Codes, Reason, differing
from rerank.sizes import cut_by_bytes, row_bytes

_BYTES_PER_TABLE = 16 << 20


def shuffled_schemas(join: RunJoin) -> list[pa.Schema]:
    """Return the schema of each shuffle: by doc_id if documents are looked up, then by query_id."""
    rows, *texts = join.schemas
    if not texts:
        return [rows]
    by_doc_id = pa.unify_schemas([rows, texts[0]])
    (joined,) = with_documents(by_doc_id.empty_table(), schema=by_doc_id)
    return [by_doc_id, pa.unify_schemas([joined.schema, texts[1]])]


def with_documents(table: pa.Table, *, schema: pa.Schema) -> Iterator[pa.Table]:
    """Yield the rows of a run with the columns of their document, keyed by query_id instead of doc_id.

    `schema` is the shuffle's: a partition with rows of one table only lacks the columns of the other. Each table has a
    bounded size, however many rows share a document.
    """
    rows, documents = _split(table, schema)
    key = wide_id(rows.column(f"{ROW}query_id"))
    positions = pc.if_else(key.is_valid(), _first_positions(rows.column(KEY), documents.column(KEY)), None)
    positions = combined(positions)
    columns = {KEY: key, KEY_HASH: key_hash(key, of_null=0), PLACE: rows.column(PLACE), IS_TEXT: rows.column(IS_TEXT)}
    columns |= {f"{ROW}doc_id": rows.column(KEY)}
    others = {name: rows.column(name) for name in rows.column_names if name.startswith(ROW)}
    columns |= {name: values for name, values in others.items() if name != f"{ROW}query_id"}
    refused = pa.array(_missing(rows.column(KEY), positions, Reason.DOCUMENT_MISSING))
    rows, texts = pa.table(columns), pa.table(_columns(documents, DOCUMENT))
    sizes = row_bytes(rows) + np.append(row_bytes(texts), 0)[positions.fill_null(-1).to_numpy()]
    for start, stop in list(cut_by_bytes(sizes, _BYTES_PER_TABLE)) or [(0, 0)]:
        part, own_texts = rows.slice(start, stop - start), texts.take(positions.slice(start, stop - start))
        for name in texts.column_names:
            part = part.append_column(f"{ROW}{name}", own_texts.column(name))
        yield part.append_column(f"{ROW}{REFUSED}", refused.slice(start, stop - start))


def candidate_sets(table: pa.Table, *, schema: pa.Schema, owner: RowOwner) -> Iterator[pa.Table]:
    """Yield the rows as candidate sets, in the order of their first rows, in tables of bounded size.

    Candidates are ordered by first-stage score if they have one, then by position in the input. Rows of one query_id in
    two partitions are two sets.
    """
    table = with_schema(table, schema).combine_chunks()
    is_text = table.column(IS_TEXT).to_numpy()
    order, offsets = _clustered(table, np.flatnonzero(~is_text), owner.partitions)
    query_texts = _in_order(table, np.flatnonzero(is_text))
    sizes = offsets_of(row_bytes(table)[order])[offsets]
    for first, last in list(cut_by_bytes(np.diff(sizes), _BYTES_PER_TABLE)) or [(0, 0)]:
        rows = table.take(pa.array(order[offsets[first] : offsets[last]]))
        yield _nested(rows, offsets[first : last + 1] - offsets[first], query_texts, schema=schema, owner=owner)


def _nested(rows: pa.Table, offsets: Offsets, query_texts: pa.Table, *, schema: pa.Schema, owner: RowOwner) -> pa.Table:
    """Return clustered rows as candidate sets; those of query i are the rows offsets[i] to offsets[i + 1]."""
    heads = pa.array(offsets[:-1])
    candidates = pa.table(_columns(rows, ROW))
    query_id = rows.column(KEY).take(heads)
    if f"{QUERY}query" in schema.names:
        positions = _first_positions(query_id, query_texts.column(KEY))
        query_columns = {name: values.take(positions) for name, values in _columns(query_texts, QUERY).items()}
        query_columns[REFUSED] = pa.array(_missing(query_id, positions, Reason.QUERY_MISSING))
    else:
        names = [name for name in ("query", INSTRUCTION) if name in candidates.column_names]
        query_columns = {name: candidates.column(name).take(heads) for name in names}
        candidates = keep_columns(candidates, without=[*names, REFUSED]).append_column(
            REFUSED, pa.array(differing(candidates, offsets))
        )
    key_columns = {name: candidates.column(name).take(heads) for name in owner.key_names}
    candidates = keep_columns(candidates, without=owner.key_names)
    doc_id = own_id(candidates.column("doc_id"), owner.id_types["doc_id"])
    candidates = candidates.set_column(candidates.column_names.index("doc_id"), "doc_id", doc_id)
    queries = pa.table({"query_id": own_id(query_id, owner.id_types["query_id"])} | query_columns | key_columns)
    return queries.append_column(CANDIDATES, list_column(candidates, offsets))


def with_schema(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return the table with all columns of the schema, those that it lacks filled with nulls."""
    return pa.table(
        [
            table.column(field.name) if field.name in table.column_names else pa.nulls(table.num_rows, field.type)
            for field in schema
        ],
        schema=schema,
    )


def _split(table: pa.Table, schema: pa.Schema) -> tuple[pa.Table, pa.Table]:
    """Split a partition into rows and texts, both in input order."""
    table = with_schema(table, schema)
    is_text = table.column(IS_TEXT).to_numpy()
    return _in_order(table, np.flatnonzero(~is_text)), _in_order(table, np.flatnonzero(is_text))


def _in_order(table: pa.Table, chosen: npt.NDArray[np.intp]) -> pa.Table:
    """Return these rows of the table in the order that they have in the input."""
    return table.take(pa.array(chosen[np.argsort(table.column(PLACE).to_numpy()[chosen], kind="stable")]))


def _columns(table: pa.Table, prefix: str) -> dict[str, pa.ChunkedArray]:
    """Return the columns whose names begin with the prefix, without the prefix."""
    return {name.removeprefix(prefix): table.column(name) for name in table.column_names if name.startswith(prefix)}


def _clustered(
    table: pa.Table, chosen: npt.NDArray[np.intp], partitions: Partitions
) -> tuple[npt.NDArray[np.intp], Offsets]:
    """Return these rows of the table in the order of their queries, and where each query begins among them.

    Queries are in the order of their first rows, the rows of a query by descending first-stage score.
    """
    chosen = chosen[np.argsort(table.column(PLACE).to_numpy()[chosen], kind="stable")]
    keys = combined(table.column(KEY)).take(pa.array(chosen))
    of_rows = pa.array(partitions.of_rows(table.column(PLACE).to_numpy()[chosen]))
    encoded = pc.dictionary_encode(keys, null_encoding="encode").indices
    in_partitions = pc.add(pc.multiply(encoded.cast(pa.int64()), int(partitions.numbers.max()) + 1), of_rows)
    codes = pc.dictionary_encode(in_partitions).indices.to_numpy()
    order = [codes]
    if f"{ROW}{SOURCE_SCORE}" in table.column_names:
        scores = table.column(f"{ROW}{SOURCE_SCORE}").cast(pa.float64()).fill_null(np.nan).to_numpy()[chosen]
        order = [np.where(np.isnan(scores), np.inf, -scores), codes]
    clustered = np.lexsort(order)  # stable: equal scores keep the order of the input
    offsets = np.searchsorted(codes[clustered], np.arange(codes.max(initial=-1) + 2))
    return chosen[clustered], offsets.astype(np.int64)


def _first_positions(values: pa.ChunkedArray, keys: pa.ChunkedArray) -> pa.Array:
    """Return the first position of each value in `keys`; null if it is null or not in `keys`."""
    distinct = pc.unique(combined(keys).drop_null())
    codes = pc.index_in(combined(keys), value_set=distinct, skip_nulls=True)
    valid = np.flatnonzero(codes.is_valid().to_numpy(zero_copy_only=False))
    _, first = np.unique(codes.drop_null().to_numpy(), return_index=True)
    positions = pa.array(valid[first])
    return positions.take(pc.index_in(combined(values), value_set=distinct, skip_nulls=True))


def _missing(keys: pa.ChunkedArray, positions: pa.Array, reason: Reason) -> Codes:
    """Return `reason` for each key that is not null and has no position, else OK."""
    gone: npt.NDArray[np.bool_] = np.asarray(positions.is_null()) & np.asarray(keys.is_valid())
    return np.where(gone, reason, Reason.OK).astype(np.int8)
