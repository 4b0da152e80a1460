"""What is given to KubeRay is what its custom resource definitions accept."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster_files.kuberay import errors

ROOT = Path(__file__).parents[2]
FILES = ["jobs/rayjob.yaml", "serve/rayservice.yaml"]


def resource(file: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / file).read_text())
    return content


@pytest.mark.parametrize("file", FILES)
def test_the_file_follows_the_schema(file: str) -> None:
    assert errors(resource(file)) == []


def test_the_job_can_also_run_once() -> None:
    nightly = resource("jobs/rayjob.yaml")
    once = {**nightly, "kind": "RayJob", "spec": nightly["spec"]["jobTemplate"]}
    assert errors(once) == []


WRONG = [
    ("jobs/rayjob.yaml", ["spec", "schedul"], "x", "spec: Additional properties are not allowed ('schedul'"),
    ("jobs/rayjob.yaml", ["spec", "jobTemplate", "backoffLimit"], "two", "'two' is not of type 'integer'"),
    (
        "jobs/rayjob.yaml",
        ["spec", "jobTemplate", "rayClusterSpec", "workerGroupSpecs", 0, "minReplica"],
        1,
        "('minReplica' was unexpected)",
    ),
    (
        "serve/rayservice.yaml",
        ["spec", "rayClusterConfig", "headGroupSpec", "template", "spec", "containers", 0, "imagePullPolice"],
        "Always",
        "('imagePullPolice' was unexpected)",
    ),
    ("serve/rayservice.yaml", ["spec", "rayClusterConfig", "authOptions", "mode"], "key", "'key' is not one of"),
]


@pytest.mark.parametrize(("file", "path", "value", "message"), WRONG)
def test_a_field_that_is_misspelt_or_has_a_wrong_value_is_refused(
    file: str, path: list[Any], value: object, message: str
) -> None:
    wrong = deepcopy(resource(file))
    place: Any = wrong
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    messages = errors(wrong)  # two where head and workers share a template
    assert messages and all(message in line for line in messages)
