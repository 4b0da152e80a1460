"""The usage of the engine as a column of a ranked table: numbers to be added up over rows and blocks."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rerank.ranking.candidates import CandidateSets


def usage_column(
    sets: CandidateSets, *, by_pair: Mapping[str, npt.NDArray[np.bool_]], totals: Mapping[str, float]
) -> pa.Array:
    """Return a struct per query.

    Masks over the pairs, `by_pair`, are counted for each query. `totals` are numbers of the whole table: they stand in
    its first row, and the other rows hold 0.
    """
    columns = {name: np.bincount(sets.query_of[mask], minlength=len(sets)) for name, mask in by_pair.items()}
    for name, total in totals.items():
        columns[name] = np.zeros(len(sets), dtype=np.asarray(total).dtype)
        columns[name][:1] = total
    return pa.StructArray.from_arrays([pa.array(values) for values in columns.values()], names=list(columns))
