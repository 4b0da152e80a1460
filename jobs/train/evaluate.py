"""Evaluation: nDCG@10 and MRR of reranking BM25's candidates, on questions about held-out packages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import BertForSequenceClassification

from jobs.train.distil import score_texts
from jobs.train.pairs import Question
from jobs.train.teacher import Floats, Lexical


@dataclass(frozen=True, slots=True)
class Probe:
    """Questions, with the candidates of each in BM25's order and its answer, both as indices into `texts`."""

    queries: list[str]
    candidates: list[list[int]]
    answers: list[int]
    texts: list[str]


def make_probe(questions: Sequence[Question], count: int, depth: int) -> Probe:
    """Return the first `count` questions, each with the `depth` best answers of all questions by BM25."""
    texts = [question.answer for question in questions]
    queries = [question.query for question in questions[:count]]
    places, _ = Lexical(texts).top(queries, depth)
    return Probe(queries, places.tolist(), list(range(len(queries))), texts)


def known_item(probe: Probe, scores: Sequence[Sequence[float]]) -> dict[str, float]:
    """Return nDCG@10 and MRR over all questions; an answer that BM25 missed counts as 0, ties keep candidate order."""
    gains, reciprocal = [], []
    for candidates, answer, points in zip(probe.candidates, probe.answers, scores, strict=True):
        order = np.argsort(-np.asarray(points), kind="stable")
        rank = next((at for at, place in enumerate(order, 1) if candidates[place] == answer), 0)
        gains.append(1 / np.log2(1 + rank) if 0 < rank <= 10 else 0.0)
        reciprocal.append(1 / rank if rank else 0.0)
    return {"nDCG@10": round(float(np.mean(gains)), 4), "MRR": round(float(np.mean(reciprocal)), 4)}


@torch.inference_mode()
def measure_student(
    model: BertForSequenceClassification, tokenizer: Tokenizer, probe: Probe, max_length: int
) -> dict[str, float]:
    """Return the measures of the student's ranking, and its mean relevance scores of answers and other candidates."""
    pairs = [
        (query, probe.texts[place]) for query, row in zip(probe.queries, probe.candidates, strict=True) for place in row
    ]
    logits = score_texts(model, tokenizer, pairs, max_length=max_length, chunk=32).logits
    scores = logits.view(len(probe.queries), -1)
    right = torch.tensor(probe.candidates) == torch.tensor(probe.answers)[:, None]
    means = {"answers": scores[right].sigmoid().mean(), "others": scores[~right].sigmoid().mean()}
    return known_item(probe, scores.tolist()) | {name: round(mean.item(), 3) for name, mean in means.items()}


def measure_baselines(probe: Probe, vectors: Floats, query_vectors: Floats) -> Mapping[str, Mapping[str, float]]:
    """Return the measures of BM25's ranking and of the bi-encoder's cosine; `vectors` embed the probe's texts."""
    cosine = [(vectors[row] @ query).tolist() for row, query in zip(probe.candidates, query_vectors, strict=True)]
    return {
        "BM25": known_item(probe, [[-float(at) for at in range(len(row))] for row in probe.candidates]),
        "bi-encoder": known_item(probe, cosine),
    }
