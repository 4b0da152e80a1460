"""Durable notes of what is being scored: one that is still there when its pairs come again tells of a death."""

from dataclasses import dataclass

from rerank.errors import OutputError
from rerank.store.folder import Folder


@dataclass(frozen=True, slots=True)
class ScoringAttempts:
    """Notes in a folder that belongs to one run: empty files `NAME.ATTEMPT`. A value: it may travel."""

    folder: Folder

    def unfinished(self, block: str) -> dict[str, int]:
        """How often an attempt began and did not end, by the names that start with `block`. Raises OutputError."""
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
        """Note that what has this name is scored, for the attempt-th time. Raises OutputError."""
        try:
            self.folder.write(f"{name}.{attempt}", b"")
        except OSError as problem:
            raise OutputError(f"{self.folder.path}: cannot note what is being scored: {problem}") from problem

    def end(self, name: str, attempt: int) -> None:
        """Forget the attempts up to this one: whatever came of it, this process lives. Raises OutputError."""
        for number in range(1, attempt + 1):
            try:
                self.folder.delete(f"{name}.{number}")
            except OSError as problem:
                raise OutputError(f"{self.folder.path}: cannot delete a note: {problem}") from problem
