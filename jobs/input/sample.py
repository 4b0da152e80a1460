"""Sample candidate sets of an input, to estimate the whole from. Knows no Ray."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.input.join import KEY, RunJoin
from jobs.input.nest import candidate_sets, shuffled_schemas, with_documents
from jobs.input.source import Source
from jobs.input.splits import plan_splits, read_split

_PLACES = 8  # positions in the input to sample at
_QUERIES = 10  # per position, from candidate sets
_ROWS = 100  # per position, from rows that are not grouped by query


def sample(source: Source | RunJoin, *, target_pairs: int) -> pa.Table:
    """Return candidate sets from positions spread over the input.

    From rows that are not grouped by query it returns parts of sets, with their texts: the whole corpus of a run is
    read once for them. `target_pairs` is the size of a split.
    """
    if isinstance(source, RunJoin):
        return _joined_sample(source)
    splits = plan_splits(source, target_pairs=target_pairs)
    return pa.concat_tables(
        [table for at in spaced(len(splits)) for table in _head(read_split(source, splits[at]), _QUERIES)]
    )


def _joined_sample(join: RunJoin) -> pa.Table:
    schemas = shuffled_schemas(join)
    chosen = spaced(len(join.rows.row_groups))
    rows = pa.concat_tables([table for at in chosen for table in _head(join.read_rows(at), _ROWS)])
    if join.corpus is not None and join.queries is not None:
        rows = _beside(rows, _all(join.read_documents, join.corpus))
        rows = pa.concat_tables(list(with_documents(rows, schema=schemas[0])))
        rows = _beside(rows, _all(join.read_queries, join.queries))
    return pa.concat_tables(list(candidate_sets(rows, schema=schemas[-1], owner=join.owner)))


def spaced(count: int) -> list[int]:
    """Return up to `_PLACES` evenly spaced positions out of `count`."""
    return [int(at) for at in np.unique(np.linspace(0, count - 1, _PLACES).astype(int))]


def _head(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """Yield the first rows, reading no further than needed."""
    for table in tables:
        yield table.slice(0, rows)
        rows -= table.num_rows
        if rows <= 0:
            return


def _all(read: Callable[[int], Iterator[pa.Table]], source: Source) -> Iterator[pa.Table]:
    for number in range(len(source.row_groups)):
        yield from read(number)


def _beside(rows: pa.Table, texts: Iterable[pa.Table]) -> pa.Table:
    """Return the rows together with the texts that they refer to."""
    keys = pc.unique(rows.column(KEY))
    matching = [table.filter(pc.is_in(table.column(KEY), value_set=keys)) for table in texts]
    return pa.concat_tables([rows, *matching], promote_options="default")
