"""Instructions: texts that tell a model what makes a document relevant, one for each query or none.

A chat template may have a place for one; other models read it in front of the query, as if it were part of the query.
"""

from collections.abc import Sequence
from enum import StrEnum

import pyarrow as pa
import pyarrow.compute as pc

from rerank.ranking.candidates import text_column
from rerank.ranking.reject import INSTRUCTION, invalid_utf8

Instructions = Sequence[str] | None
"""The instruction of each query, empty for none; None: no query has one."""


class InstructionPlace(StrEnum):
    """Where a model reads an instruction."""

    TEMPLATE = "in its place in the template"
    QUERY = "in front of the query"


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


def in_front(queries: Sequence[str], instructions: Instructions) -> list[str]:
    """Return the queries, each with its instruction in front of it, if it has one."""
    if instructions is None:
        return list(queries)
    return [with_instruction(query, instruction) for query, instruction in zip(queries, instructions, strict=True)]


def with_instruction(query: str, instruction: str) -> str:
    """Return the query with the instruction in front of it; a space stands between them unless one is there."""
    if not instruction or instruction[-1].isspace():
        return instruction + query
    return f"{instruction} {query}"
