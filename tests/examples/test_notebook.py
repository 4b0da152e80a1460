"""The notebook, run from its first cell to its last in a kernel of its own."""

from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]


def test_the_notebook_runs(tmp_path, monkeypatch):
    for variable in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    notebook = nbformat.read(ROOT / "examples" / "notebook.ipynb", as_version=4)
    NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(ROOT)}}).execute()
    outputs = [(cell["id"], output) for cell in notebook.cells for output in cell.get("outputs", [])]
    shown = {name: output["data"] for name, output in outputs if output["output_type"] == "execute_result"}
    assert shown.keys() == {"rank", "moved", "rank-many", "pivot"}
    assert all("<table" in data["text/html"] for data in shown.values())
    assert "Create a backup" in shown["rank"]["text/plain"].splitlines()[2]
    assert "linear-gradient" in shown["moved"]["text/html"]
