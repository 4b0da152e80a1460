"""Give the columns of well-known collections our names: BEIR, MS MARCO, PyTerrier, Pyserini."""

from collections.abc import Mapping
from enum import StrEnum

import pyarrow as pa
import pyarrow.compute as pc

from rerank.ranking.candidates import CANDIDATES


class TableRole(StrEnum):
    """What a table is for: candidate sets or a run to rerank, the documents of a run, or its queries."""

    CANDIDATES = "candidates"
    RUN = "run"
    CORPUS = "corpus"
    QUERIES = "queries"

    @property
    def prefix(self) -> str:
        """The prefix of options for this table; none for IN."""
        return self.value if self in (TableRole.CORPUS, TableRole.QUERIES) else ""


_DOCUMENT = {"doc_id": ("pid", "docid", "docno"), "text": ("passage", "contents")}
_IN = {"query_id": ("qid",), **_DOCUMENT}
_ALSO_CALLED: dict[TableRole, dict[str, tuple[str, ...]]] = {
    TableRole.CANDIDATES: _IN,
    TableRole.RUN: _IN,
    TableRole.CORPUS: {**_DOCUMENT, "doc_id": ("_id", "pid", "docid", "docno", "id")},
    TableRole.QUERIES: {"query_id": ("_id", "qid", "id"), "query": ("text",)},
}
REQUIRED = {
    TableRole.CANDIDATES: ("query_id", "query", "doc_id", "text"),
    TableRole.RUN: ("query_id", "doc_id", "score"),
    TableRole.CORPUS: ("doc_id", "text"),
    TableRole.QUERIES: ("query_id", "query"),
}
_BEIR_CORPUS = {"_id", "title", "text"}


def with_our_names(table: pa.Table, role: TableRole, renames: Mapping[str, str]) -> pa.Table:
    """Return the table with our names for columns that are known under others, also those inside the candidates.

    A column that `renames` (our name → name in the file) speaks of keeps its name. In a corpus of BEIR the title and
    the text are joined, as BEIR does.
    """
    if role is TableRole.CORPUS and set(table.column_names) >= _BEIR_CORPUS and "text" not in renames:
        table = table.set_column(table.column_names.index("text"), "text", _title_and_text(table))
    named = table.rename_columns(our_names(table.column_names, role, renames))
    candidates = renames.get(CANDIDATES, CANDIDATES)
    lists = named.schema.field(candidates).type if candidates in named.column_names else None
    if lists is None or not (pa.types.is_list(lists) and pa.types.is_struct(lists.value_type)):
        return named
    inner = list(lists.value_type)
    names = our_names([field.name for field in inner], role, renames)
    fields = [field.with_name(name) for field, name in zip(inner, names, strict=True)]
    at = named.column_names.index(candidates)
    chunks = [chunk.view(pa.list_(pa.struct(fields))) for chunk in named.column(at).chunks]
    return named.set_column(at, candidates, pa.chunked_array(chunks, pa.list_(pa.struct(fields))))


def our_names(names: list[str], role: TableRole, renames: Mapping[str, str]) -> list[str]:
    """Return the names with ours for those that are known under others, unless our name is taken or renamed."""
    our_name = {}
    for ours, others in _ALSO_CALLED[role].items():
        other = next((name for name in others if name in names and name not in renames.values()), None)
        if other is not None and ours not in {*names, *renames}:
            our_name[other] = ours
    return [our_name.get(name, name) for name in names]


def _title_and_text(table: pa.Table) -> pa.ChunkedArray:
    title, text = (table.column(name).cast(pa.string()) for name in ("title", "text"))
    return pc.utf8_trim_whitespace(pc.binary_join_element_wise(pc.fill_null(title, ""), text, " "))
