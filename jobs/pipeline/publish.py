"""Publishing: how the staged files of a run become the result in the output folder.

A run stages its files in `OUT/_staging/RUN/`. It commits its result by one operation: `journal.json`, which lists the
files and holds the manifest, appears whole in that folder (a rename on a local disk, a PUT on an object store). Before
the commit the earlier result is untouched. After it the new result is complete, and only names change, in this order:
the earlier manifest and the earlier files are deleted, the new files are moved to `OUT`, `_manifest.json` is written.
These steps are the switch.

What this promises on local disks and on object stores, whenever the run is killed and whatever it replaces:

- The earlier or the new result is complete. If the switch was interrupted, the next run on `OUT` finishes it before it
  does anything else.
- While `_manifest.json` exists, the `part-*` files beside it are exactly those of the result that it describes.
- A reader that ignores the manifest may see some files of one result during the switch, but never files of two.

The switch takes milliseconds on a local disk. An object store has no rename: there it takes as long as the server needs
to copy the parts. On a local disk the files are also flushed before the commit, so the promise holds after a power
failure, and a lock on the folder keeps two runs from switching at the same time. Object stores have no lock: if a run
starts there while another one switches, one of them may fail, but the committed result stays complete.
"""

import errno
import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from pyarrow import fs

from jobs.console import say
from jobs.pipeline.staging import ERRORS, STAGING, Staging
from rerank.errors import InputError, OutputError
from rerank.paths import Location
from rerank.store.folder import TEMPORARY, Folder

MANIFEST = "_manifest.json"
REPORT = "_report.html"  # of `rerank report`; deleted with the result that it describes
JOURNAL = "journal.json"


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


def publish(staging: Staging, reports: Sequence[PartReport], manifest: dict[str, Any], *, overwrite: bool) -> None:
    """Make the reported files the result of the output folder, with `manifest` beside them.

    Raises OutputError if another run has started there, if `overwrite` is False and a result is there, or if a file
    cannot be written.
    """
    output, folder = staging.output, staging.folder
    names = [file.name for report in reports for file in report.files]
    staging.check()
    with locked(output):
        if not overwrite and output.join(MANIFEST).info().type != fs.FileType.NotFound:
            raise OutputError(
                f"{output.uri}: another run has published a result there since this run started, and it is kept; "
                "give another folder, or --overwrite to replace it"
            )
        try:
            _flush(folder, [*names, ERRORS])
            journal = json.dumps({"files": names, "manifest": manifest}).encode()
            Folder(folder.filesystem, folder.path).write(JOURNAL, journal)
            _flush(folder, [JOURNAL, ""])
        except OSError as problem:
            raise OutputError(
                f"{output.uri}: cannot publish the result: {problem}; an earlier result there is unchanged"
            ) from problem
        staging.check()
        if not _switch(output, folder):
            raise OutputError(f"{output.uri}: cannot publish the result: some of its staged files are gone")
        try:
            _remove(staging)
        except OSError as problem:
            say(f"the result is published, but {output.join(STAGING).uri} cannot be removed: {problem}")


def finish_interrupted(output: Location) -> None:
    """Finish the switch of a run that was stopped between its commit and its manifest. Raises OutputError.

    The caller holds the lock.
    """
    for folder in _committed(output):
        if _switch(output, folder):
            say(f"{output.uri}: an earlier run had been stopped while it published; its result is in place now")


def check_finished(output: Location) -> None:
    """Raise InputError if a run was stopped between its commit and its manifest: only some files are in place."""
    if output.join(MANIFEST).info().type == fs.FileType.NotFound and any(_committed(output)):
        raise InputError(
            f"{output.uri}: a run was stopped while it published its result here, and some files are not in place; "
            "start it again, it finishes that first"
        )


def _committed(output: Location) -> Iterator[Location]:
    """Yield the staging folders of committed results whose switch has not ended."""
    for entry in Folder(output.filesystem, output.join(STAGING).path).listing():
        folder = output.join(STAGING, entry.base_name)
        if folder.join(JOURNAL).info().type == fs.FileType.File:
            yield folder


@contextmanager
def locked(output: Location) -> Iterator[None]:
    """Keep other processes from switching the result of a local folder; a killed process frees its lock.

    Raises OutputError if the folder cannot be opened.
    """
    if output.filesystem.type_name != "local":
        yield
        return
    try:
        descriptor = os.open(output.path, os.O_RDONLY)
    except OSError as problem:
        raise OutputError(f"{output.uri}: cannot be opened: {problem}") from problem
    try:
        with suppress(OSError):  # some network file systems have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _switch(output: Location, folder: Location) -> bool:
    """Put the committed result of `folder` in place of the earlier one; each step can be repeated after a kill.

    Returns False, with nothing changed, if a file of the result is missing. Raises OutputError.
    """
    filesystem, place = output.filesystem, Folder(output.filesystem, output.path)
    try:
        journal = json.loads(Folder(filesystem, folder.path).read(JOURNAL).to_pybytes())
        names: list[str] = journal["files"]
        manifest = json.dumps(journal["manifest"], indent=2).encode()
        if not _existing(output, [MANIFEST]) or place.read(MANIFEST).to_pybytes() != manifest:
            staged = _existing(folder, names)
            if _existing(output, names) | staged != set(names):
                return False
            _remove_earlier(output, names)
            if any(name.startswith(ERRORS) for name in names):
                filesystem.create_dir(output.join(ERRORS).path)
            for name in sorted(staged):
                filesystem.move(folder.join(name).path, output.join(name).path)
            place.write(MANIFEST, manifest)
            _flush(output, [MANIFEST, ""])
        filesystem.delete_file(folder.join(JOURNAL).path)
    except OSError as problem:
        raise OutputError(
            f"{output.uri}: the result is complete, but cannot be moved into place: {problem}; "
            "the next run on this folder finishes that"
        ) from problem
    return True


def _existing(folder: Location, names: Sequence[str]) -> set[str]:
    """Return those of the names that are files in the folder."""
    infos = folder.filesystem.get_file_info([folder.join(name).path for name in names])
    return {name for name, info in zip(names, infos, strict=True) if info.type == fs.FileType.File}


def _remove_earlier(output: Location, names: Sequence[str]) -> None:
    """Delete the earlier result, but no file of `names`. Its manifest goes first: without it nothing is a result."""
    filesystem, kept = output.filesystem, set(names)
    entries = Folder(filesystem, output.path).listing()
    for entry in sorted(entries, key=lambda entry: entry.base_name != MANIFEST):
        if entry.base_name in kept:
            continue
        if entry.base_name in {MANIFEST, REPORT} or entry.base_name.startswith(("part-", TEMPORARY)):
            filesystem.delete_file(entry.path)
        elif entry.base_name == ERRORS and not any(name.startswith(ERRORS) for name in names):
            filesystem.delete_dir(entry.path)
        elif entry.base_name == ERRORS:
            for error_file in Folder(filesystem, entry.path).listing():
                if f"{ERRORS}/{error_file.base_name}" not in kept:
                    filesystem.delete_file(error_file.path)


def _remove(staging: Staging) -> None:
    """Delete the run's staging folder, and the folder around it unless another run has one there too."""
    filesystem, root = staging.output.filesystem, staging.output.join(STAGING).path
    filesystem.delete_dir(staging.folder.path)
    if not Folder(filesystem, root).listing():
        filesystem.delete_dir(root)


def _flush(folder: Location, names: Sequence[str]) -> None:
    """Wait until the files and folders of these names in a local folder are on the disk."""
    if folder.filesystem.type_name != "local":
        return
    for name in names:
        descriptor = os.open(folder.join(name).path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as problem:
            if problem.errno != errno.EINVAL:  # some file systems cannot flush a folder
                raise
        finally:
            os.close(descriptor)
