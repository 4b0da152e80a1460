"""The training loop: listwise distillation with a calibration term, short texts first, within a budget of tokens."""

import functools
import random
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import BertForSequenceClassification

from jobs.train.pairs import TrainingList
from jobs.train.student import score
from jobs.train.teacher import THREADS, pad


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long to train and how fast to learn; training ends with `tokens` or `minutes`, whichever comes first."""

    tokens: int
    minutes: float
    lists: int = 12
    rate: float = 2e-4
    head_rate: float = 1e-3
    warmup: float = 0.05
    calibration: float = 0.5

    def factor(self, progress: float) -> float:
        """Share of the peak learning rate: linear up over `warmup`, linear down to zero."""
        return min(progress / self.warmup, (1 - progress) / (1 - self.warmup), 1.0)


def longest(progress: float) -> int:
    """Tokens of a pair that are read: short ones teach matching cheaply, long ones come last."""
    return 48 if progress < 0.6 else 96 if progress < 0.85 else 192


def list_loss(logits: Tensor, targets: Tensor, calibration: float) -> Tensor:
    """Kullback-Leibler divergence of each list's softmax (lists, documents), plus weighted binary cross-entropy."""
    log_student, log_teacher = logits.log_softmax(-1), targets.log_softmax(-1)
    listwise = nn.functional.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
    pointwise = nn.functional.binary_cross_entropy_with_logits(logits, targets.sigmoid())
    return listwise + calibration * pointwise


def truncate(tokenizer: Tokenizer, max_length: int) -> None:
    """Cut what the tokenizer encodes from now on; it may not be told so while another thread uses it."""
    if tokenizer.truncation is None or tokenizer.truncation["max_length"] != max_length:
        tokenizer.enable_truncation(max_length, strategy="longest_first")


def score_texts(
    model: BertForSequenceClassification,
    tokenizer: Tokenizer,
    pairs: Sequence[tuple[str, str]],
    *,
    max_length: int,
    chunk: int,
) -> tuple[Tensor, int]:
    """Logits (pairs,) of text pairs, longest first in padded chunks, and the number of tokens read."""
    truncate(tokenizer, max_length)
    encodings = tokenizer.encode_batch_fast(list(pairs))
    order = sorted(range(len(pairs)), key=lambda row: -len(encodings[row].ids))
    parts = []
    for start in range(0, len(order), chunk):
        rows = order[start : start + chunk]
        ids, mask = pad([encodings[row].ids for row in rows])
        types, _ = pad([encodings[row].type_ids for row in rows])
        parts.append(score(model, ids, types, mask))
    back = torch.empty(len(order), dtype=torch.long)
    back[order] = torch.arange(len(order))
    return torch.cat(parts)[back], sum(len(encoding.ids) for encoding in encodings)


def optimiser(model: BertForSequenceClassification, schedule: Schedule) -> torch.optim.Optimizer:
    """AdamW over everything but the word embeddings, which stay frozen: half of the weights, seldom touched."""
    model.bert.embeddings.word_embeddings.weight.requires_grad_(requires_grad=False)
    body = [weight for weight in model.bert.parameters() if weight.requires_grad]
    groups = [
        {"params": body, "peak": schedule.rate},
        {"params": list(model.classifier.parameters()), "peak": schedule.head_rate},
    ]
    return torch.optim.AdamW(groups, lr=schedule.rate, weight_decay=0.01, fused=True)


def gradients(
    model: BertForSequenceClassification, tokenizer: Tokenizer, part: Sequence[TrainingList], weight: float, cut: int
) -> tuple[tuple[Tensor, ...], float, int]:
    """The gradients of a part of a batch, its mean loss, and the tokens it read; a pair is cut at `cut` tokens."""
    pairs = [(example.query, document) for example in part for document in example.documents]
    logits, tokens = score_texts(model, tokenizer, pairs, max_length=cut, chunk=16)
    targets = torch.tensor([example.targets for example in part])
    loss = list_loss(logits.view_as(targets), targets, weight)
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.autograd.grad(loss, wanted), loss.item(), tokens


def step(
    model: BertForSequenceClassification,
    tokenizer: Tokenizer,
    batch: Sequence[TrainingList],
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    progress: float,
) -> tuple[float, int]:
    """One optimisation step on a batch of lists: its loss, and the tokens it read.

    Each thread takes whole lists and meets the others once a step. Threads inside an operation meet a hundred times
    as often, which was measured to be slower: 1,400 tokens a second against 2,300, where others want the same cores.
    """
    truncate(tokenizer, longest(progress))
    parts = [batch[start::THREADS] for start in range(min(THREADS, len(batch)))]
    with ThreadPoolExecutor(len(parts)) as pool:
        run = functools.partial(gradients, model, tokenizer, weight=schedule.calibration, cut=longest(progress))
        results = list(pool.map(run, parts))
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
    shares = [len(part) / len(batch) for part in parts]
    for place, parameter in enumerate(wanted):
        parameter.grad = sum((share * grads[place] for share, (grads, _, _) in zip(shares, results, strict=True)))
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * schedule.factor(progress)
    nn.utils.clip_grad_norm_(wanted, 1.0)
    optimizer.step()
    loss = sum(share * part_loss for share, (_, part_loss, _) in zip(shares, results, strict=True))
    return loss, sum(tokens for _, _, tokens in results)


def train(
    model: BertForSequenceClassification,
    tokenizer: Tokenizer,
    lists: Sequence[TrainingList],
    schedule: Schedule,
    *,
    seed: int,
    checkpoint: Callable[[], None],
    every: int = 100,
) -> None:
    """Train in place over shuffled epochs of `lists`; each `every` steps report on stderr and call `checkpoint`."""
    rng, optimizer = random.Random(seed), optimiser(model, schedule)
    queue: list[TrainingList] = []
    started, read, losses = time.monotonic(), 0, list[float]()
    model.train()
    while (progress := max(read / schedule.tokens, (time.monotonic() - started) / 60 / schedule.minutes)) < 1:
        if len(queue) < schedule.lists:
            queue = rng.sample(lists, len(lists))
        batch = [queue.pop() for _ in range(schedule.lists)]
        loss, tokens = step(model, tokenizer, batch, optimizer, schedule, progress)
        losses.append(loss)
        read += tokens
        if len(losses) % every == 0:
            mean, seconds = sum(losses[-every:]) / every, time.monotonic() - started
            line = f"{progress:4.0%} {seconds:5.0f} s, step {len(losses)}, {read} tokens, loss {mean:.4f}"
            sys.stderr.write(f"{line}\n")
            checkpoint()
    model.eval()
