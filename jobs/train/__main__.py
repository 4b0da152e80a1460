"""`python -m jobs.train --out DIR`: collect a corpus, make lists, train the student, and write its model folder."""

import json
from pathlib import Path
from typing import Annotated

import torch
import typer
from tokenizers import Tokenizer
from transformers import BertForSequenceClassification

from jobs.train.corpus import Passage
from jobs.train.distil import Schedule, train
from jobs.train.evaluate import Probe, make_probe, measure_baselines, measure_student
from jobs.train.pairs import TrainingList, full_text, make_lists, make_questions
from jobs.train.student import build_student, count_pieces, load_student, prune_vocabulary, save_student
from jobs.train.teacher import embed, load_teacher
from jobs.train.work import HELD_OUT, load_corpus, load_vectors

VOCABULARY = 20_480  # pieces; the folder stays under 31 MB
LAYERS = (0, 1, 3, 5)  # of the teacher's six
PASSAGE_TOKENS, QUERY_TOKENS = 64, 32  # what the teacher reads; the student reads on
PROBE_QUESTIONS, PROBE_DEPTH = 200, 50


def report(name: str, **values: object) -> None:
    """One JSON line on stdout."""
    print(json.dumps({"report": name, **values}), flush=True)  # noqa: T201


def training_lists(corpus: list[Passage], work: Path, seed: int) -> list[TrainingList]:
    """A list for every passage that is not held out."""
    vectors = load_vectors(work / "passages.npy", [full_text(p) for p in corpus], max_length=PASSAGE_TOKENS)
    rows = [row for row, passage in enumerate(corpus) if passage.source not in HELD_OUT]
    seen = [corpus[row] for row in rows]
    questions = make_questions(seen, range(len(seen)), seed)
    queries = [asked.query for asked in questions]
    asked_vectors = load_vectors(work / f"questions-{seed}.npy", queries, max_length=QUERY_TOKENS)
    return make_lists(seen, vectors[rows], questions, asked_vectors, seed)


def held_out_probe(corpus: list[Passage], seed: int) -> Probe:
    """Questions about the held-out packages; reports how BM25 and the bi-encoder do on them."""
    rows = [row for row, passage in enumerate(corpus) if passage.source in HELD_OUT]
    probe = make_probe(make_questions(corpus, rows, seed), PROBE_QUESTIONS, PROBE_DEPTH)
    model, tokenizer = load_teacher()
    vectors = embed(model, tokenizer, probe.texts, max_length=PASSAGE_TOKENS)
    queries = embed(model, tokenizer, probe.queries, max_length=QUERY_TOKENS)
    report("held-out packages", **measure_baselines(probe, vectors, queries))
    return probe


def new_student(corpus: list[Passage], seed: int) -> tuple[BertForSequenceClassification, Tokenizer]:
    """An untrained student with a vocabulary pruned for the corpus."""
    teacher, tokenizer = load_teacher()
    counts = count_pieces(tokenizer, [full_text(passage) for passage in corpus])
    pruned, old_ids = prune_vocabulary(tokenizer, VOCABULARY, counts)
    return build_student(teacher, old_ids, LAYERS, seed), pruned


def main(
    out: Annotated[Path, typer.Option(help="The model folder to write.")],
    work: Annotated[Path, typer.Option(help="Keeps the corpus and its embeddings for a rerun.")],
    packages: Annotated[list[Path], typer.Option(help="Folders of installed Python packages.")],
    man: Annotated[Path | None, typer.Option(help="A folder with unpacked manual pages.")] = None,
    descriptions: Annotated[Path | None, typer.Option(help="A Debian `Translation-en` file, unpacked.")] = None,
    tokens: Annotated[int, typer.Option(help="Budget: tokens read in training.")] = 6_000_000,
    minutes: Annotated[float, typer.Option(help="Budget: minutes of training.")] = 60.0,
    start: Annotated[
        Path | None, typer.Option(help="A student's folder to go on from; the teacher if not given.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seeds the corpus, the lists, the weights and their order.")] = 0,
) -> None:
    """Train the bundled cross-encoder; measures on stdout, progress on stderr."""
    torch.set_num_threads(1)  # inside an operation; the teacher and the student have threads of their own
    work.mkdir(parents=True, exist_ok=True)
    corpus = load_corpus(work, packages, man, descriptions, seed)
    lists = training_lists(corpus, work, seed)
    model, tokenizer = load_student(start) if start else new_student(corpus, seed)
    report("corpus", passages=len(corpus), lists=len(lists), parameters=sum(w.numel() for w in model.parameters()))

    def keep() -> None:
        save_student(model, tokenizer, out)

    order = seed + 1 if start else seed  # who goes on meets the lists in another order
    train(model, tokenizer, lists, Schedule(tokens, minutes), seed=order, checkpoint=keep)
    save_student(model, tokenizer, out)
    probe = held_out_probe(corpus, seed)
    report("student", **measure_student(model, tokenizer, probe, max_length=256))


if __name__ == "__main__":
    typer.run(main)
