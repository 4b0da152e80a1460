"""The dashboard shows what the code exports, in panels that Grafana can place."""

import json
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from ops.panels import PANELS, Panel, draw
from tests.ops.exported import check_expression, exported

ROOT = Path(__file__).parents[2]
DASHBOARD = json.loads((ROOT / "ops/grafana.json").read_text())
UNSEEN = {"ray_rerank_keys_file_errors", "ray_rerank_documents_total", "ray_rerank_tokens_total"}
"""What has an alert of its own, or says the same as a series that is shown."""


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.title)
def test_a_panel_uses_what_is_exported(panel: Panel) -> None:
    for expression, _ in panel.queries:
        check_expression(expression)


def test_all_that_is_exported_is_shown() -> None:
    shown = " ".join(expression for panel in PANELS for expression, _ in panel.queries)
    series = {name for name in exported() if not name.endswith("_count")}
    assert {name for name in series if name not in shown} == UNSEEN


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells) and max(x for x, _ in cells) == 23


def test_each_query_asks_the_chosen_prometheus() -> None:
    names = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    assert names == {"datasource", "model"}
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            assert target["datasource"] == panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert "$" not in target["expr"].replace("$__rate_interval", "").replace("$model", "")


def test_a_picture_shows_all_panels_also_those_without_data() -> None:
    series = [{"a": [(0.0, 1.0), (10.0, 3.0)], "<b>": [(10.0, 2.0)]}, *({} for _ in PANELS[1:])]
    picture = ElementTree.fromstring(draw(list(zip(PANELS, series, strict=True))))
    texts = [text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert {panel.title for panel in PANELS} <= set(texts) and {"a", "<b>"} <= set(texts)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_reads_every_query(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": expression}
        for number, (expression, _) in enumerate(query for panel in PANELS for query in panel.queries)
    ]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", "rules.yaml"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
