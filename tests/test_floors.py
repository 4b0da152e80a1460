"""The floors of the house: an import may only point down. Read from the sources, imports inside functions included.

A room is a folder of the product, or a file that stands beside the folders. `HOUSE` names every room and its floor.
"""

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = ("rerank", "jobs", "serve")
HOUSE = {
    "rerank": [
        ["errors", "arrays"],
        ["sizes", "max_similarity"],
        ["types", "config", "paths", "ranking"],
        ["model_files"],
        ["bert"],
        ["encoding", "store", "results"],
        ["tables", "engines", "fingerprint"],
        ["isolation", "batching", "prepare"],
        ["reranker"],
        ["actor", "cascade"],
    ],
    "jobs": [
        ["console", "exits"],
        ["formats", "store", "inspect", "config_file"],
        ["input"],
        ["pipeline"],
        ["evaluation", "run", "plan"],
        ["evaluate", "tune", "train"],
        ["report"],
        ["demo", "compare", "bench"],
        ["cli"],
    ],
    "serve": [
        ["errors", "cluster"],
        ["keys", "models", "telemetry", "wires", "deployments"],
        ["shadow"],
        ["http", "cascade"],
        ["settings"],
        ["app"],
    ],
}
FLOOR = {
    f"{top}.{room}": floor for top, floors in HOUSE.items() for floor, rooms in enumerate(floors) for room in rooms
}
MOST_FILES = 14  # side by side in one folder
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


def room_of(module: str) -> str:
    return ".".join(module.split(".")[:2])


def packages(module: str) -> set[str]:
    return {name.partition(".")[0] for name in imports(module)}


def allowed_torch(module: str) -> bool:
    return module.startswith(
        (
            "rerank.engines.",
            "jobs.train",
            "jobs.bench.rivals",
            "jobs.bench.gpu",
            "jobs.bench.server.rivals",
        )
    )


@pytest.mark.parametrize("module", SOURCES)
def test_imports_point_down(module):
    floor = module.partition(".")[0]
    above = {"rerank": {"ray", "jobs", "serve", *HTTP}, "jobs": {"serve"}, "serve": {"jobs"}}[floor]
    assert not packages(module) & above
    assert allowed_torch(module) or not packages(module) & TORCH


@pytest.mark.parametrize("module", [module for module in SOURCES if "." in module])
def test_rooms_import_rooms_below(module):
    here = room_of(module)
    for name in imports(module):
        there = room_of(name)
        if there in FLOOR and there != here and there.partition(".")[0] == here.partition(".")[0]:
            assert FLOOR[there] < FLOOR[here], f"{module} imports {name}"


def test_every_room_has_a_floor():
    assert {room_of(module) for module in SOURCES if "." in module} == FLOOR.keys()


def test_no_folder_holds_too_many_files():
    folders = Counter(path.parent for path in SOURCES.values())
    assert not {str(folder): count for folder, count in folders.items() if count > MOST_FILES}


def test_no_module_imports_itself_by_a_detour():
    graph = {module: set(imports(module)) & SOURCES.keys() for module in SOURCES}
    list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


def test_processes_import_only_what_they_use():
    """Each process of a job imports these modules anew; the forbidden ones take a quarter of a second to three."""
    steps = {
        "rerank.actor, rerank.tables.published": {"torch", "transformers", "ray", "pandas"},
        "jobs.pipeline.counts": {"torch", "transformers", "ray.data", "pandas"},
        "jobs.cli": {"torch", "transformers", "scipy", "aiohttp", "ray.data"},
        "rerank; jobs.pipeline.score_lookup.resolve(rerank.ScorerConfig(device='cpu'))": {"torch", "transformers"},
        "rerank; rerank.Reranker().rank('query', ['text'])": {"transformers", "torch._dynamo", "scipy", "sympy"},
    }
    code = "import sys\n"
    for modules, names in steps.items():
        code += f"import {modules}\nprint(*sorted({names} & sys.modules.keys()))\n"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [""] * len(steps)


def test_the_gpu_script_needs_no_ray():
    """It runs on machines that have none: only imports inside functions, which it does not call, may need it."""
    seen, waiting = set(), ["jobs.bench.gpu.command"]
    while waiting:
        module = waiting.pop()
        tree = ast.parse(SOURCES[module].read_text())
        for node in tree.body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names]
                whole = names if isinstance(node, ast.Import) else [node.module, *(f"{node.module}.{n}" for n in names)]
                assert not any(name.split(".")[0] == "ray" for name in whole), module
                waiting += [name for name in whole if name in SOURCES and name not in seen]
        seen.add(module)
    assert "jobs.bench.scoring" in seen and "rerank.reranker" in seen
