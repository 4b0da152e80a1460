"""Run every client script in a virtual environment of its own: `python tests/serve/clients/run.py [NAME…]`.

SDKs pin versions that exclude each other and ours, so each lives in clients/NAME of the environment that runs
this. Needs the internet once.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from sdk_server import running

HERE = Path(__file__).parent
HOME = Path(sys.prefix) / "clients"

PACKAGES = {
    "cohere": "cohere==7.3.1",
    "infinity": "infinity_client==0.0.78",
    "langchain": "langchain-cohere==0.6.0",
    "litellm": "litellm==1.106.2",
    "llama_index": "llama-index-postprocessor-cohere-rerank==0.10.0",
    "mixedbread": "mixedbread==0.54.0",
    "rerankers": "rerankers[api]==0.10.0",
    "sie": "sie-sdk==0.10.1",
    "voyageai": "voyageai==0.5.0",
}
OLDEST = {"sie": 12}  # the minor version of Python 3 that a package needs, where it needs a newer one than we do
NEWEST = 14  # the newest that is looked for


def main(names: list[str]) -> int:
    """Check the named clients, or all; return the number of those that fail."""
    failures = 0
    with running() as url:
        for name in names or PACKAGES:
            package = PACKAGES[name]
            python = find_python(OLDEST.get(name, 0))
            if python is None:
                outcome = f"skipped: it needs Python 3.{OLDEST[name]} or newer, none was found (also by uv and pyenv)"
            else:
                command = [prepare(name, package, python), HERE / f"with_{name}.py", url]
                failed = subprocess.run(command, check=False).returncode != 0
                failures += failed
                outcome = "FAILED" if failed else "ok"
            print(f"{package:28} {outcome}", flush=True)  # noqa: T201
    return failures


def find_python(oldest: int) -> str | None:
    """Return an interpreter of Python 3 with at least this minor version: this one if it will do; None without one."""
    return next((python for python in _pythons(oldest) if _is_new_enough(python, oldest)), None)


def _pythons(oldest: int) -> Iterator[str]:
    """Yield interpreters that may be there: the commands on the path, then what uv and pyenv have installed."""
    yield sys.executable
    names = [f"python3.{minor}" for minor in range(oldest, NEWEST + 1)]
    yield from filter(None, map(shutil.which, names))
    yield from _lines("uv", "python", "find", "--no-project", "--no-python-downloads", f">=3.{oldest}")
    for root in _lines("pyenv", "root"):
        yield from (str(path) for name in names for path in sorted(Path(root).glob(f"versions/*/bin/{name}")))


def _lines(*command: str) -> list[str]:
    """Return what a command prints; nothing if it is not installed or fails."""
    if shutil.which(command[0]) is None:
        return []
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return done.stdout.splitlines() if done.returncode == 0 else []


def _is_new_enough(python: str, oldest: int) -> bool:
    """Return whether this interpreter starts (a version manager may have names of others) and is new enough."""
    check = f"import sys, venv; sys.exit(sys.version_info < (3, {oldest}))"
    return subprocess.run([python, "-c", check], check=False, capture_output=True).returncode == 0


def prepare(name: str, package: str, python: str) -> Path:
    """Return the interpreter of the client's environment, made where it is missing or holds another version."""
    folder = HOME / name
    mark = folder / package
    if not mark.exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([python, "-m", "venv", folder], check=True)
        subprocess.run([folder / "bin" / "pip", "install", "--quiet", package], check=True)
        mark.touch()
    return folder / "bin" / "python"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
