"""Where a run keeps what is not published yet: below its output, under a name that readers skip."""

import uuid
from dataclasses import dataclass

from pyarrow import fs

from rerank.errors import OutputError
from rerank.paths import Location

STAGING = "_staging"
ERRORS = "_errors"
ATTEMPTS = "attempts"  # notes of what is being scored
GATHERED = "gathered"  # candidate sets that a shuffle made
_MARK = "run"  # as long as it lies there the folder is this run's


@dataclass(frozen=True, slots=True)
class Staging:
    """One run's own folder. The next run that begins on the same output removes it, whoever still writes to it."""

    output: Location
    folder: Location

    def check(self) -> None:
        """Raise OutputError where another run has begun since."""
        if self.folder.join(_MARK).info().type == fs.FileType.NotFound:
            raise OutputError(f"{self.output.uri}: another run has begun to write there, so this one publishes nothing")


def stage(output: Location) -> Staging:
    """Make a staging folder; what a run that was stopped left is gone. Raises OutputError."""
    filesystem, root = output.filesystem, output.join(STAGING)
    staging = Staging(output, root.join(uuid.uuid4().hex[:8]))
    try:
        if filesystem.get_file_info(root.path).type != fs.FileType.NotFound:
            filesystem.delete_dir(root.path)
        filesystem.create_dir(staging.folder.join(ERRORS).path, recursive=True)
        with filesystem.open_output_stream(staging.folder.join(_MARK).path):
            pass
    except OSError as problem:
        raise OutputError(f"{output.uri}: cannot be written to: {problem}") from problem
    return staging
