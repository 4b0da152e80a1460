"""Publishing: how the staged files of a run become the result in the output folder.

A run stages its files in `OUT/_staging/RUN/`. It commits its result by one operation: `journal.json`, which lists the
files and holds the manifest, appears whole in that folder (a rename on a local disk, a PUT on an object store). Before
the commit the earlier result is untouched. After it the new result is complete, and only names change, in this order:
the TREC run is copied to its place, the earlier manifest and the earlier files are deleted, the new files are moved to
`OUT`, `_manifest.json` is written. These steps are the switch.

What this promises on local disks and on object stores, whenever the run is killed and whatever it replaces:

- The earlier or the new result is complete. If the switch was interrupted, the next run on `OUT` finishes it before it
  does anything else.
- While `_manifest.json` exists, the `part-*` files beside it, and those in partitions (folders `name=value`), are
  exactly those of the result that it describes.
- A reader that ignores the manifest may see some files of one result during the switch, but never files of two.
- `rerank.tables.published` reads all files of one result, by comparing the manifest before and after.

The switch takes milliseconds on a local disk, and longer with a large TREC run. An object store has no rename: there it
takes as long as the server needs to copy the parts. On a local disk each step is flushed before one that relies on it,
so the promise holds after a power failure, and a lock on the folder keeps two runs from switching at the same time.
Object stores have no lock. If a run starts there while another one switches, it finishes that switch, and one of them
may fail. Without --overwrite it then stops, so the committed result stays complete. With --overwrite one danger is
left: if the earlier run is suspended during its switch and wakes up after the later run has published, it may delete
files of the later result.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from posixpath import dirname
from typing import Any

from pyarrow import fs

from jobs.console import say
from jobs.formats.tables.partitioned import is_partition, remove_partition
from jobs.pipeline.staging import ERRORS, PartReport, Staging
from jobs.pipeline.trec_run import TrecError, as_json, place_trec
from rerank.errors import OutputError
from rerank.paths import Location
from rerank.store.folder import TEMPORARY, Folder
from rerank.tables.published import JOURNAL, MANIFEST, STAGING, committed, locked

REPORT = "_report.html"  # of `rerank report`; deleted with the result that it describes


def publish(
    staging: Staging,
    reports: Sequence[PartReport],
    manifest: dict[str, Any],
    *,
    overwrite: bool,
    trec: Location | None = None,
) -> None:
    """Make the reported files the result of the output folder, with `manifest` beside them.

    The staged TREC run becomes the file `trec`. The staged files must be flushed already. Raises OutputError if another
    run has started there, if `overwrite` is False and there is a result or a file `trec`, or if a file cannot be
    written.
    """
    output, folder = staging.output, staging.folder
    names = [file.name for report in reports for file in report.files]
    staging.check()
    with locked(output):
        if not overwrite:
            _check_nothing_to_replace(output, trec)
        place = Folder(folder.filesystem, folder.path)
        journal: dict[str, Any] = {"files": names, "manifest": manifest}
        if trec is not None:
            journal["trec"] = as_json(staging.trec(trec), trec)
        try:
            if missing := set(names) - _existing(folder, names):
                raise OutputError(f"{output.uri}: cannot publish the result: {min(missing)} is gone from {folder.path}")
            for name in _folders(names):
                place.flush(name)
            place.flush()
            place.write(JOURNAL, json.dumps(journal).encode(), durable=True)
        except OSError as problem:
            raise OutputError(
                f"{output.uri}: cannot publish the result: {problem}; an earlier result there is unchanged"
            ) from problem
        staging.check()
        try:
            is_complete = _switch(output, folder, trec=trec)
        except TrecError as problem:
            with suppress(OSError):
                place.delete(JOURNAL)
            raise OutputError(f"{problem}; nothing was published") from problem
        if not is_complete:
            raise OutputError(f"{output.uri}: cannot publish the result: some of its staged files are gone")
        try:
            _remove(staging)
        except OSError as problem:
            say(f"the result is published, but {output.join(STAGING).uri} cannot be removed: {problem}")


def _check_nothing_to_replace(output: Location, trec: Location | None) -> None:
    if output.join(MANIFEST).info().type != fs.FileType.NotFound:
        raise OutputError(
            f"{output.uri}: another run has published a result there since this run started, and it is kept; "
            "give another folder, or --overwrite to replace it"
        )
    if trec is not None and trec.info().type != fs.FileType.NotFound:
        raise OutputError(
            f"{trec.uri}: has appeared since this run started, and it is kept; nothing was published; "
            "give another path, or --overwrite to replace it"
        )


def finish_interrupted(output: Location) -> None:
    """Finish the switch of a run that was stopped between its commit and its manifest. Raises OutputError.

    The caller holds the lock. A TREC run that cannot be written is left out, so that it blocks no later run.
    """
    for folder in committed(output):
        try:
            is_complete = _switch(output, folder)
        except TrecError as problem:
            say(f"{problem}; it is left out")
            is_complete = _switch(output, folder, with_trec=False)
        if is_complete:
            say(f"{output.uri}: an earlier run had been stopped while it published; its result is in place now")


def _switch(output: Location, folder: Location, *, trec: Location | None = None, with_trec: bool = True) -> bool:
    """Put the committed result of `folder` in place of the earlier one; each step can be repeated after a kill.

    `trec` is the place of the TREC run if it is known; otherwise the journal tells it, but without secrets.
    Returns False, with nothing changed, if a file of the result is missing or the journal is none of ours. Raises
    OutputError.
    """
    place, staging = Folder(output.filesystem, output.path), Folder(folder.filesystem, folder.path)
    try:
        journal = _read_journal(staging)
        if journal is None:
            return False
        names: list[str] = journal["files"]
        manifest = json.dumps(journal["manifest"], indent=2).encode()
        if not _existing(output, [MANIFEST]) or place.read(MANIFEST).to_pybytes() != manifest:
            staged = _existing(folder, names)
            if _existing(output, names) | staged != set(names):
                return False
            if with_trec and "trec" in journal:
                place_trec(folder, **journal["trec"], place=trec)
            try:
                _remove_earlier(output, names)
                _move(names, staged, folder, output)
            except FileNotFoundError:
                if _existing(folder, [JOURNAL]):
                    raise
            # Without a lock another run may have finished this switch and gone on. It may also have written the
            # manifest before this run deleted that of the earlier result.
            if _existing(folder, [JOURNAL]) or (
                not _existing(output, [MANIFEST]) and _existing(output, names) == set(names)
            ):
                place.write(MANIFEST, manifest, durable=True)
        staging.delete(JOURNAL)
    except OSError as problem:
        raise OutputError(
            f"{output.uri}: the result is complete, but cannot be moved into place: {problem}; "
            "the next run on this folder finishes that"
        ) from problem
    return True


def _read_journal(staging: Folder) -> dict[str, Any] | None:
    try:
        journal: dict[str, Any] = json.loads(staging.read(JOURNAL).to_pybytes())
    except ValueError:  # a version without flushes lost it in a power failure, so nothing was committed
        return None
    return journal


def _move(names: Sequence[str], staged: set[str], folder: Location, output: Location) -> None:
    """Move staged files to the output folder. All files of `names` are durable there when this returns."""
    filesystem, place = output.filesystem, Folder(output.filesystem, output.path)
    folders = _folders(names)
    for name in folders:
        if filesystem.get_file_info(place.path_of(name)).type == fs.FileType.NotFound:
            place.join(name).create()
    for name in sorted(staged):
        folder.join(name).move(output.join(name))
    for name in folders:
        place.join(name).flush()
    place.flush()


def _folders(names: Sequence[str]) -> list[str]:
    """Return the folders that these files lie in."""
    return sorted({dirname(name) for name in names} - {""})


def _existing(folder: Location, names: Sequence[str]) -> set[str]:
    """Return those of the names that are files in the folder."""
    infos = folder.filesystem.get_file_info([folder.join(name).path for name in names])
    return {name for name, info in zip(names, infos, strict=True) if info.type == fs.FileType.File}


def _remove_earlier(output: Location, names: Sequence[str]) -> None:
    """Delete the earlier result, but no file of `names`. Its manifest goes first: without it nothing is a result."""
    filesystem, place, kept = output.filesystem, Folder(output.filesystem, output.path), set(names)
    entries = place.listing()
    if any(entry.base_name == MANIFEST for entry in entries):
        filesystem.delete_file(output.join(MANIFEST).path)
        place.flush()
    for entry in entries:
        if entry.base_name in kept:
            continue
        if entry.base_name == REPORT or entry.base_name.startswith(("part-", TEMPORARY)):
            filesystem.delete_file(entry.path)
        elif entry.base_name == ERRORS and not any(name.startswith(ERRORS) for name in names):
            Folder(filesystem, entry.path).delete_all()
        elif entry.base_name == ERRORS:
            for error_file in Folder(filesystem, entry.path).listing():
                if f"{ERRORS}/{error_file.base_name}" not in kept:
                    filesystem.delete_file(error_file.path)
        elif is_partition(entry):
            remove_partition(filesystem, entry, {output.join(name).path for name in kept})


def _remove(staging: Staging) -> None:
    """Delete the run's staging folder, and the folder around it unless another run has one there too."""
    root = Folder(staging.output.filesystem, staging.output.join(STAGING).path)
    Folder(root.filesystem, staging.folder.path).delete_all()
    if not root.listing():
        root.delete_all()
