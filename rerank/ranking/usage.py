"""The usage of the engine as a column of a ranked table: numbers to be added up over rows and blocks."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def usage_column(
    queries: int, *, by_query: Mapping[str, npt.NDArray[np.integer]], totals: Mapping[str, float]
) -> pa.Array:
    """Return a struct per query.

    `by_query` are numbers of each query. `totals` are numbers of the whole table: they stand in its first row, and the
    other rows hold 0.
    """
    columns = dict(by_query)
    for name, total in totals.items():
        columns[name] = np.zeros(queries, dtype=np.asarray(total).dtype)
        columns[name][:1] = total
    return pa.StructArray.from_arrays([pa.array(values) for values in columns.values()], names=list(columns))
