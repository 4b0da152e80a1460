"""The Dockerfile: its rules, its linter, and what its commands do where that costs little. `make image` builds it."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from serve.settings import parse_settings
from tests.processes import completed

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Dockerfile").read_text()
LINES = re.sub(r"\\\n", "", TEXT).splitlines()  # an instruction a line
PROJECT = ("README.md", "LICENSE", "pyproject.toml", "rerank", "jobs", "serve")


def stages() -> dict[str, list[str]]:
    """Return the instructions of each stage, with those of the stages that it is made from."""
    found: dict[str, list[str]] = {}
    for line in LINES:
        if match := re.match(r"FROM (\S+) AS (\S+)", line):
            found[match[2]] = current = list(found.get(match[1], []))
        elif found and line and not line.startswith("#"):
            current.append(" ".join(line.split()))
    return found


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_a_target_runs_without_root_and_has_the_packages_of_constraints(target: str) -> None:
    stage = stages()[target]
    assert [line for line in stage if line.startswith("USER")][-1] == "USER 1000:100"
    assert not any(line.startswith("ENTRYPOINT") for line in stage)  # `ray up` and KubeRay bring their own command
    assert f"COPY --from={target}-packages /opt/rerank /opt/rerank" in stage
    installs = [line for line in stages()[f"{target}-packages"] if "pip install" in line]
    for command in (part for line in installs for part in line.split("&&")):
        assert "--constraint constraints.txt" in command or "--no-deps /wheels/" in command


def test_all_that_is_copied_is_there_and_not_ignored() -> None:
    copied = {name for line in LINES if re.match(r"COPY (?!--from)", line) for name in line.split()[1:-1]}
    kept = set(re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    assert {name.partition("/")[0] for name in copied} == kept - {"Dockerfile"}
    assert all((ROOT / name).exists() for name in copied)


def test_the_base_image_has_a_python_that_the_package_takes() -> None:
    (minor,) = re.findall(r"^ARG PYTHON_IMAGE=python:3\.(\d+)-", TEXT, re.MULTILINE)
    assert int(minor) >= 11


def test_the_linter_finds_nothing() -> None:
    linter = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if linter is None:
        pytest.skip("needs hadolint, of the extra `dev`")
    done = completed([linter, str(ROOT / "Dockerfile")], timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("has_compiler", [True, False])
def test_the_wheel_that_it_builds_has_the_model_the_settings_and_the_kernels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_compiler: bool
) -> None:
    if not has_compiler:
        monkeypatch.setenv("CC", shutil.which("false") or "")
    for name in PROJECT:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        else:
            shutil.copy(source, tmp_path / name)
    assert any(line.startswith("RUN pip wheel --no-deps --wheel-dir /wheels . ") for line in LINES)
    command = "import setuptools.build_meta as b; print(b.build_wheel('.'))"
    done = completed([sys.executable, "-c", command], timeout=100, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    names = set(zipfile.ZipFile(tmp_path / done.stdout.splitlines()[-1]).namelist())
    assert {"rerank/models/docs-mini/model.safetensors", "serve/container.yaml", "jobs/cli.py"} <= names
    assert not any(name.startswith("tests/") for name in names)
    kernels = [name for name in names if re.fullmatch(r"rerank_kernels\..*(so|pyd)", name)]
    assert len(kernels) == (has_compiler and shutil.which("cc") is not None)


def test_its_requirements_are_those_of_the_project_and_boto3(tmp_path: Path) -> None:
    (line,) = (line for line in LINES if "requirements.txt" in line and "tomllib" in line)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    command = line.removeprefix("RUN ").replace("python -c", f"{sys.executable} -c")
    subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True, timeout=60)
    requirements = (tmp_path / "requirements.txt").read_text().splitlines()
    assert requirements[0] == "boto3" and "ray[data,serve]>=2.60,<2.64" in requirements
    pinned = {line.partition("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines()}
    names = {re.split(r"[\[<>=]", name)[0].replace("-", "_").lower() for name in requirements}
    assert names <= {name.replace("-", "_") for name in pinned}


def test_the_server_that_it_starts_asks_for_keys_and_serves_the_bundled_model() -> None:
    config = yaml.safe_load((ROOT / "serve/container.yaml").read_text())
    assert (config["http_options"]["host"], f"EXPOSE {config['http_options']['port']}" in LINES) == ("0.0.0.0", True)
    (application,) = config["applications"]
    settings = parse_settings(application["args"])
    assert [model.name for model in settings.models] == ["docs-mini"]
    assert settings.keys_file is None  # they come from RERANK_KEYS; without it the server does not start on 0.0.0.0
