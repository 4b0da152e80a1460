"""The spliced student begins as its teacher: segments read apart, and the cosine of their means as the logit."""

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from jobs.train.splice import balance, keep_apart, splice, unused_coordinate
from jobs.train.student import build_student, score, sign_coordinate

PIECES, WIDTH, QUERY, DOCUMENT = 300, 384, 9, 20


@pytest.fixture(scope="module")
def teacher() -> BertModel:
    torch.manual_seed(0)
    model = BertModel(BertConfig(vocab_size=PIECES, hidden_size=WIDTH, num_hidden_layers=2, initializer_range=0.05))
    with torch.no_grad():
        model.encoder.layer[-1].output.LayerNorm.weight[7] = 1e-9
    return model.eval()


def batch(seed: int, pairs: int = 48) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Documents that share more or less with their query: cosines of every size."""
    random = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, PIECES, (pairs, QUERY + DOCUMENT), generator=random)
    for row in range(pairs):
        shared = row * DOCUMENT // pairs
        ids[row, QUERY : QUERY + shared] = ids[row, torch.arange(shared) % QUERY]
    segments = (torch.arange(QUERY + DOCUMENT) >= QUERY).long().expand_as(ids)
    return ids, segments, torch.ones_like(ids)


def vectors_of(teacher: BertModel, ids: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        return torch.nn.functional.normalize(teacher(input_ids=ids).last_hidden_state.mean(1)).numpy()


def test_a_head_keeps_its_products_when_it_is_balanced() -> None:
    random = torch.Generator().manual_seed(1)
    queries, keys = (torch.randn(500, 32, generator=random) @ torch.randn(32, 32, generator=random) for _ in "qk")
    turn_q, turn_k = balance(queries, keys)
    torch.testing.assert_close((queries @ turn_q.T) @ (keys @ turn_k.T).T, queries @ keys.T, atol=2e-2, rtol=1e-3)
    sizes = (queries @ turn_q.T).pow(2).mean(0)
    assert (sizes[:-1] >= sizes[1:] * 0.999).all()


def test_segments_are_read_apart(teacher: BertModel) -> None:
    student = build_student(teacher, list(range(PIECES)), (0, 1), seed=0).eval()
    ids, segments, mask = batch(2)
    other = ids.clone()
    other[:, QUERY:] = torch.randint(5, PIECES, (len(ids), DOCUMENT), generator=torch.Generator().manual_seed(3))

    def moved() -> float:
        with torch.no_grad():
            before, after = (score(student, rows, segments, mask)[1] for rows in (ids, other))
        return float((before - after).norm() / before.norm())

    mixed = moved()
    assert unused_coordinate(student) == 7
    keep_apart(student, [batch(4)], 7)
    assert sign_coordinate(student) == 7
    assert moved() < 0.25 * mixed


def test_the_logit_begins_as_the_cosine(teacher: BertModel) -> None:
    student = build_student(teacher, list(range(PIECES)), (0, 1), seed=0).eval()
    texts = torch.randint(5, PIECES, (400, DOCUMENT), generator=torch.Generator().manual_seed(5))
    assert splice(student, [batch(6), batch(7)], vectors_of(teacher, texts), 12.0) == 7
    with torch.no_grad():
        logits, queries, documents = score(student, *batch(8))
    queries[:, 7], documents[:, 7] = 0, 0
    cosine = torch.nn.functional.cosine_similarity(queries, documents)
    assert np.corrcoef(logits, cosine)[0, 1] > 0.8  # 0.93 with the real teacher, whose vectors fill fewer directions
    ids, _, _ = batch(8)
    theirs = (vectors_of(teacher, ids[:, :QUERY]) * vectors_of(teacher, ids[:, QUERY:])).sum(1)
    assert np.corrcoef(logits, theirs)[0, 1] > 0.7
