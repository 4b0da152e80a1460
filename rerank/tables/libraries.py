"""Operations on a data frame that ranking needs, for each library. Imports neither pandas nor Polars."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rerank.errors import InputError

Rows = npt.NDArray[np.integer]
Columns = Mapping[str, npt.NDArray[np.number]]


class Library(Protocol):
    """Operations on the data frames of one library. Each returns a new frame."""

    def names(self, frame: Any) -> list[str]:
        """Return the column names."""

    def to_arrow(self, frame: Any, names: Sequence[str]) -> pa.Table:
        """Return these columns. Raises ArrowInvalid or ArrowTypeError if a column mixes types."""

    def drop(self, frame: Any, names: Sequence[str]) -> Any:
        """Return the frame without these columns."""

    def rename(self, frame: Any, new_names: Mapping[str, str]) -> Any:
        """Return the frame with columns renamed, old name to new name."""

    def take(self, frame: Any, rows: Rows) -> Any:
        """Return these rows, in this order."""

    def append(self, frame: Any, columns: Columns) -> Any:
        """Return the frame with further columns at its end."""


def library_of(frame: Any) -> Library:
    """Return the library that a frame is of. Raises InputError if it is none of pandas, Polars and PyArrow."""
    for kind in type(frame).__mro__:
        library = _LIBRARIES.get(_name_of(kind))
        if library is not None:
            return library
    hint = "; call collect() first" if hasattr(frame, "collect") else ""
    raise InputError(
        f"frame must be a pandas or Polars DataFrame or a PyArrow Table, got {_name_of(type(frame))}{hint}"
    )


def _name_of(kind: type) -> str:
    return f"{kind.__module__.partition('.')[0]}.{kind.__name__}"


class _Pandas:
    def names(self, frame: Any) -> list[str]:
        return [str(name) for name in frame.columns]

    def to_arrow(self, frame: Any, names: Sequence[str]) -> pa.Table:
        return pa.Table.from_pandas(frame[list(names)], preserve_index=False).replace_schema_metadata()

    def drop(self, frame: Any, names: Sequence[str]) -> Any:
        return frame.drop(columns=list(names))

    def rename(self, frame: Any, new_names: Mapping[str, str]) -> Any:
        return frame.rename(columns=new_names)

    def take(self, frame: Any, rows: Rows) -> Any:
        return frame.iloc[rows].reset_index(drop=True)

    def append(self, frame: Any, columns: Columns) -> Any:
        return frame.assign(**columns)


class _Polars:
    def names(self, frame: Any) -> list[str]:
        return list(frame.columns)

    def to_arrow(self, frame: Any, names: Sequence[str]) -> pa.Table:
        return frame.select(names).to_arrow()

    def drop(self, frame: Any, names: Sequence[str]) -> Any:
        return frame.drop(names)

    def rename(self, frame: Any, new_names: Mapping[str, str]) -> Any:
        return frame.rename(new_names)

    def take(self, frame: Any, rows: Rows) -> Any:
        return frame[rows]

    def append(self, frame: Any, columns: Columns) -> Any:
        return frame.hstack(type(frame)(columns))


class _PyArrow:
    def names(self, frame: pa.Table) -> list[str]:
        return list(frame.column_names)

    def to_arrow(self, frame: pa.Table, names: Sequence[str]) -> pa.Table:
        return frame.select(names)

    def drop(self, frame: pa.Table, names: Sequence[str]) -> pa.Table:
        return frame.drop_columns(names)

    def rename(self, frame: pa.Table, new_names: Mapping[str, str]) -> pa.Table:
        return frame.rename_columns([new_names.get(name, name) for name in frame.column_names])

    def take(self, frame: pa.Table, rows: Rows) -> pa.Table:
        return frame.take(pa.array(rows))

    def append(self, frame: pa.Table, columns: Columns) -> pa.Table:
        for name, values in columns.items():
            frame = frame.append_column(name, pa.array(values))
        return frame


_LIBRARIES: dict[str, Library] = {
    "pandas.DataFrame": _Pandas(),
    "polars.DataFrame": _Polars(),
    "pyarrow.Table": _PyArrow(),
}
