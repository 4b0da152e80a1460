"""The schemas of KubeRay's custom resources: read from its CRD files, and refusing what Kubernetes would.

`python -m tests.cluster_files.kuberay CRD.yaml …` writes kuberay_1_7.json from the files in KubeRay's
helm-chart/kuberay-operator/crds (version 1.7.0, Apache License 2.0, https://github.com/ray-project/kuberay).
"""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

SCHEMAS = Path(__file__).with_name("kuberay_1_7.json")
_KEPT = {"type", "properties", "items", "enum", "required", "pattern", "minimum", "maximum", "additionalProperties"}
_SHARED_SIZE = 120  # characters of JSON from which on an object that occurs twice is written once


def errors(resource: dict[str, Any]) -> list[str]:
    """Return what Kubernetes would refuse in a resource, as `path: message`."""
    schema = json.loads(SCHEMAS.read_text())
    kind = schema["kinds"][f"{resource['apiVersion']} {resource['kind']}"]
    problems = Draft202012Validator({"$defs": schema["$defs"], **kind}).iter_errors(resource)
    return sorted(f"{'.'.join(map(str, problem.absolute_path))}: {problem.message}" for problem in problems)


def schema_of(node: Any) -> Any:
    """Return a JSON schema for that of a CRD, without prose. It refuses unknown fields, as `kubectl apply` does."""
    if node.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    schema = {name: value for name, value in node.items() if name in _KEPT}
    if "properties" in schema:
        schema["properties"] = {name: schema_of(value) for name, value in schema["properties"].items()}
        if not node.get("x-kubernetes-preserve-unknown-fields"):
            schema["additionalProperties"] = False
    if "items" in schema:
        schema["items"] = schema_of(schema["items"])
    if isinstance(schema.get("additionalProperties"), dict):
        schema["additionalProperties"] = schema_of(schema["additionalProperties"])
    return {"anyOf": [schema, {"type": "null"}]} if node.get("nullable") else schema


def write(paths: list[str]) -> None:
    """Write the schemas of version v1 in these CRD files to SCHEMAS. An object that occurs twice is written once."""
    kinds = {}
    for path in paths:
        spec = yaml.load(Path(path).read_text(), Loader=yaml.CSafeLoader)["spec"]
        (version,) = (version for version in spec["versions"] if version["name"] == "v1")
        schema = schema_of(version["schema"]["openAPIV3Schema"])
        schema["properties"]["metadata"] = {"type": "object"}
        kinds[f"{spec['group']}/v1 {spec['names']['kind']}"] = schema
    counts = Counter(_texts(kinds))
    names: dict[str, str] = {}
    definitions: dict[str, Any] = {}

    def shared(node: Any) -> Any:
        if isinstance(node, list):
            return [shared(value) for value in node]
        if not isinstance(node, dict):
            return node
        text = json.dumps(node, sort_keys=True)
        inner = {name: shared(value) for name, value in node.items()}
        if counts[text] < 2 or len(text) < _SHARED_SIZE or "type" not in node:
            return inner
        if text not in names:
            names[text] = f"d{len(names)}"
            definitions[names[text]] = inner
        return {"$ref": f"#/$defs/{names[text]}"}

    parts = {"kinds": shared(kinds), "$defs": definitions}
    lines = [
        f'"{part}": {{\n' + ",\n".join(f'"{name}": {json.dumps(value)}' for name, value in content.items()) + "\n}"
        for part, content in parts.items()
    ]
    SCHEMAS.write_text(
        '{"$comment": "Extracted from the CRDs of KubeRay 1.7.0, Apache License 2.0, by kuberay.py",\n'
        + ",\n".join(lines)
        + "\n}\n"
    )


def _texts(node: Any) -> list[str]:
    """Return the JSON of every object in the tree."""
    values = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    inner = [text for value in values for text in _texts(value)]
    return [*inner, json.dumps(node, sort_keys=True)] if isinstance(node, dict) else inner


if __name__ == "__main__":
    write(sys.argv[1:])
