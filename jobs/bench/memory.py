"""Memory of the Ray processes that this process's children started, as Linux counts it in /proc."""

from contextlib import suppress
from pathlib import Path

from rerank.errors import ConfigError, UnavailableError

_PROC = Path("/proc")
_RAY = "ray::"  # how Ray begins the titles of its actors


def actors_below(ancestor: int) -> dict[int, str]:
    """Process ids and names of the Ray actors among a process's descendants. Raises ConfigError outside Linux."""
    if not (_PROC / "self" / "smaps_rollup").exists():
        raise ConfigError("memory is read from /proc/PID/smaps_rollup, which this system does not have")
    titles = {pid: command[0] for pid, command in descendants(ancestor).items()}
    return {
        pid: title.removeprefix(_RAY).strip()
        for pid, title in titles.items()
        if title.startswith(_RAY) and not title.startswith(f"{_RAY}IDLE")
    }


def descendants(root: int) -> dict[int, list[str]]:
    """The processes that this one started, directly or not, with their command lines."""
    parents, commands = {}, {}
    for folder in _PROC.glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile
            # The name stands in brackets and may hold anything; the state and the parent follow it.
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            commands[int(folder.name)] = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
    found: set[int] = set()
    while more := {pid for pid, parent in parents.items() if parent in {root, *found}} - found:
        found |= more
    return {pid: commands[pid] for pid in found if pid in commands}


def proportional_bytes(pid: int) -> int:
    """A process's own memory and its share of what it shares (PSS). Raises UnavailableError where it is gone."""
    try:
        lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        raise UnavailableError(f"process {pid} ended while it was watched") from None
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
