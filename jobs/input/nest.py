"""Group pair rows into candidate sets: look texts up by id, then nest the rows of each query. Knows no Ray.

Works on tables that `jobs.input.join` reads, once a shuffle has put all rows of one key into the same table.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs.input.join import DOCUMENT, IS_TEXT, KEY, PLACE, QUERY, ROW, RunJoin, own_id, wide_id
from jobs.input.splits import differing
from rerank.arrays import Offsets
from rerank.ranking.candidates import CANDIDATES, combined, keep_columns, list_column
from rerank.ranking.rank import SOURCE_SCORE
from rerank.ranking.reject import REFUSED, Codes, Reason


def shuffled_schemas(join: RunJoin) -> list[pa.Schema]:
    """Return the schema of each shuffle: by doc_id if documents are looked up, then by query_id."""
    rows, *texts = join.schemas
    if not texts:
        return [rows]
    by_doc_id = pa.unify_schemas([rows, texts[0]])
    joined = with_documents(by_doc_id.empty_table(), schema=by_doc_id)
    return [by_doc_id, pa.unify_schemas([joined.schema, texts[1]])]


def with_documents(table: pa.Table, *, schema: pa.Schema) -> pa.Table:
    """Return the rows of a run with the columns of their document, keyed by query_id instead of doc_id.

    `schema` is the shuffle's: a partition with rows of one table only lacks the columns of the other.
    """
    rows, documents = _split(table, schema)
    positions = _first_positions(rows.column(KEY), documents.column(KEY))
    columns = {f"{ROW}doc_id": rows.column(KEY)}
    columns |= {name: rows.column(name) for name in rows.column_names if name.startswith(ROW)}
    columns |= {f"{ROW}{name}": values.take(positions) for name, values in _columns(documents, DOCUMENT).items()}
    columns |= {f"{ROW}{REFUSED}": pa.array(_missing(rows.column(KEY), positions, Reason.DOCUMENT_MISSING))}
    key = wide_id(columns.pop(f"{ROW}query_id"))
    return pa.table({KEY: key, PLACE: rows.column(PLACE), IS_TEXT: rows.column(IS_TEXT)} | columns)


def candidate_sets(table: pa.Table, *, schema: pa.Schema, ids: dict[str, pa.DataType]) -> pa.Table:
    """Return the rows as candidate sets, in the order of their first rows.

    Candidates are ordered by first-stage score if they have one, then by position in the input. `ids` are the types
    of query_id and doc_id in the input.
    """
    rows, query_texts = _split(table, schema)
    rows, offsets = _clustered(rows)
    heads = pa.array(offsets[:-1])
    candidates = pa.table(_columns(rows, ROW))
    query_id = rows.column(KEY).take(heads)
    if f"{QUERY}query" in schema.names:
        positions = _first_positions(query_id, query_texts.column(KEY))
        query_columns = {name: values.take(positions) for name, values in _columns(query_texts, QUERY).items()}
        query_columns[REFUSED] = pa.array(_missing(query_id, positions, Reason.QUERY_MISSING))
    else:
        query_columns = {"query": candidates.column("query").take(heads)}
        candidates = keep_columns(candidates, without=["query", REFUSED]).append_column(
            REFUSED, pa.array(differing(candidates, offsets))
        )
    doc_id = own_id(candidates.column("doc_id"), ids["doc_id"])
    candidates = candidates.set_column(candidates.column_names.index("doc_id"), "doc_id", doc_id)
    queries = pa.table({"query_id": own_id(query_id, ids["query_id"])} | query_columns)
    return queries.append_column(CANDIDATES, list_column(candidates, offsets))


def _split(table: pa.Table, schema: pa.Schema) -> tuple[pa.Table, pa.Table]:
    """Split a partition into rows and texts, both in input order."""
    table = pa.table(
        [
            table.column(field.name) if field.name in table.column_names else pa.nulls(table.num_rows, field.type)
            for field in schema
        ],
        schema=schema,
    )
    table = table.take(pa.array(np.argsort(table.column(PLACE).to_numpy(), kind="stable")))
    return table.filter(pc.invert(table.column(IS_TEXT))), table.filter(table.column(IS_TEXT))


def _columns(table: pa.Table, prefix: str) -> dict[str, pa.ChunkedArray]:
    """Return the columns whose names begin with the prefix, without the prefix."""
    return {name.removeprefix(prefix): table.column(name) for name in table.column_names if name.startswith(prefix)}


def _clustered(rows: pa.Table) -> tuple[pa.Table, Offsets]:
    """Return the rows sorted by query, then by descending first-stage score, and where each query begins."""
    codes = pc.dictionary_encode(combined(rows.column(KEY)), null_encoding="encode").indices.to_numpy()
    order = [codes]
    if f"{ROW}{SOURCE_SCORE}" in rows.column_names:
        scores = rows.column(f"{ROW}{SOURCE_SCORE}").cast(pa.float64()).fill_null(np.nan).to_numpy()
        order = [np.where(np.isnan(scores), np.inf, -scores), codes]
    sorted_rows = np.lexsort(order)  # stable: equal scores keep the order of the input
    offsets = np.searchsorted(codes[sorted_rows], np.arange(codes.max(initial=-1) + 2))
    return rows.take(pa.array(sorted_rows)), offsets.astype(np.int64)


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
