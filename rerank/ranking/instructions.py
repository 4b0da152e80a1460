"""The instructions of candidate sets: a column of the queries, and one for those that bring none."""

import pyarrow as pa
import pyarrow.compute as pc

from rerank.ranking.candidates import text_column
from rerank.ranking.reject import INSTRUCTION, invalid_utf8


def effective_instruction(*instructions: str | None) -> str:
    """Return the first of these instructions that is not None or blank; an empty text if all are."""
    return next((text for text in instructions if text and text.strip()), "")


def instructions_of(queries: pa.Table, default: str | None) -> pa.Array | None:
    """Return the instruction of each query as large_string, empty for none; None if no query can have one.

    A column `instruction` wins over `default` where it is neither null nor blank. Raises InputError if the column does
    not hold strings.
    """
    otherwise = effective_instruction(default)
    if INSTRUCTION not in queries.column_names:
        return pa.array([otherwise] * queries.num_rows, pa.large_string()) if otherwise else None
    own = text_column(queries, INSTRUCTION)
    own = pc.if_else(pa.array(invalid_utf8(own)), "", own)  # such a query is rejected
    is_own = pc.fill_null(pc.invert(pc.or_(pc.equal(pc.binary_length(own), 0), pc.utf8_is_space(own))), False)
    return pc.if_else(is_own, own, otherwise)
