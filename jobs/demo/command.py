"""`rerank demo`: rerank answers to questions about Python's own documentation, and compare before and after."""

import platform
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping
from os.path import relpath
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from jobs.console import plural
from jobs.demo.corpus import write_corpus
from jobs.demo.first_stage import load_qrels, load_questions, retrieve
from jobs.evaluate import MEASURES
from jobs.evaluation.measures import Judge, Qrels, Ranking, measure, qrels_of, ranking_of
from jobs.formats.qrels import write_qrels
from jobs.formats.text import write_text
from jobs.pipeline.job import RunConfig, run
from jobs.report.findings import find
from jobs.report.page import render
from rerank.config import ScorerConfig
from rerank.paths import locate

# A docstring begins with what a thing does; 96 tokens of it keep the demo within minutes on two cores.
_MAX_LENGTH = 96
_EXAMPLES = 3
_MEASURES = ("nDCG@10", "RR@10", "Success@10")
_CANDIDATES, _RANKED, _QRELS, _PAGE = "candidates.parquet", "ranked", "qrels.tsv", "report.html"


def demo(folder: Path, *, depth: int, verbose: bool) -> dict[str, Any]:
    """Build the corpus and the candidate sets in `folder`, rerank them, and print what happened.

    Writes the judgements and a report page too. Returns the summary of the run.
    """
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    folder.mkdir(parents=True, exist_ok=True)
    corpus = folder / f"corpus-python-{platform.python_version()}.parquet"
    candidates, ranked = folder / _CANDIDATES, folder / _RANKED
    kept = corpus.exists()
    if not kept:
        write_corpus(corpus)
    documents = pq.read_table(corpus)
    console.print(
        f"1. {documents.num_rows:,} documents: the docstrings of Python {platform.python_version()}'s standard library"
        + (" (from the last demo)" if kept else "")
    )
    sets = retrieve(documents, load_questions(), depth=depth)
    pq.write_table(sets, candidates)
    pairs = sum(len(row) for row in sets.column("candidates"))
    console.print(
        f"2. {sets.num_rows} questions with BM25's {depth} best documents each: {plural(pairs, 'pair')} in {candidates}"
    )
    console.print(f"3. {_program()} run {candidates} {ranked} --max-length {_MAX_LENGTH} --overwrite")
    summary = run(
        RunConfig(
            source=str(candidates),
            output=str(ranked),
            scorer=ScorerConfig(max_length=_MAX_LENGTH),
            overwrite=True,
            verbose=verbose,
        )
    )
    show_results(Console(highlight=False, soft_wrap=True), folder, summary)
    return summary


def show_results(console: Console, folder: Path, summary: Mapping[str, Any]) -> None:
    """Print what reranking changed and how to go on; write the judgements and the report page to `folder`."""
    sets, ranked = pq.read_table(folder / _CANDIDATES), pq.read_table(folder / _RANKED)
    qrels = qrels_of(_rows(load_qrels(), "query_id", "doc_id", "relevance"))
    write_qrels(str(folder / _QRELS), qrels)
    page = render(find(str(folder / _RANKED), Judge(qrels, MEASURES)))
    write_text(locate(str(folder / _PAGE)), page)
    before = ranking_of(_rows(ranked, "query_id", "doc_id", "source_rank"))
    after = ranking_of(_rows(ranked, "query_id", "doc_id", "rank"))
    _print_measures(console, qrels, before, after)
    _print_examples(console, dict(_rows(sets, "query_id", "query")), qrels, before, after)
    scored, hits = summary["pairs_scored"], summary["store_hits"]
    console.print(
        f"\n{plural(summary['pairs_ranked'], 'pair')} in {summary['seconds']['total']:.0f} s: {scored:,} scored"
        + (f", {hits:,} found in the score store (a pair is never scored twice)" if hits else "")
        + f"\nThe ranked Parquet files are in {folder / _RANKED}; _manifest.json there says how they were made."
    )
    console.print(_next_steps(folder))


def _next_steps(folder: Path) -> str:
    """Return the files to open and the commands to try, which work as they are printed."""
    judged = shlex.join([str(folder / _RANKED), "--qrels", str(folder / _QRELS)])
    steps = {
        f"evaluate {judged}": "more measures, with confidence intervals",
        f"tune {judged}": "how many candidates are worth reranking",
        "run IN.parquet OUT": "your own candidates: columns query_id, query, doc_id, text",
    }
    longest, program = max(map(len, steps)), _program()
    return (
        f"\nOpen {folder / _PAGE} in a browser: it shows whether reranking helped, for which questions, at what cost."
        "\nGo on with:\n"
    ) + "\n".join(f"  {program} {step:<{longest}}  # {purpose}" for step, purpose in steps.items())


def _program() -> str:
    """Return how to call this `rerank` from a shell: by its name if the shell finds it, else by its path."""
    script = Path(sys.executable).with_name("rerank")
    found = shutil.which("rerank")
    if not script.exists() or (found is not None and script.samefile(found)):
        return "rerank"
    return shlex.quote(relpath(script))


def _print_measures(console: Console, qrels: Qrels, before: Ranking, after: Ranking) -> None:
    table = Table("", "BM25", "reranked", "difference", title="\nDoes it help?", title_justify="left")
    left, right = measure(qrels, before, _MEASURES), measure(qrels, after, _MEASURES)
    for name in _MEASURES:
        table.add_row(name, f"{left[name]:.3f}", f"{right[name]:.3f}", f"{right[name] - left[name]:+.3f}")
    console.print(table)


def _print_examples(console: Console, queries: dict[str, str], qrels: Qrels, before: Ranking, after: Ranking) -> None:
    """Print the questions with the largest gains, and the one with the largest loss, so that the demo hides nothing."""
    moves = []
    for query_id, judged in qrels.items():
        answer = max(judged, key=lambda doc_id: judged[doc_id])
        if answer in before.get(query_id, ()):
            moves.append((before[query_id].index(answer) + 1, after[query_id].index(answer) + 1, query_id, answer))
    climb: Callable[[tuple[int, int, str, str]], float] = lambda move: 1 / move[1] - 1 / move[0]  # noqa: E731
    moves.sort(key=climb, reverse=True)
    title = "\nThe rank of the right answer: two questions that gained, one that lost"
    table = Table("question", "answer", "BM25", "reranked", title=title, title_justify="left")
    for was, now, query_id, answer in [*moves[: _EXAMPLES - 1], *moves[-1:]]:
        table.add_row(queries[query_id], answer, str(was), str(now))
    console.print(table)


def _rows(table: pa.Table, *columns: str) -> list[tuple[Any, ...]]:
    return list(zip(*(table.column(name).to_pylist() for name in columns), strict=True))
