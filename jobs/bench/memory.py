"""Memory of the Ray processes below this process, as Linux reports it in /proc."""

from contextlib import suppress
from pathlib import Path

from rerank.errors import ConfigError, UnavailableError

_PROC = Path("/proc")
_RAY = "ray::"  # prefix of the process titles of Ray actors


def actors_below(ancestor: int) -> dict[int, str]:
    """Return ids and names of the Ray actors among a process's descendants. Raises ConfigError outside Linux."""
    if not (_PROC / "self" / "smaps_rollup").exists():
        raise ConfigError("memory can only be measured on Linux: this system has no /proc/PID/smaps_rollup")
    titles = {pid: command[0] for pid, command in descendants(ancestor).items()}
    return {
        pid: title.removeprefix(_RAY).strip()
        for pid, title in titles.items()
        if title.startswith(_RAY) and not title.startswith(f"{_RAY}IDLE")
    }


def descendants(root: int) -> dict[int, list[str]]:
    """Return the direct and indirect child processes of `root`, with their command lines."""
    parents, commands = {}, {}
    for folder in _PROC.glob("[0-9]*"):
        with suppress(OSError):  # the process has ended
            # The name is in brackets and may contain any character; the state and the parent follow it.
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            commands[int(folder.name)] = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
    below: set[int] = set()
    while children := {pid for pid, parent in parents.items() if parent in {root, *below}} - below:
        below |= children
    return {pid: commands[pid] for pid in below if pid in commands}


def proportional_bytes(pid: int) -> int:
    """Return the proportional set size (PSS) of a process. Raises UnavailableError if it has ended."""
    try:
        lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        raise UnavailableError(f"process {pid} ended while its memory was measured") from None
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
