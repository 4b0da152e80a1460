"""The DAG, loaded with a stand-in for Airflow, and its command, parsed by the two commands that it calls."""

import sys
from datetime import datetime
from runpy import run_path
from shlex import split
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import jinja2
import pytest
import typer
from ray.dashboard.modules.job.cli import submit

from jobs.run import run
from tests.examples.conftest import EXAMPLES


class RecordedDag:
    """Records its options, and the operators made inside its `with` block."""

    current: ClassVar["RecordedDag"]

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.operators: list[dict[str, Any]] = []

    def __enter__(self) -> None:
        RecordedDag.current = self

    def __exit__(self, *_: object) -> None:
        pass


def record_operator(**options: Any) -> None:
    RecordedDag.current.operators.append(options)


@pytest.fixture
def dag(monkeypatch):
    stand_ins = {
        "airflow.sdk": ("DAG", RecordedDag),
        "airflow.providers.standard.operators.bash": ("BashOperator", record_operator),
    }
    for path, (name, stand_in) in stand_ins.items():
        module = ModuleType(path)
        setattr(module, name, stand_in)
        monkeypatch.setitem(sys.modules, path, module)
    run_path(str(EXAMPLES / "airflow_dag.py"))
    return RecordedDag.current


def words_of(dag, *, day="2026-11-29", try_number=1):
    """The words of the operator's command on a day, rendered as Airflow renders it."""
    (operator,) = dag.operators
    template = jinja2.Template(operator["bash_command"], undefined=jinja2.StrictUndefined)
    return split(template.render(ds=day, ti=SimpleNamespace(try_number=try_number)))


def job_options(words):
    """What `jobs.run` understands of its arguments; raises for an option that it lacks."""
    app = typer.Typer()
    app.command()(run)
    return typer.main.get_command(app).make_context("jobs.run", list(words)).params


def test_a_job_is_submitted_for_the_day(dag):
    words = words_of(dag)
    assert words[:3] == ["ray", "job", "submit"]
    options = submit.make_context("submit", words[3:]).params
    assert options["submission_id"] == "rerank-2026-11-29-1"
    assert options["address"] == "http://ray-head:8265"
    assert options["entrypoint"][:3] == ("python", "-m", "jobs.run")


def test_every_option_is_one_of_the_job(dag):
    words = words_of(dag)
    options = job_options(words[words.index("jobs.run") + 1 :])
    assert options["source"] == "s3://search/candidates/2026-11-29"
    assert options["output"] == "s3://search/ranked/2026-11-29"
    assert (options["scores"], options["overwrite"]) == ("s3://search/scores", True)
    with pytest.raises(Exception, match="No such option: --score-store"):
        job_options(["IN", "OUT", "--score-store", "x"])


def test_days_and_tries_share_only_the_scores(dag):
    first, again, next_day = words_of(dag), words_of(dag, try_number=2), words_of(dag, day="2026-11-30")
    assert [new for old, new in zip(first, again, strict=True) if old != new] == ["rerank-2026-11-29-2"]
    assert [new for old, new in zip(first, next_day, strict=True) if old != new] == [
        "rerank-2026-11-30-1",
        "s3://search/candidates/2026-11-30",
        "s3://search/ranked/2026-11-30",
    ]


def test_it_runs_once_a_day_and_never_twice_at_once(dag):
    assert (dag.options["schedule"], dag.options["max_active_runs"], dag.options["catchup"]) == ("@daily", 1, False)
    assert dag.options["start_date"] < datetime.now()
