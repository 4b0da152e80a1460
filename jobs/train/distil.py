"""The training loop: learn the teacher's ranking, scores and vectors, short texts first, within a token budget."""

import functools
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import BertForSequenceClassification

from jobs.train.pairs import Lesson, TrainingList
from jobs.train.student import score, sign_coordinate
from jobs.train.teacher import THREADS, pad


@dataclass(frozen=True, slots=True)
class Schedule:
    """Training budget, learning rates and loss weights; training ends after `tokens` or `minutes`."""

    tokens: int
    minutes: float
    short: float = 0.75
    lists: int = 12
    rate: float = 2e-4
    head_rate: float = 1e-3
    warmup: float = 0.05
    calibration: float = 0.5
    meaning: float = 4.0

    def factor(self, progress: float) -> float:
        """Return the fraction of the peak learning rate: a linear rise during `warmup`, then a linear fall to zero."""
        return min(progress / self.warmup, (1 - progress) / (1 - self.warmup), 1.0)


def list_loss(logits: Tensor, targets: Tensor, calibration: float) -> Tensor:
    """Return the KL divergence of the lists' softmaxes (lists, documents), plus weighted binary cross-entropy."""
    log_student, log_teacher = logits.log_softmax(-1), targets.log_softmax(-1)
    listwise = nn.functional.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
    pointwise = nn.functional.binary_cross_entropy_with_logits(logits, targets.sigmoid())
    return listwise + calibration * pointwise


def truncate(tokenizer: Tokenizer, max_length: int) -> None:
    """Set the tokenizer's truncation; no other thread may be using the tokenizer."""
    if tokenizer.truncation is None or tokenizer.truncation["max_length"] != max_length:
        tokenizer.enable_truncation(max_length, strategy="longest_first")


def encode(
    tokenizer: Tokenizer, pairs: Sequence[tuple[str, str]], *, max_length: int, chunk: int
) -> Iterator[tuple[list[int], Tensor, Tensor, Tensor]]:
    """Yield padded chunks of the pairs, longest first: their rows, and ids, segments and mask (chunk, tokens)."""
    truncate(tokenizer, max_length)
    encodings = tokenizer.encode_batch_fast(list(pairs))
    order = sorted(range(len(pairs)), key=lambda row: -len(encodings[row].ids))
    for start in range(0, len(order), chunk):
        rows = order[start : start + chunk]
        ids, mask = pad([encodings[row].ids for row in rows])
        yield rows, ids, pad([encodings[row].type_ids for row in rows])[0], mask


@dataclass(frozen=True, slots=True)
class Scored:
    """Logits (pairs,), the means of each segment that the last layer compares (pairs, width), and the tokens read."""

    logits: Tensor
    queries: Tensor
    documents: Tensor
    tokens: int


def score_texts(
    model: BertForSequenceClassification,
    tokenizer: Tokenizer,
    pairs: Sequence[tuple[str, str]],
    *,
    max_length: int,
    chunk: int,
) -> Scored:
    """Score text pairs in chunks of similar lengths; the results are in the order of `pairs`."""
    order, parts, tokens = list[int](), [], 0
    for rows, *batch in encode(tokenizer, pairs, max_length=max_length, chunk=chunk):
        order += rows
        parts.append(score(model, *batch))
        tokens += int(batch[2].sum())
    back = torch.empty(len(order), dtype=torch.long)
    back[order] = torch.arange(len(order))
    logits, queries, documents = (torch.cat(column)[back] for column in zip(*parts, strict=True))
    return Scored(logits, queries, documents, tokens)


def optimiser(model: BertForSequenceClassification, schedule: Schedule) -> torch.optim.Optimizer:
    """Return AdamW for all weights but the word embeddings: those are half of the weights, rarely used, and frozen."""
    model.bert.embeddings.word_embeddings.weight.requires_grad_(requires_grad=False)
    body = [weight for weight in model.bert.parameters() if weight.requires_grad]
    groups = [
        {"params": body, "peak": schedule.rate},
        {"params": list(model.classifier.parameters()), "peak": schedule.head_rate},
    ]
    return torch.optim.AdamW(groups, lr=schedule.rate, weight_decay=0.01, fused=True)


def meaning_loss(means: Tensor, vectors: Tensor, sign: int) -> Tensor:
    """Return 1 minus the mean cosine of segment means and the teacher's vectors (pairs, width), without `sign`."""
    ours = means.clone()
    ours[:, sign] = 0
    return 1 - nn.functional.cosine_similarity(ours, vectors).mean()


def gradients(
    model: BertForSequenceClassification,
    tokenizer: Tokenizer,
    lesson: Lesson,
    schedule: Schedule,
    part: Sequence[TrainingList],
) -> tuple[tuple[Tensor, ...], Tensor, int]:
    """Return the gradients of a part of a batch, its losses (order, meaning), and the tokens read."""
    pairs = [(example.query, document) for example in part for document in example.documents]
    scored = score_texts(model, tokenizer, pairs, max_length=lesson.cut, chunk=16)
    targets = torch.tensor([example.targets for example in part])
    queries = lesson.queries[[example.query_row for example in part for _ in example.documents]]
    documents = lesson.documents[[row for example in part for row in example.document_rows]]
    sign = sign_coordinate(model)
    meaning = meaning_loss(scored.queries, torch.from_numpy(queries), sign)
    meaning = meaning + meaning_loss(scored.documents, torch.from_numpy(documents), sign)
    loss = list_loss(scored.logits.view_as(targets), targets, schedule.calibration)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    grads = torch.autograd.grad(loss + schedule.meaning * meaning, trainable)
    return grads, torch.stack((loss, meaning)).detach(), scored.tokens


def step(
    model: BertForSequenceClassification,
    tokenizer: Tokenizer,
    lesson: Lesson,
    batch: Sequence[TrainingList],
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    progress: float,
) -> tuple[Tensor, int]:
    """Run one optimisation step on a batch of lists, and return its losses (order, meaning) and the tokens read.

    Each thread processes whole lists, and threads synchronise once per step. Threads inside operations synchronise a
    hundred times as often, which was slower on shared cores: 1,400 instead of 2,300 tokens per second.
    """
    truncate(tokenizer, lesson.cut)
    parts = [batch[start::THREADS] for start in range(min(THREADS, len(batch)))]
    with ThreadPoolExecutor(len(parts)) as pool:
        results = list(pool.map(functools.partial(gradients, model, tokenizer, lesson, schedule), parts))
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    shares = [len(part) / len(batch) for part in parts]
    for place, parameter in enumerate(trainable):
        parameter.grad = sum((share * grads[place] for share, (grads, _, _) in zip(shares, results, strict=True)))
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * schedule.factor(progress)
    nn.utils.clip_grad_norm_(trainable, 1.0)
    optimizer.step()
    losses = torch.stack([share * losses for share, (_, losses, _) in zip(shares, results, strict=True)]).sum(0)
    return losses, sum(tokens for _, _, tokens in results)


def train(
    model: BertForSequenceClassification,
    tokenizer: Tokenizer,
    lessons: Sequence[Lesson],
    schedule: Schedule,
    *,
    seed: int,
    checkpoint: Callable[[], None],
    every: int = 100,
) -> None:
    """Train the model in place: shuffled epochs of the first lesson's lists, then of the last lesson's.

    Every `every` steps, report progress on stderr and call `checkpoint`.
    """
    rng, optimizer = random.Random(seed), optimiser(model, schedule)
    queue, lesson = list[TrainingList](), lessons[0]
    started, read, losses = time.monotonic(), 0, list[Tensor]()
    model.train()
    while (progress := max(read / schedule.tokens, (time.monotonic() - started) / 60 / schedule.minutes)) < 1:
        if progress >= schedule.short and lesson is not lessons[-1]:
            queue, lesson = [], lessons[-1]
        if len(queue) < schedule.lists:
            queue = rng.sample(lesson.lists, len(lesson.lists))
        batch = [queue.pop() for _ in range(schedule.lists)]
        loss, tokens = step(model, tokenizer, lesson, batch, optimizer, schedule, progress)
        losses.append(loss)
        read += tokens
        if len(losses) % every == 0:
            order, meaning = (torch.stack(losses[-every:]).mean(0)).tolist()
            seconds = time.monotonic() - started
            line = f"{progress:4.0%} {seconds:5.0f} s, step {len(losses)}, {read} tokens"
            sys.stderr.write(f"{line}, loss {order:.4f}, meaning {meaning:.4f}\n")
            checkpoint()
    model.eval()
