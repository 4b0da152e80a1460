"""Run every client script in an environment of its own: `python tests/serve/clients/run.py [NAME…]`.

SDKs pin versions that exclude each other and ours, so each lives in clients/NAME of the environment that runs
this. Needs the internet once. A name is that of a script, `with_NAME.py` or `with_NAME.mjs`; what follows a `-` in it
is the script's last argument.
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
    "langchain_nvidia": ("langchain-nvidia-ai-endpoints==1.5.0", "python3"),
    "litellm": ("litellm==1.106.2", "python3"),
    "llama_index-cohere": ("llama-index-postprocessor-cohere-rerank==0.10.0", "python3"),
    "llama_index-dashscope": ("llama-index-postprocessor-dashscope-rerank==0.6.0", "python3"),
    "llama_index-jina": ("llama-index-postprocessor-jinaai-rerank==0.6.0", "python3"),
    "llama_index-nvidia": ("llama-index-postprocessor-nvidia-rerank==0.7.0", "python3"),
    "llama_index-siliconflow": ("llama-index-postprocessor-siliconflow-rerank==0.5.0", "python3"),
    "llama_index-tei": ("llama-index-postprocessor-tei-rerank==0.6.0", "python3"),
    "llama_index-xinference": ("llama-index-postprocessor-xinference-rerank==0.5.0", "python3"),
    "mixedbread": ("mixedbread==0.54.0", "python3"),
    "rerankers": ("rerankers[api]==0.10.0", "python3"),
    "sie": ("sie-sdk==0.10.1", "python3.12"),
    "together": ("together==3.1.1", "python3"),
    "voyageai": ("voyageai==0.5.0", "python3"),
    "xinference": ("xinference-client==4.1.0", "python3"),
    "npm_ai": ("ai@6.0.325 @ai-sdk/cohere@3.0.63", "node"),
    "npm_cohere": ("cohere-ai@8.1.0", "node"),
    "npm_langchain": ("@langchain/cohere@1.0.5 @langchain/core@1.4.0", "node"),
    "npm_mixedbread": ("@mixedbread/sdk@0.78.0", "node"),
    "npm_voyageai": ("voyageai@0.4.0", "node"),
}


def main(names: list[str]) -> int:
    """Check the named clients, or all; the number of those that fail."""
    failures = 0
    with running() as url, running(needs_key=False) as open_url:
        for name in names or PACKAGES:
            packages, interpreter = PACKAGES[name]
            outcome = f"skipped, it needs {interpreter}"
            if interpreter == "python3" or _runs(interpreter):
                script, _, variant = name.partition("-")
                prepare = prepare_node if interpreter == "node" else prepare_python
                command = [*prepare(name, script), url, open_url, *filter(None, [variant])]
                failed = subprocess.run(command, check=False).returncode != 0
                failures += failed
                outcome = "FAILED" if failed else "ok"
            print(f"{packages:52} {outcome}", flush=True)  # noqa: T201
    return failures


def _runs(interpreter: str) -> bool:
    """Whether there is such an interpreter; a version manager may have a name for one that it cannot start."""
    if shutil.which(interpreter) is None:
        return False
    return subprocess.run([interpreter, "--version"], capture_output=True, check=False).returncode == 0


def prepare_python(name: str, script: str) -> list[Path]:
    """The command that runs a script in the client's environment, made where it is missing or holds another version."""
    package, python = PACKAGES[name]
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
    return [folder / "bin" / "python", HERE / f"with_{script}.py"]


def prepare_node(name: str, script: str) -> list[str | Path]:
    """The command that runs a script beside the client's npm packages: Node looks for them from where a script lies."""
    packages = PACKAGES[name][0].split()
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
