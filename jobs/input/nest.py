"""Rows that lie together at last: texts looked up by id, and candidate sets made of rows. Whole tables, no Ray.

The tables are those that `jobs.input.join` reads, all rows of one key in one table.
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


def shuffled_schemas(gathering: RunJoin) -> list[pa.Schema]:
    """The columns of each shuffle: those by doc_id, where texts are looked up, and those by query_id."""
    rows, *texts = gathering.schemas
    if not texts:
        return [rows]
    by_doc_id = pa.unify_schemas([rows, texts[0]])
    found = with_documents(by_doc_id.empty_table(), schema=by_doc_id)
    return [by_doc_id, pa.unify_schemas([found.schema, texts[1]])]


def with_documents(table: pa.Table, *, schema: pa.Schema) -> pa.Table:
    """Rows of a run with what the corpus says of their doc_id, keyed by query_id from here on.

    `schema` is that of the shuffle: a part of it that holds rows of one table alone has that one's columns only.
    """
    rows, texts = _parted(table, schema)
    found = _first_of(rows.column(KEY), texts.column(KEY))
    columns = {f"{ROW}doc_id": rows.column(KEY)}
    columns |= {name: rows.column(name) for name in rows.column_names if name.startswith(ROW)}
    columns |= {f"{ROW}{name}": values.take(found) for name, values in _columns(texts, DOCUMENT).items()}
    columns |= {f"{ROW}{REFUSED}": pa.array(_missing(rows.column(KEY), found, Reason.DOCUMENT_MISSING))}
    key = wide_id(columns.pop(f"{ROW}query_id"))
    return pa.table({KEY: key, PLACE: rows.column(PLACE), IS_TEXT: rows.column(IS_TEXT)} | columns)


def candidate_sets(table: pa.Table, *, schema: pa.Schema, ids: dict[str, pa.DataType]) -> pa.Table:
    """Rows as candidate sets, in the order of their first rows.

    Candidates are ordered by their first-stage score, where they have one, then by their place in the input. `ids` are
    the types that query_id and doc_id had there.
    """
    rows, texts = _parted(table, schema)
    rows, offsets = _clustered(rows)
    heads = pa.array(offsets[:-1])
    candidates = pa.table(_columns(rows, ROW))
    query_id = rows.column(KEY).take(heads)
    if f"{QUERY}query" in schema.names:
        found = _first_of(query_id, texts.column(KEY))
        asked = {name: values.take(found) for name, values in _columns(texts, QUERY).items()}
        asked[REFUSED] = pa.array(_missing(query_id, found, Reason.QUERY_MISSING))
    else:
        asked = {"query": candidates.column("query").take(heads)}
        candidates = keep_columns(candidates, without=["query", REFUSED]).append_column(
            REFUSED, pa.array(differing(candidates, offsets))
        )
    doc_id = own_id(candidates.column("doc_id"), ids["doc_id"])
    candidates = candidates.set_column(candidates.column_names.index("doc_id"), "doc_id", doc_id)
    queries = pa.table({"query_id": own_id(query_id, ids["query_id"])} | asked)
    return queries.append_column(CANDIDATES, list_column(candidates, offsets))


def _parted(table: pa.Table, schema: pa.Schema) -> tuple[pa.Table, pa.Table]:
    """The rows, and the texts beside them, both in input order."""
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
    """The columns that begin with the prefix, without it."""
    return {name.removeprefix(prefix): table.column(name) for name in table.column_names if name.startswith(prefix)}


def _clustered(rows: pa.Table) -> tuple[pa.Table, Offsets]:
    """The rows query by query, best first-stage score first, and where each query begins."""
    codes = pc.dictionary_encode(combined(rows.column(KEY)), null_encoding="encode").indices.to_numpy()
    order = [codes]
    if f"{ROW}{SOURCE_SCORE}" in rows.column_names:
        scores = rows.column(f"{ROW}{SOURCE_SCORE}").cast(pa.float64()).fill_null(np.nan).to_numpy()
        order = [np.where(np.isnan(scores), np.inf, -scores), codes]
    taken = np.lexsort(order)  # stable: places decide where scores are equal
    offsets = np.searchsorted(codes[taken], np.arange(codes.max(initial=-1) + 2))
    return rows.take(pa.array(taken)), offsets.astype(np.int64)


def _first_of(wanted: pa.ChunkedArray, keys: pa.ChunkedArray) -> pa.Array:
    """Where each wanted key first stands among `keys`, null where nowhere; a null key stands nowhere."""
    distinct = pc.unique(combined(keys).drop_null())
    codes = pc.index_in(combined(keys), value_set=distinct, skip_nulls=True)
    valid = np.flatnonzero(codes.is_valid().to_numpy(zero_copy_only=False))
    _, first = np.unique(codes.drop_null().to_numpy(), return_index=True)
    place = pa.array(valid[first])
    return place.take(pc.index_in(combined(wanted), value_set=distinct, skip_nulls=True))


def _missing(keys: pa.ChunkedArray, found: pa.Array, reason: Reason) -> Codes:
    """The reason where a key that is no null was not found."""
    gone: npt.NDArray[np.bool_] = np.asarray(found.is_null()) & np.asarray(keys.is_valid())
    return np.where(gone, reason, Reason.OK).astype(np.int8)
