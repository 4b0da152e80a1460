"""Memory of the Ray processes that this process's children started, as Linux counts it in /proc."""

from pathlib import Path

from rerank.errors import ConfigError, UnavailableError

_PROC = Path("/proc")
_RAY = "ray::"  # how Ray begins the titles of its actors


def actors_below(ancestor: int) -> dict[int, str]:
    """Process ids and names of the Ray actors among a process's descendants. Raises ConfigError outside Linux."""
    if not (_PROC / "self" / "smaps_rollup").exists():
        raise ConfigError("memory is read from /proc/PID/smaps_rollup, which this system does not have")
    parents, titles = {}, {}
    for folder in _PROC.glob("[0-9]*"):
        try:
            # The name stands in brackets and may hold anything; the state and the parent follow it.
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            titles[int(folder.name)] = (folder / "cmdline").read_bytes().partition(b"\0")[0].decode(errors="replace")
        except OSError:  # it ended meanwhile
            continue
    return {
        pid: title.removeprefix(_RAY).strip()
        for pid, title in titles.items()
        if title.startswith(_RAY) and not title.startswith(f"{_RAY}IDLE") and _descends(pid, ancestor, parents)
    }


def proportional_bytes(pid: int) -> int:
    """A process's own memory and its share of what it shares (PSS). Raises UnavailableError where it is gone."""
    try:
        lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        raise UnavailableError(f"process {pid} ended while it was watched") from None
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def _descends(pid: int, ancestor: int, parents: dict[int, int]) -> bool:
    while pid in parents:
        pid = parents[pid]
        if pid == ancestor:
            return True
    return False
