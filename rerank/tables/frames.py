"""Rank the pairs of a data frame of pandas, Polars or PyArrow, and give it back in the same library and naming."""

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rerank.arrays import offsets_of
from rerank.errors import InputError
from rerank.ranking.candidates import CANDIDATES, CandidateSets, combined, list_column
from rerank.ranking.output_columns import REJECTED
from rerank.ranking.rank import SOURCE_SCORE
from rerank.ranking.reject import REFUSED, Reason, check, differing
from rerank.sizes import wide_type
from rerank.tables.libraries import Library, library_of

Frame = TypeVar("Frame")
Unscored = Literal["raise", "warn"]
RankTable = Callable[[pa.Table], pa.Table]

_ROW = "row"  # of a pair in the frame
_NAMED_ROWS = 3


@dataclass(frozen=True, slots=True)
class Naming:
    """Column names of a frame of pairs: `ids` are those of the query and of the document.

    `score` is the field of the ranked candidates that becomes the column `score`. `first_rank` is the best rank. With
    `replaces`, columns `rank` and `score` of the frame are replaced, otherwise they are kept under other names.
    """

    ids: tuple[str, str]
    score: str
    first_rank: int
    replaces: bool

    @property
    def columns(self) -> tuple[str, str, str, str]:
        """Return the names of the columns that are read."""
        return (self.ids[0], "query", self.ids[1], "text")


OURS = Naming(("query_id", "doc_id"), "score", first_rank=1, replaces=False)
# PyTerrier sorts and evaluates by `score`, and relevance scores near 1 may be equal where the logits differ.
PYTERRIER = Naming(("qid", "docno"), "logit", first_rank=0, replaces=True)


def rank_frame(frame: Frame, rank_table: RankTable, *, unscored: Unscored) -> Frame:
    """Return the rows of a frame in ranked order, see `Reranker.rank_frame`; `rank_table` ranks candidate sets."""
    library = library_of(frame)
    names = library.names(frame)
    naming = _naming_of(names)
    sets = _candidate_sets(_pairs(frame, library, naming))
    if unscored == "raise":
        _check_scorable(sets)
    ranked = rank_table(sets.to_table())
    _warn_or_raise(sets, ranked, unscored)
    candidates = CandidateSets.from_table(ranked.select(["query_id", CANDIDATES])).candidates
    columns = {
        "rank": pc.add(candidates.column("rank").cast(pa.int64()), naming.first_rank - 1).to_numpy(),
        "score": candidates.column(naming.score).cast(pa.float64()).to_numpy(),
    }
    if naming.replaces:
        frame = library.drop(frame, [name for name in columns if name in names])
    else:
        frame = library.rename(frame, _new_names(names))
    ranked_frame: Frame = library.append(library.take(frame, candidates.column(_ROW).to_numpy()), columns)
    return ranked_frame


def _naming_of(names: Sequence[str]) -> Naming:
    """Return the naming whose columns the frame has, ours if it has both. Raises InputError."""
    for naming in (OURS, PYTERRIER):
        if set(naming.columns) <= set(names):
            if repeated := [name for name in naming.columns if names.count(name) > 1]:
                raise InputError(
                    f"column {repeated[0]!r} must occur once in the frame, got it {names.count(repeated[0])} times"
                )
            return naming
    raise InputError(
        f"frame must have the columns {', '.join(OURS.columns)}, or PyTerrier's {', '.join(PYTERRIER.columns)}; "
        f"got {', '.join(names) or 'no columns'}"
    )


def _pairs(frame: Frame, library: Library, naming: Naming) -> pa.Table:
    """Return the four columns under our names, with wide strings. Raises InputError if values have no common type."""
    try:
        pairs = library.to_arrow(frame, naming.columns).rename_columns(OURS.columns)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as problem:
        raise InputError(f"frame cannot be read: {problem}") from problem
    empty = pairs.num_rows == 0  # its types mean nothing, and null columns have no values to hash
    kinds = (pa.large_string() if empty or pa.types.is_null(kind) else wide_type(kind) for kind in pairs.schema.types)
    return pairs.cast(pa.schema(zip(pairs.column_names, kinds, strict=True)))


def _candidate_sets(pairs: pa.Table) -> CandidateSets:
    """Group pairs by query_id, in the order of the first row of each, wherever the rows of a query are."""
    codes = pc.dictionary_encode(combined(pairs.column("query_id")), null_encoding="encode").indices.to_numpy()
    order = np.argsort(codes, kind="stable")
    offsets = offsets_of(np.bincount(codes))
    rows = pairs.take(pa.array(order))
    queries = rows.select(["query_id", "query"]).take(pa.array(offsets[:-1]))
    candidates = rows.select(["doc_id", "text"]).append_column(_ROW, pa.array(order))
    candidates = candidates.append_column(REFUSED, pa.array(differing(rows, offsets)))
    return CandidateSets.from_table(queries.append_column(CANDIDATES, list_column(candidates, offsets)))


def _check_scorable(sets: CandidateSets) -> None:
    """Raise InputError that counts the pairs that cannot be scored by their reason, before any pair is scored."""
    _, codes = check(sets)
    bad = np.flatnonzero(codes != Reason.OK)
    if len(bad):
        texts = [reason.text for reason in Reason]
        raise InputError(_explained([texts[code] for code in codes[bad]], _rows_of(sets)[bad], sets.pair_count))


def _warn_or_raise(sets: CandidateSets, ranked: pa.Table, unscored: Unscored) -> None:
    """Warn of rejected pairs. Raises InputError if there are any and `unscored` is "raise"."""
    rejected = CandidateSets.from_table(ranked.select(["query_id", REJECTED]).rename_columns(["query_id", CANDIDATES]))
    if not rejected.pair_count:
        return
    entries = rejected.candidates
    places = sets.offsets[rejected.query_of] + entries.column("source_rank").to_numpy() - 1
    message = _explained(entries.column("reason").to_pylist(), _rows_of(sets)[places], sets.pair_count)
    if unscored == "raise":
        raise InputError(message)
    warnings.warn(f"{message}; these rows were dropped", stacklevel=4)


def _explained(reasons: Sequence[str], rows: npt.NDArray[np.integer], pair_count: int) -> str:
    """Return how many pairs cannot be scored, each reason with its count and its first rows."""
    parts = []
    for reason, count in Counter(reasons).most_common():
        first = sorted(int(row) for row, own in zip(rows, reasons, strict=True) if own == reason)[:_NAMED_ROWS]
        shown = ", ".join(map(str, first)) + (", …" if count > len(first) else "")
        parts.append(f"{reason} ({count:,}: row{'s' if count > 1 else ''} {shown})")
    return f"{len(reasons):,} of {pair_count:,} pairs cannot be scored: {'; '.join(parts)}"


def _rows_of(sets: CandidateSets) -> npt.NDArray[np.integer]:
    rows: npt.NDArray[np.integer] = sets.candidates.column(_ROW).to_numpy()
    return rows


def _new_names(names: Sequence[str]) -> dict[str, str]:
    """Return new names for columns that are in the way of ours.

    As in a job the first stage's `score` becomes `source_score`, and anything else gets `input_` before its name.
    """
    new_names: dict[str, str] = {}
    taken = set(names)
    targets = {"rank": "input_rank", "score": SOURCE_SCORE}
    if "score" in names:
        targets[SOURCE_SCORE] = f"input_{SOURCE_SCORE}"
    for name, target in targets.items():
        if name in names:
            while target in taken - set(targets):
                target = f"input_{target}"
            new_names[name] = target
            taken.add(target)
    return new_names
