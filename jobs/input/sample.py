"""A few candidate sets of an input, from which the rest is estimated. Knows no Ray."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.input.join import KEY, RunJoin
from jobs.input.nest import candidate_sets, shuffled_schemas, with_documents
from jobs.input.source import Source
from jobs.input.splits import plan_splits, read_split

_PLACES = 8  # where in the input it is looked
_QUERIES = 10  # that are taken there of candidate sets
_ROWS = 100  # that are taken there of rows which lie apart


def sample(source: Source | RunJoin, *, target_pairs: int) -> pa.Table:
    """Some candidate sets from all over the input; of rows that lie apart parts of the sets, with their texts.

    `target_pairs` are those of a split. The texts of a run are looked up in its whole corpus, which is read once.
    """
    if isinstance(source, RunJoin):
        return _gathered(source)
    splits = plan_splits(source, target_pairs=target_pairs)
    return pa.concat_tables(
        [table for at in _places(len(splits)) for table in _head(read_split(source, splits[at]), _QUERIES)]
    )


def _gathered(gathering: RunJoin) -> pa.Table:
    schemas = shuffled_schemas(gathering)
    chosen = _places(len(gathering.rows.row_groups))
    rows = pa.concat_tables([table for at in chosen for table in _head(gathering.read_rows(at), _ROWS)])
    if gathering.corpus is not None and gathering.queries is not None:
        rows = with_documents(_beside(rows, _all(gathering.read_documents, gathering.corpus)), schema=schemas[0])
        rows = _beside(rows, _all(gathering.read_queries, gathering.queries))
    return candidate_sets(rows, schema=schemas[-1], ids=gathering.id_types)


def _places(count: int) -> list[int]:
    """Up to `_PLACES` of `count` places, evenly spread."""
    return [int(at) for at in np.unique(np.linspace(0, count - 1, _PLACES).astype(int))]


def _head(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The first rows, read no further than needed."""
    for table in tables:
        yield table.slice(0, rows)
        rows -= table.num_rows
        if rows <= 0:
            return


def _all(read: Callable[[int], Iterator[pa.Table]], source: Source) -> Iterator[pa.Table]:
    for number in range(len(source.row_groups)):
        yield from read(number)


def _beside(rows: pa.Table, texts: Iterable[pa.Table]) -> pa.Table:
    """The rows and those texts that they ask for."""
    wanted = pc.unique(rows.column(KEY))
    found = [table.filter(pc.is_in(table.column(KEY), value_set=wanted)) for table in texts]
    return pa.concat_tables([rows, *found], promote_options="default")
