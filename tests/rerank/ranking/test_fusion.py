"""Mixing two stages: against plain Python, and at the ends where one stage speaks alone."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank.arrays import offsets_of
from rerank.errors import ConfigError, InputError
from rerank.ranking.fusion import FusionMethod, ScoreFusion, fuse

NAN = float("nan")
numbers = st.sampled_from([-3.5, -1.0, 0.0, 0.25, 2.0, 7.5])
pairs = st.tuples(st.one_of(numbers, st.just(NAN)), st.one_of(numbers, st.just(NAN)))
sets = st.lists(st.lists(pairs, max_size=6), max_size=5)
mixes = st.builds(ScoreFusion, st.sampled_from(FusionMethod), st.sampled_from([0.0, 0.3, 0.5, 1.0]))


def arrays(rows):
    flat = [pair for row in rows for pair in row]
    logits, scores = (np.array([pair[at] for pair in flat], dtype=np.float32) for at in (0, 1))
    ranks = np.array([place for row in rows for place in range(1, len(row) + 1)], dtype=np.int32)
    return logits, ranks, offsets_of([len(row) for row in rows]), scores


def normalised(values):
    known = [value for value in values if not np.isnan(value)]
    spread = max(known) - min(known) if known else 0
    return [(value - min(known)) / spread if spread and not np.isnan(value) else 0.0 for value in values]


def reference(row, fusion):
    scored = [place for place, (logit, _) in enumerate(row) if not np.isnan(logit)]
    order = sorted(scored, key=lambda place: -row[place][0])
    if fusion.method is FusionMethod.RRF:
        model = [1 / (60 + order.index(place) + 1) for place in scored]
        first = [1 / (60 + place + 1) for place in scored]
    else:
        model, first = (normalised([row[place][at] for place in scored]) for at in (0, 1))
    mixed = [NAN] * len(row)
    for place, of_model, of_first in zip(scored, model, first, strict=True):
        mixed[place] = fusion.weight * of_model + (1 - fusion.weight) * of_first
    return mixed


@given(rows=sets, fusion=mixes)
def test_mixes_as_plain_python_does(rows, fusion):
    logits, ranks, offsets, scores = arrays(rows)
    mixed = fuse(logits, ranks, offsets, fusion, source_scores=scores)
    np.testing.assert_allclose(mixed, [value for row in rows for value in reference(row, fusion)], atol=1e-12)


@given(rows=sets, method=st.sampled_from(FusionMethod))
def test_the_whole_weight_is_the_models_order(rows, method):
    logits, ranks, offsets, scores = arrays(rows)
    mixed = fuse(logits, ranks, offsets, ScoreFusion(method, 1.0), source_scores=scores)
    for start, stop in pairwise(offsets):
        theirs, ours = logits[start:stop].astype(np.float64), mixed[start:stop]
        assert np.argsort(-np.nan_to_num(ours, nan=-1), kind="stable").tolist() == (
            np.argsort(-np.nan_to_num(theirs, nan=-9), kind="stable").tolist()
        )


def test_a_case_worked_out_by_hand():
    logits = np.array([0.0, 4.0, 1.0], dtype=np.float32)
    ranks, offsets = np.array([1, 2, 3], dtype=np.int32), offsets_of([3])
    scores = np.array([30.0, 20.0, 10.0])
    by_score = fuse(logits, ranks, offsets, ScoreFusion.parse("scores:0.5"), source_scores=scores)
    assert by_score.tolist() == [0.5, 0.75, 0.125]
    by_rank = fuse(logits, ranks, offsets, ScoreFusion.parse("rrf:0.25"))
    assert by_rank == pytest.approx([0.25 / 63 + 0.75 / 61, 0.25 / 61 + 0.75 / 62, 0.25 / 62 + 0.75 / 63])


def test_scores_cannot_be_mixed_without_scores():
    one = np.zeros(1, dtype=np.float32), np.ones(1, dtype=np.int32), offsets_of([1])
    with pytest.raises(InputError, match="needs the first stage's scores"):
        fuse(*one, ScoreFusion.parse("scores:0.5"))


@pytest.mark.parametrize("text", ["scores", "scores:", "scores:1.1", "rrf:-0.1", "sum:0.5", "rrf:nan", ""])
def test_a_mix_that_is_none_is_a_sentence(text):
    with pytest.raises(ConfigError, match=r"mix must be METHOD:WEIGHT, scores or rrf .*; got "):
        ScoreFusion.parse(text)


def test_a_mix_is_written_as_it_is_read():
    assert str(ScoreFusion.parse("scores:0.70")) == "scores:0.7"
    assert ScoreFusion.parse("rrf:0.5") == ScoreFusion(FusionMethod.RRF, 0.5)
