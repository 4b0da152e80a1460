"""Run every client script in a virtual environment of its own: `python tests/serve/clients/run.py [NAME…]`.

SDKs pin versions that exclude each other and ours, so each lives in clients/NAME of the environment that runs
this. Needs the internet once.
"""

import shutil
import subprocess
import sys
import venv
from pathlib import Path

from sdk_server import running

HERE = Path(__file__).parent
HOME = Path(sys.prefix) / "clients"

PACKAGES = {
    "cohere": ("cohere==7.3.1", "python3"),
    "infinity": ("infinity_client==0.0.78", "python3"),
    "langchain": ("langchain-cohere==0.6.0", "python3"),
    "litellm": ("litellm==1.106.2", "python3"),
    "llama_index": ("llama-index-postprocessor-cohere-rerank==0.10.0", "python3"),
    "mixedbread": ("mixedbread==0.54.0", "python3"),
    "rerankers": ("rerankers[api]==0.10.0", "python3"),
    "sie": ("sie-sdk==0.10.1", "python3.12"),
    "voyageai": ("voyageai==0.5.0", "python3"),
}


def main(names: list[str]) -> int:
    """Check the named clients, or all; the number of those that fail."""
    failures = 0
    with running() as url:
        for name in names or PACKAGES:
            package, python = PACKAGES[name]
            outcome = "skipped, it needs " + python
            if python == "python3" or _runs(python):
                command = [prepare(name, package, python), HERE / f"with_{name}.py", url]
                failed = subprocess.run(command, check=False).returncode != 0
                failures += failed
                outcome = "FAILED" if failed else "ok"
            print(f"{package:28} {outcome}", flush=True)  # noqa: T201
    return failures


def _runs(python: str) -> bool:
    """Whether there is such an interpreter; a version manager may have a name for one that it cannot start."""
    return shutil.which(python) is not None and subprocess.run([python, "-V"], capture_output=True).returncode == 0


def prepare(name: str, package: str, python: str) -> Path:
    """The interpreter of the client's environment, made where it is missing or holds another version."""
    folder = HOME / name
    mark = folder / package
    if not mark.exists():
        shutil.rmtree(folder, ignore_errors=True)
        if python == "python3":
            venv.create(folder, with_pip=True)
        else:
            subprocess.run([python, "-m", "venv", folder], check=True)
        subprocess.run([folder / "bin" / "pip", "install", "--quiet", package], check=True)
        mark.touch()
    return folder / "bin" / "python"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
