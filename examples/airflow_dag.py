"""An Airflow 3 DAG that reranks each day's candidates on a Ray cluster. Put it into Airflow's `dags` folder.

The job runs on the cluster; Airflow's worker needs only `ray[default]` and a checkout of this project. With Airflow 2,
import DAG from `airflow` and BashOperator from `airflow.operators.bash`.
"""

from datetime import datetime, timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

# A submission id can be used once, so each try has its own. All days share the score store: a pair is scored once, so
# another try, or a day with few new documents, scores only what is missing.
RERANK = """
ray job submit
    --address http://ray-head:8265
    --submission-id rerank-{{ ds }}-{{ ti.try_number }}
    --working-dir /srv/rerank
    --
    python -m jobs.run
    s3://search/candidates/{{ ds }}
    s3://search/ranked/{{ ds }}
    --scores s3://search/scores
    --top-k 50
    --max-error-rate 0.01
    --overwrite
"""

with DAG(
    dag_id="rerank",
    schedule="@daily",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=10)},
):
    BashOperator(task_id="rerank", bash_command=" ".join(RERANK.split()))
