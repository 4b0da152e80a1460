"""The staging folder: where a run keeps its files until they are published.

It lies in the output folder, under a name that readers skip.
"""

from dataclasses import dataclass

from pyarrow import fs

from rerank.errors import OutputError
from rerank.paths import Location

ERRORS = "_errors"
ATTEMPTS = "attempts"  # marker files for blocks that are being scored
CONVERTED = "converted"  # the input as Parquet, if it is text
GATHERED = "gathered"  # candidate sets that a shuffle made
MARK = "run"  # the folder belongs to its run while this file exists
_TREC = "run.trec"


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A staged file: its name relative to the output folder, and its number of rows."""

    name: str
    rows: int


@dataclass(frozen=True, slots=True)
class PartReport:
    """The files that one write task staged, and the sums over its queries."""

    files: tuple[WrittenFile, ...]
    counts: dict[str, float]


@dataclass(frozen=True, slots=True)
class Staging:
    """The staging folder of one run. The next run on the same output deletes it, even while this run is writing."""

    output: Location
    folder: Location

    def check(self) -> None:
        """Raise OutputError if another run has started on the same output since."""
        if self.folder.join(MARK).info().type == fs.FileType.NotFound:
            raise OutputError(
                f"{self.output.uri}: another run has started to write there, so this run publishes nothing"
            )

    def trec(self, target: Location) -> Location:
        """Return where the TREC run is staged that will become the file `target`."""
        return self.folder.join(f"{_TREC}.gz" if target.path.endswith(".gz") else _TREC)
