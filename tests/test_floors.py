"""The floors of the house: an import may only point down. Read from the sources, imports inside functions included."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = ("rerank", "jobs", "serve")
SOURCES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for floor in FLOORS
    for path in sorted((ROOT / floor).rglob("*.py"))
}
HTTP = {"fastapi", "starlette", "uvicorn", "httpx", "requests", "aiohttp"}
TORCH = {"torch", "sentence_transformers"}


def imports(module: str) -> Iterator[str]:
    """What a module imports: `from a import b` is a.b where that is a module of ours, else a."""
    for node in ast.walk(ast.parse(SOURCES[module].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in SOURCES else str(node.module)


def packages(module: str) -> set[str]:
    return {name.partition(".")[0] for name in imports(module)}


def allowed_torch(module: str) -> bool:
    return module.startswith(("rerank.engines.", "jobs.train", "jobs.bench.rivals"))


@pytest.mark.parametrize("module", SOURCES)
def test_imports_point_down(module):
    floor = module.partition(".")[0]
    above = {"rerank": {"ray", "jobs", "serve", *HTTP}, "jobs": {"serve"}, "serve": {"jobs"}}[floor]
    assert not packages(module) & above
    assert allowed_torch(module) or not packages(module) & TORCH


def test_no_module_imports_itself_by_a_detour():
    graph = {module: set(imports(module)) & SOURCES.keys() for module in SOURCES}
    list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


def test_the_package_is_imported_without_torch_and_ray():
    code = "import sys, rerank, rerank.actor; print(*sorted({'torch', 'transformers', 'ray'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
