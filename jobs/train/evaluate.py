"""How well a model puts BM25's candidates in order, on questions about held-out packages: nDCG@10 and MRR."""

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
    """Questions, and for each its candidates in BM25's order (places in `texts`) and the place of its answer."""

    queries: list[str]
    candidates: list[list[int]]
    answers: list[int]
    texts: list[str]


def make_probe(questions: Sequence[Question], count: int, depth: int) -> Probe:
    """The first `count` questions, each with the `depth` best of all the questions' answers by BM25."""
    texts = [asked.answer for asked in questions]
    queries = [asked.query for asked in questions[:count]]
    places, _ = Lexical(texts).top(queries, depth)
    return Probe(queries, places.tolist(), list(range(len(queries))), texts)


def known_item(probe: Probe, scores: Sequence[Sequence[float]]) -> dict[str, float]:
    """nDCG@10 and MRR over all questions; an answer that BM25 missed counts as zero, ties keep candidate order."""
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
    """The measures of the student's logits, and their mean relevance scores for answers and for other candidates."""
    pairs = [
        (query, probe.texts[place]) for query, row in zip(probe.queries, probe.candidates, strict=True) for place in row
    ]
    logits = score_texts(model, tokenizer, pairs, max_length=max_length, chunk=32).logits
    scores = logits.view(len(probe.queries), -1)
    right = torch.tensor(probe.candidates) == torch.tensor(probe.answers)[:, None]
    means = {"answers": scores[right].sigmoid().mean(), "others": scores[~right].sigmoid().mean()}
    return known_item(probe, scores.tolist()) | {name: round(mean.item(), 3) for name, mean in means.items()}


def measure_baselines(probe: Probe, vectors: Floats, query_vectors: Floats) -> Mapping[str, Mapping[str, float]]:
    """The measures of BM25's own order and of the bi-encoder's cosine; `vectors` are of the probe's texts."""
    cosine = [(vectors[row] @ query).tolist() for row, query in zip(probe.candidates, query_vectors, strict=True)]
    return {
        "BM25": known_item(probe, [[-float(at) for at in range(len(row))] for row in probe.candidates]),
        "bi-encoder": known_item(probe, cosine),
    }
