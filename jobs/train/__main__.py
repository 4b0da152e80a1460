"""`python -m jobs.train --out DIR`: collect a corpus, make lists, train the student, and write its model folder."""

import json
import random
from pathlib import Path
from typing import Annotated

import torch
import typer
from tokenizers import Tokenizer
from transformers import BertForSequenceClassification

from jobs.train.corpus import Passage
from jobs.train.distil import Schedule, encode, train
from jobs.train.evaluate import Probe, make_probe, measure_baselines, measure_student
from jobs.train.pairs import COSINE_SCALE, Lesson, full_text, make_lists, make_questions, make_views
from jobs.train.splice import splice
from jobs.train.student import build_student, count_pieces, prune_vocabulary, replace_words, save_student
from jobs.train.teacher import embed, load_teacher
from jobs.train.work import HELD_OUT, load_corpus, load_vectors

VOCABULARY = 17_000  # pieces; the folder stays under 32 MB
LAYERS = (0, 2, 4, 5)  # of the teacher's six
SHORT, LONG, LONG_PASSAGES = 48, 128, 8_000  # tokens of a document; how many passages are read at length
QUERY_TOKENS = 32
PROBE_QUESTIONS, PROBE_DEPTH = 200, 50
CALIBRATION = 16  # batches of 16 pairs that are looked at before the weights are spliced


def report(name: str, **values: object) -> None:
    """One JSON line on stdout."""
    print(json.dumps({"report": name, **values}), flush=True)  # noqa: T201


def make_lesson(passages: list[Passage], work: Path, tokens: int, seed: int) -> Lesson:
    """A list for every passage, of documents cut at `tokens`; the teacher reads no more of them than the student."""
    questions = make_questions(passages, range(len(passages)), seed)
    views = make_views(passages, questions, seed)
    queries = [asked.query for asked in questions]
    name = f"{seed}-{tokens}-{len(passages)}.npy"
    query_vectors = load_vectors(work / f"questions-{name}", queries, max_length=QUERY_TOKENS)
    vectors = load_vectors(work / f"views-{name}", views, max_length=tokens)
    return Lesson(make_lists(questions, query_vectors, views, vectors, seed), query_vectors, vectors, tokens + 16)


def held_out_probe(corpus: list[Passage], seed: int) -> Probe:
    """Questions about the held-out packages; reports how BM25 and the bi-encoder do on them."""
    rows = [row for row, passage in enumerate(corpus) if passage.source in HELD_OUT]
    probe = make_probe(make_questions(corpus, rows, seed), PROBE_QUESTIONS, PROBE_DEPTH)
    model, tokenizer = load_teacher()
    vectors = embed(model, tokenizer, probe.texts, max_length=LONG)
    queries = embed(model, tokenizer, probe.queries, max_length=QUERY_TOKENS)
    report("held-out packages", **measure_baselines(probe, vectors, queries))
    return probe


def make_student(
    corpus: list[Passage], lesson: Lesson, start: Path | None, seed: int
) -> tuple[BertForSequenceClassification, Tokenizer]:
    """The student in `start`, or one that begins as the teacher's cosine; its vocabulary is pruned for the corpus."""
    teacher, tokenizer = load_teacher()
    counts = count_pieces(tokenizer, [full_text(passage) for passage in corpus])
    pruned, old_ids = prune_vocabulary(tokenizer, VOCABULARY, counts)
    if start:
        student = BertForSequenceClassification.from_pretrained(start, dtype=torch.float32)
        replace_words(student, teacher, old_ids)
        return student, pruned
    student = build_student(teacher, old_ids, LAYERS, seed).eval()
    examples = [(example.query, example.documents[row % 5]) for row, example in enumerate(lesson.lists[::50])]
    encoded = encode(pruned, examples[: 16 * CALIBRATION], max_length=lesson.cut, chunk=16)
    batches = [(ids, segments, mask) for _, ids, segments, mask in encoded]
    splice(student, batches, lesson.documents, COSINE_SCALE)
    return student, pruned


def main(
    out: Annotated[Path, typer.Option(help="The model folder to write.")],
    work: Annotated[Path, typer.Option(help="Keeps the corpus and its embeddings for a rerun.")],
    packages: Annotated[list[Path], typer.Option(help="Folders of installed Python packages.")],
    man: Annotated[Path | None, typer.Option(help="A folder with unpacked manual pages.")] = None,
    descriptions: Annotated[Path | None, typer.Option(help="A Debian `Translation-en` file, unpacked.")] = None,
    tokens: Annotated[int, typer.Option(help="Budget: tokens read in training.")] = 6_000_000,
    minutes: Annotated[float, typer.Option(help="Budget: minutes of training.")] = 60.0,
    short: Annotated[float, typer.Option(help="Share of the budget for short documents, which come first.")] = 0.75,
    start: Annotated[
        Path | None, typer.Option(help="A student's folder to go on from; the teacher if not given.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seeds the corpus, the lists, the weights and their order.")] = 0,
) -> None:
    """Train the bundled cross-encoder; measures on stdout, progress on stderr."""
    torch.set_num_threads(1)  # inside an operation; the teacher and the student have threads of their own
    work.mkdir(parents=True, exist_ok=True)
    corpus = load_corpus(work, packages, man, descriptions, seed)
    seen = [passage for passage in corpus if passage.source not in HELD_OUT]
    some = random.Random(f"long {seed}").sample(seen, min(LONG_PASSAGES, len(seen)))
    lessons = [make_lesson(seen, work, SHORT, seed), make_lesson(some, work, LONG, seed)]
    model, tokenizer = make_student(corpus, lessons[0], start, seed)
    lists = [len(lesson.lists) for lesson in lessons]
    report("corpus", passages=len(corpus), lists=lists, parameters=sum(w.numel() for w in model.parameters()))

    def keep() -> None:
        save_student(model, tokenizer, out)

    order = seed + 1 if start else seed  # who goes on meets the lists in another order
    train(model, tokenizer, lessons, Schedule(tokens, minutes, short), seed=order, checkpoint=keep)
    save_student(model, tokenizer, out)
    probe = held_out_probe(corpus, seed)
    report("student", **measure_student(model, tokenizer, probe, max_length=256))


if __name__ == "__main__":
    typer.run(main)
