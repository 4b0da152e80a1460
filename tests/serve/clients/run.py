"""Run every client script in an environment of its own: `python tests/serve/clients/run.py [NAME…]`.

SDKs pin versions that exclude each other and ours, so each lives in clients/NAME of the environment that runs
this. Needs the internet once. A name is that of a script, `with_NAME.py` or `with_NAME.mjs`; what follows a `-` in it
is the script's last argument.
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
    "langchain_nvidia": "langchain-nvidia-ai-endpoints==1.5.0",
    "litellm": "litellm==1.106.2",
    "llama_index-cohere": "llama-index-postprocessor-cohere-rerank==0.10.0",
    "llama_index-dashscope": "llama-index-postprocessor-dashscope-rerank==0.6.0",
    "llama_index-jina": "llama-index-postprocessor-jinaai-rerank==0.6.0",
    "llama_index-nvidia": "llama-index-postprocessor-nvidia-rerank==0.7.0",
    "llama_index-siliconflow": "llama-index-postprocessor-siliconflow-rerank==0.5.0",
    "llama_index-tei": "llama-index-postprocessor-tei-rerank==0.6.0",
    "llama_index-xinference": "llama-index-postprocessor-xinference-rerank==0.5.0",
    "mixedbread": "mixedbread==0.54.0",
    "rerankers": "rerankers[api]==0.10.0",
    "sie": "sie-sdk==0.10.1",
    "together": "together==3.1.1",
    "voyageai": "voyageai==0.5.0",
    "xinference": "xinference-client==4.1.0",
    "npm_ai": "ai@6.0.325 @ai-sdk/cohere@3.0.63",
    "npm_cohere": "cohere-ai@8.1.0",
    "npm_langchain": "@langchain/cohere@1.0.5 @langchain/core@1.4.0",
    "npm_mixedbread": "@mixedbread/sdk@0.78.0",
    "npm_voyageai": "voyageai@0.4.0",
}
OLDEST = {"sie": 12}  # the minor version of Python 3 that a package needs, where it needs a newer one than we do
NEWEST = 14  # the newest that is looked for


def main(names: list[str]) -> int:
    """Check the named clients, or all; return the number of those that fail."""
    failures = 0
    with running() as url, running(needs_key=False) as open_url:
        for name in names or PACKAGES:
            script, _, variant = name.partition("-")
            python = find_python(OLDEST.get(name, 0))
            if script.startswith("npm_"):
                outcome = "skipped: it needs node"
                command = prepare_node(name, script) if shutil.which("node") else []
            else:
                outcome = f"skipped: it needs Python 3.{OLDEST.get(name)} or newer (looked for by uv and pyenv, too)"
                command = prepare_python(name, script, python) if python else []
            if command:
                command += [url, open_url, *filter(None, [variant])]
                failed = subprocess.run(command, check=False).returncode != 0
                failures += failed
                outcome = "FAILED" if failed else "ok"
            print(f"{PACKAGES[name]:52} {outcome}", flush=True)  # noqa: T201
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


def prepare_python(name: str, script: str, python: str) -> list[Path | str]:
    """The command that runs a script in the client's environment, made where it is missing or holds another version."""
    package = PACKAGES[name]
    folder = HOME / name
    mark = folder / package
    if not mark.exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([python, "-m", "venv", folder], check=True)
        subprocess.run([folder / "bin" / "pip", "install", "--quiet", package], check=True)
        mark.touch()
    return [folder / "bin" / "python", HERE / f"with_{script}.py"]


def prepare_node(name: str, script: str) -> list[str | Path]:
    """The command that runs a script beside the client's npm packages: Node looks for them from where a script lies."""
    packages = PACKAGES[name].split()
    folder = HOME / name
    mark = folder / "installed"
    if not mark.exists() or mark.read_text() != " ".join(packages):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        subprocess.run(
            ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", folder, *packages], check=True
        )
        mark.write_text(" ".join(packages))
    return ["node", shutil.copy(HERE / f"with_{script}.mjs", folder)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
