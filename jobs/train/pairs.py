"""Training lists: a query, the passage it was made from, other passages, and the teacher's relevance of each."""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jobs.train.corpus import MIN_WORDS, Passage
from jobs.train.queries import ask
from jobs.train.teacher import Floats, Lexical, top_cosine

NEAR, LIKE, RANDOM = 2, 1, 1  # negatives of each list: nearest by cosine, by BM25, anywhere
NEAR_K, LIKE_K = 24, 20
BM25_K = 200  # the passages whose BM25 score is known
COSINE_SCALE, BORDERLINE, LEXICAL_WEIGHT, KNOWN_BONUS = 12.0, 0.5, 2.0, 2.5
VAGUE = 0.25  # cosine of query and answer below which the query says too little ("see that function for details")


@dataclass(frozen=True, slots=True)
class Question:
    """A query, the row of the passage that answers it, and a document made from that passage."""

    query: str
    row: int
    answer: str


@dataclass(frozen=True, slots=True)
class TrainingList:
    """A query with documents (the known answer first), a target logit for each, and the rows of their vectors."""

    query: str
    documents: tuple[str, ...]
    targets: tuple[float, ...]
    query_row: int = 0
    document_rows: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Lesson:
    """Lists, the teacher's unit vectors of their queries and documents, and the maximum tokens of a pair (`cut`)."""

    lists: Sequence[TrainingList]
    queries: Floats
    documents: Floats
    cut: int


def sentences(text: str) -> list[str]:
    """Return the sentences of a body that are prose: 6 to 30 words, mostly letters, no field list and no code."""
    parts = re.split(r"(?<=[.!?])\s+|\n\s*\n", text)
    prose = [
        part for part in parts if 6 <= len(part.split()) <= 30 and not re.search(r">>>|::|=|^:|\(\w+, |import ", part)
    ]
    return [part for part in prose if sum(c.isalpha() or c == " " for c in part) > 0.85 * len(part)]


def view(passage: Passage, rng: random.Random, hidden: str = "") -> str:
    """Return a document: the passage with or without its name and first sentence, and without the sentence `hidden`."""
    name = passage.name if rng.random() < 0.65 else ""
    summary = passage.summary if passage.summary != hidden else ""
    if len(passage.body.split()) >= MIN_WORDS and rng.random() < 0.2:
        summary = ""
    body = passage.body.replace(hidden, "") if hidden else passage.body
    return "\n\n".join(part for part in (name, summary, body) if part) or passage.summary


def question(passage: Passage, row: int, rng: random.Random) -> Question:
    """Make a query from the passage's summary or, in three of ten cases, from another sentence of it.

    Half of the time that sentence is removed from the answer, so that matching its words is not enough.
    """
    inner = sentences(passage.body)
    sentence = rng.choice(inner) if inner and rng.random() < 0.3 else passage.summary
    left = len(passage.body.split()) - (len(sentence.split()) if sentence != passage.summary else 0)
    hidden = sentence if left >= MIN_WORDS and rng.random() < 0.5 else ""
    return Question(ask(sentence, rng), row, view(passage, rng, hidden))


def make_questions(corpus: Sequence[Passage], rows: Sequence[int], seed: int) -> list[Question]:
    """Return one question for each of `rows`; the same seed gives the same questions."""
    rng = random.Random(f"questions {seed}")
    return [question(corpus[row], row, rng) for row in rows]


def full_text(passage: Passage) -> str:
    """Return the passage's name, summary and body."""
    return "\n\n".join(part for part in (passage.name, passage.summary, passage.body) if part)


def make_views(corpus: Sequence[Passage], questions: Sequence[Question], seed: int) -> list[str]:
    """Return the documents of a corpus: the questions' answers, then each passage as a document for other questions."""
    rng = random.Random(f"views {seed}")
    return [question.answer for question in questions] + [view(passage, rng) for passage in corpus]


def make_lists(
    questions: Sequence[Question], query_vectors: Floats, views: Sequence[str], vectors: Floats, seed: int
) -> list[TrainingList]:
    """Return a list for each question that is not vague; `views` come from `make_views`, `vectors` embed them.

    `questions` has one question for every passage of the corpus, in the same order.
    """
    rng = random.Random(f"lists {seed}")
    count = len(questions)
    answers, others = vectors[:count], vectors[count:]
    near = top_cosine(query_vectors, others, NEAR_K)
    like, points = Lexical(views[count:]).top([question.query for question in questions], min(BM25_K, count))
    lists = []
    for row, question in enumerate(questions):
        if answers[row] @ query_vectors[row] < VAGUE:
            continue
        bm25 = dict(zip(like[row].tolist(), (points[row] / max(points[row][0], 1e-6)).tolist(), strict=True))
        negatives = rng.sample([place for place in near[row].tolist() if place != row], NEAR)
        alike = like[row][:LIKE_K].tolist()
        negatives += rng.sample([place for place in alike if place != row and place not in negatives], LIKE)
        negatives += [rng.randrange(count) for _ in range(RANDOM)]
        places = [row, *(count + place for place in negatives)]
        lexical = np.array([bm25.get(place, 0.0) for place in (row, *negatives)])
        targets = COSINE_SCALE * (vectors[places] @ query_vectors[row] - BORDERLINE) + LEXICAL_WEIGHT * lexical
        targets[[place % count == row for place in places]] += KNOWN_BONUS
        documents = tuple(views[place] for place in places)
        lists.append(TrainingList(question.query, documents, tuple(targets.tolist()), row, tuple(places)))
    return lists
