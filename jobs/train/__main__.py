"""`python -m jobs.train -o DIR`: collect a corpus, make training lists, train the student, and save it."""

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
LAYERS = (0, 2, 4, 5)  # kept of the teacher's six
SHORT, LONG, LONG_PASSAGES = 48, 128, 8_000  # tokens per document in each lesson; passages of the long lesson
QUERY_TOKENS = 32
PROBE_QUESTIONS, PROBE_DEPTH = 200, 50
CALIBRATION = 16  # batches of 16 pairs that are observed before the weights are spliced


def report(name: str, **values: object) -> None:
    """Print one line of JSON on stdout."""
    print(json.dumps({"report": name, **values}), flush=True)  # noqa: T201


def make_lesson(passages: list[Passage], work: Path, tokens: int, seed: int) -> Lesson:
    """Return a training list for every passage; teacher and student read at most `tokens` tokens of each document."""
    questions = make_questions(passages, range(len(passages)), seed)
    views = make_views(passages, questions, seed)
    queries = [question.query for question in questions]
    name = f"{seed}-{tokens}-{len(passages)}.npy"
    query_vectors = load_vectors(work / f"questions-{name}", queries, max_length=QUERY_TOKENS)
    vectors = load_vectors(work / f"views-{name}", views, max_length=tokens)
    return Lesson(make_lists(questions, query_vectors, views, vectors, seed), query_vectors, vectors, tokens + 16)


def held_out_probe(corpus: list[Passage], seed: int) -> Probe:
    """Return questions about the held-out packages, after reporting the measures of BM25 and the bi-encoder on them."""
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
    """Return the student in `start`, or one that initially scores by the teacher's cosine; prune its vocabulary."""
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
    output: Annotated[Path, typer.Option("--output", "-o", "--out", help="The model folder to write.")],
    work: Annotated[Path, typer.Option(help="Folder that keeps the corpus and its embeddings for later runs.")],
    packages: Annotated[list[Path], typer.Option(help="Folders of installed Python packages.")],
    man: Annotated[Path | None, typer.Option(help="Folder of manual pages.")] = None,
    descriptions: Annotated[Path | None, typer.Option(help="Uncompressed Debian `Translation-en` file.")] = None,
    tokens: Annotated[int, typer.Option(help="Token budget of training.")] = 6_000_000,
    minutes: Annotated[float, typer.Option(help="Time budget of training, in minutes.")] = 60.0,
    short: Annotated[float, typer.Option(help="Share of the budget for short documents, which come first.")] = 0.75,
    start: Annotated[
        Path | None, typer.Option(help="Student folder to continue from; the teacher if left out.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed of corpus, lists, their order, and weights.")] = 0,
) -> None:
    """Train the bundled cross-encoder. Results are printed on stdout, progress on stderr."""
    torch.set_num_threads(1)  # per operation: teacher and student run several batches in parallel threads
    work.mkdir(parents=True, exist_ok=True)
    corpus = load_corpus(work, packages, man, descriptions, seed)
    trained = [passage for passage in corpus if passage.source not in HELD_OUT]
    long_passages = random.Random(f"long {seed}").sample(trained, min(LONG_PASSAGES, len(trained)))
    lessons = [make_lesson(trained, work, SHORT, seed), make_lesson(long_passages, work, LONG, seed)]
    model, tokenizer = make_student(corpus, lessons[0], start, seed)
    lists = [len(lesson.lists) for lesson in lessons]
    report("corpus", passages=len(corpus), lists=lists, parameters=sum(w.numel() for w in model.parameters()))

    def keep() -> None:
        save_student(model, tokenizer, output)

    order = seed + 1 if start else seed  # a continued run reads the lists in another order
    train(model, tokenizer, lessons, Schedule(tokens, minutes, short), seed=order, checkpoint=keep)
    save_student(model, tokenizer, output)
    probe = held_out_probe(corpus, seed)
    report("student", **measure_student(model, tokenizer, probe, max_length=256))


if __name__ == "__main__":
    typer.run(main)
