"""Compare a device with a CPU, measure it, and write both down as JSON and as text."""

import json
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

from jobs.bench.gpu.exactness import check_batches, check_memory, check_models
from jobs.bench.gpu.speed import SHAPES, SMALL_SHAPES, measure_shape
from jobs.console import say
from rerank.engines.device.choices import pick_device

_PACKAGES = ("torch", "transformers", "sentence-transformers", "tokenizers", "pyarrow", "numpy", "pydantic")
_WIDTH = 200  # of the tables


def gpu(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for gpu.json, gpu.txt and traces.")],
    device: Annotated[str, typer.Option(help="cuda, cuda:N; cpu tries the script itself, on small models.")] = "cuda",
    rounds: Annotated[int, typer.Option(min=1, help="Number of times that each is measured.")] = 3,
) -> None:
    """Check that a GPU computes what sentence-transformers computes on a CPU, then measure speeds beside its own."""
    output.mkdir(parents=True, exist_ok=True)
    is_gpu = pick_device(device).type == "cuda"
    results: dict[str, Any] = {"machine": machine(device)}
    with TemporaryDirectory() as work:
        say("comparing scores")
        results["exactness"] = check_models(Path(work), device)
        results["batches"] = check_batches(Path(work), device)
        results["memory"] = check_memory(device) if is_gpu else []
        write(results, output)
        results["speed"] = []
        for shape in SHAPES if is_gpu else SMALL_SHAPES:
            say(f"measuring {shape.name}")
            results["speed"] += measure_shape(shape, Path(work), device, rounds=rounds, traces=output)
            write(results, output)
    failed = [row for row in results["exactness"] + results["batches"] + results["memory"] if not row["passed"]]
    typer.echo((output / "gpu.txt").read_text(encoding="utf-8"))
    if failed:
        raise SystemExit(f"{len(failed)} checks failed")


def machine(device: str) -> dict[str, Any]:
    """Return what the numbers depend on: device, driver's CUDA, and versions."""
    chosen = pick_device(device)
    name = torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else platform.processor()
    return {
        "device": name or platform.machine(),
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        **{package: _version(package) for package in _PACKAGES},
    }


def write(results: dict[str, Any], output: Path) -> None:
    """Write what is known so far as gpu.json, and as tables in gpu.txt."""
    (output / "gpu.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    with (output / "gpu.txt").open("w", encoding="utf-8") as file:
        console = Console(file=file, width=_WIDTH)
        console.print("  ".join(f"{name} {value}" for name, value in results["machine"].items()))
        for title in ("exactness", "batches", "memory", "speed"):
            if rows := results.get(title):
                console.print(_table(title, rows))


def _table(title: str, rows: Sequence[dict[str, Any]]) -> Table:
    names = dict.fromkeys(name for row in rows for name, value in row.items() if not isinstance(value, list))
    table = Table(*names, title=title)
    for row in rows:
        table.add_row(*(_cell(row.get(str(column.header))) for column in table.columns))
    return table


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.3g}"
    return "" if value is None else str(value)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"
