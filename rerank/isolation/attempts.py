"""Marker files for what is being scored. A marker left behind means that the process died while scoring it."""

from dataclasses import dataclass

from rerank.errors import OutputError
from rerank.store.folder import Folder


@dataclass(frozen=True, slots=True)
class ScoringAttempts:
    """Markers in a folder that belongs to one run: empty files `NAME.ATTEMPT`. It can be sent to other processes."""

    folder: Folder

    def unfinished(self, block: str) -> dict[str, int]:
        """Return how many attempts began and did not end, by the names that start with `block`. Raises OutputError."""
        counts: dict[str, int] = {}
        try:
            entries = self.folder.listing()
        except OSError as problem:
            raise OutputError(f"{self.folder.path}: cannot be listed: {problem}") from problem
        for entry in entries:
            name, _, attempt = entry.base_name.rpartition(".")
            if name.startswith(block):
                counts[name] = max(counts.get(name, 0), int(attempt))
        return counts

    def begin(self, name: str, attempt: int) -> None:
        """Write the marker of the attempt with this number, from 1. Raises OutputError."""
        try:
            self.folder.write(f"{name}.{attempt}", b"")
        except OSError as problem:
            raise OutputError(f"{self.folder.path}: cannot write a marker file: {problem}") from problem

    def end(self, name: str, attempt: int) -> None:
        """Delete the markers up to this attempt, for the process has survived it. Raises OutputError."""
        for number in range(1, attempt + 1):
            try:
                self.folder.delete(f"{name}.{number}")
            except OSError as problem:
                raise OutputError(f"{self.folder.path}: cannot delete a marker file: {problem}") from problem
