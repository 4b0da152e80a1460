"""Training lists: a query, the passage it was made from, other passages, and how relevant the teacher finds each."""

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
VAGUE = 0.25  # cosine of query and answer under which the query says too little ("see that function for details")


@dataclass(frozen=True, slots=True)
class Question:
    """A query and the row of the passage that answers it, with the text of that passage as a reader would meet it."""

    query: str
    row: int
    answer: str


@dataclass(frozen=True, slots=True)
class TrainingList:
    """A query with documents, the known answer first, a target logit for each, and the rows of their vectors."""

    query: str
    documents: tuple[str, ...]
    targets: tuple[float, ...]
    query_row: int = 0
    document_rows: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Lesson:
    """Lists, the teacher's unit vectors of their queries and documents, and where a pair is cut, in tokens."""

    lists: Sequence[TrainingList]
    queries: Floats
    documents: Floats
    cut: int


def sentences(text: str) -> list[str]:
    """The sentences of a body that read as prose: 6 to 30 words, mostly letters, no field list and no code."""
    parts = re.split(r"(?<=[.!?])\s+|\n\s*\n", text)
    prose = [
        part for part in parts if 6 <= len(part.split()) <= 30 and not re.search(r">>>|::|=|^:|\(\w+, |import ", part)
    ]
    return [part for part in prose if sum(c.isalpha() or c == " " for c in part) > 0.85 * len(part)]


def view(passage: Passage, rng: random.Random, hidden: str = "") -> str:
    """A document as it may be met: with or without name and first sentence, and without the sentence `hidden`."""
    name = passage.name if rng.random() < 0.65 else ""
    summary = passage.summary if passage.summary != hidden else ""
    if len(passage.body.split()) >= MIN_WORDS and rng.random() < 0.2:
        summary = ""
    body = passage.body.replace(hidden, "") if hidden else passage.body
    return "\n\n".join(part for part in (name, summary, body) if part) or passage.summary


def question(passage: Passage, row: int, rng: random.Random) -> Question:
    """A query made from the passage's summary, or (three in ten) from another sentence of it.

    Half of the time the sentence is missing from the answer, so that matching its words is not enough.
    """
    inner = sentences(passage.body)
    sentence = rng.choice(inner) if inner and rng.random() < 0.3 else passage.summary
    left = len(passage.body.split()) - (len(sentence.split()) if sentence != passage.summary else 0)
    hidden = sentence if left >= MIN_WORDS and rng.random() < 0.5 else ""
    return Question(ask(sentence, rng), row, view(passage, rng, hidden))


def make_questions(corpus: Sequence[Passage], rows: Sequence[int], seed: int) -> list[Question]:
    """One question for each of `rows`, the same for the same seed."""
    rng = random.Random(f"questions {seed}")
    return [question(corpus[row], row, rng) for row in rows]


def full_text(passage: Passage) -> str:
    """The passage with everything that is known of it."""
    return "\n\n".join(part for part in (passage.name, passage.summary, passage.body) if part)


def make_views(corpus: Sequence[Passage], questions: Sequence[Question], seed: int) -> list[str]:
    """The documents of a corpus: the questions' answers, then each passage as it may be met under other questions."""
    rng = random.Random(f"views {seed}")
    return [asked.answer for asked in questions] + [view(passage, rng) for passage in corpus]


def make_lists(
    questions: Sequence[Question], query_vectors: Floats, views: Sequence[str], vectors: Floats, seed: int
) -> list[TrainingList]:
    """A list for each question that is not vague; `views` are of `make_views`, `vectors` are theirs.

    There is a question for every passage of the corpus, in its order.
    """
    rng = random.Random(f"lists {seed}")
    count = len(questions)
    answers, others = vectors[:count], vectors[count:]
    near = top_cosine(query_vectors, others, NEAR_K)
    like, points = Lexical(views[count:]).top([asked.query for asked in questions], min(BM25_K, count))
    lists = []
    for row, asked in enumerate(questions):
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
        lists.append(TrainingList(asked.query, documents, tuple(targets.tolist()), row, tuple(places)))
    return lists
