"""The corpus, the queries, the pruned vocabulary and a few optimisation steps, on texts and models of a few lines."""

import copy
import gzip
import inspect
import random
import shutil
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import BertConfig, BertForSequenceClassification, BertModel

import rerank
from jobs.train.corpus import (
    Excluded,
    Passage,
    distinct,
    from_descriptions,
    from_manuals,
    from_packages,
    standard_library,
)
from jobs.train.distil import Schedule, list_loss, meaning_loss, optimiser, score_texts, step, train
from jobs.train.evaluate import Probe, known_item
from jobs.train.pairs import Lesson, TrainingList, make_lists, make_questions, make_views
from jobs.train.queries import ask, plain
from jobs.train.student import (
    COMMON,
    build_student,
    load_tokenizer,
    prune_vocabulary,
    replace_words,
    save_student,
    score,
    sign_coordinate,
)

SAMPLE = '''
def biggest(items: list[int], n: int = 3) -> list[int]:
    """Return the n biggest items of a list.

    The result is sorted, the biggest item first, and is shorter when the list is.
    """

def dedent(text):
    """{dedent}"""

def _hidden():
    """Nobody should ever read this text, because its name begins with an underscore."""
'''


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return load_tokenizer(Path(rerank.__file__).parent / "models" / "docs-mini")


@pytest.fixture(scope="module")
def small(tokenizer: Tokenizer) -> tuple[BertForSequenceClassification, Tokenizer]:
    pruned, old_ids = prune_vocabulary(tokenizer, 4000, {})
    teacher = BertModel(BertConfig(hidden_size=24, num_hidden_layers=3, num_attention_heads=2, intermediate_size=48))
    return build_student(teacher, old_ids, (0, 2), seed=0), pruned


@pytest.fixture(scope="module")
def corpus() -> list[Passage]:
    rng = random.Random(0)
    nouns = ["matrix", "list", "file", "socket", "image", "graph", "table", "string", "clock"]
    body = "It takes any number of {0} values and gives back another {0}, ready to be used elsewhere in the program."
    return [
        Passage(
            "sample", f"pack.f{i}(x)", f"Return the {rng.choice(nouns)} number {i}.", body.format(rng.choice(nouns))
        )
        for i in range(60)
    ]


def test_packages_without_the_standard_library(tmp_path: Path) -> None:
    (tmp_path / "pack").mkdir()
    docstring = inspect.cleandoc(textwrap.dedent.__doc__ or "").replace("\\", "\\\\")
    (tmp_path / "pack" / "module.py").write_text(SAMPLE.format(dedent=docstring.replace("\n", "\n    ")))
    found = list(from_packages(tmp_path, per_package=10, seed=0))
    assert {passage.name for passage in found} == {"pack.module.biggest(items, n=3)", "pack.module.dedent(text)"}
    (tmp_path / "standard").mkdir()
    shutil.copy(textwrap.__file__, tmp_path / "standard")
    near = Passage(
        "near", "near.f", "Remove the margin of a text.", f"As they say: {' '.join(docstring.split()[3:20])}"
    )
    (kept,) = distinct([*found, near], standard_library(tmp_path / "standard"))
    assert (kept.source, kept.summary) == ("pack", "Return the n biggest items of a list.")
    assert kept.body.startswith("The result is sorted")


def test_duplicates_are_kept_once() -> None:
    first = Passage("a", "a.f", "Sort the given items.", "Every item is compared with the next.")
    copied = Passage("b", "b.f", "Sort the given `items`.", "Another text about sorting.")
    assert distinct([first, copied], Excluded()) == [first]


def test_manuals_and_descriptions(tmp_path: Path) -> None:
    page = ".SH NAME\nlsx \\- list what is in a folder\n.SH DESCRIPTION\n.B lsx\nwrites the names of" + " files" * 20
    (tmp_path / "man1").mkdir()
    (tmp_path / "man1" / "lsx.1.gz").write_bytes(gzip.compress(page.encode()))
    (manual,) = from_manuals(tmp_path)
    assert (manual.name, manual.summary) == ("lsx", "list what is in a folder")
    assert manual.body.startswith("lsx writes the names of files")
    block = "Package: {}\nDescription-md5: 0\nDescription-en: game of ancient war\n A game." + "\n .\n More words" * 15
    (tmp_path / "Translation-en").write_text("\n\n".join(map(block.format, ("zero", "python3-zero"))))
    (game,) = from_descriptions(tmp_path / "Translation-en")
    assert (game.name, game.summary, game.body[:19]) == ("zero", "game of ancient war", "A game.\n\nMore words")


def test_queries() -> None:
    assert plain("Return the :class:`~a.b.Thing` of ``x``.") == "return the a.b.Thing of x"
    asked = {ask("Returns the number of rows in a table.", random.Random(seed)) for seed in range(60)}
    assert len(asked) > 20
    assert any(query.startswith("how do I ") and query.endswith("?") for query in asked)


def test_lists_are_the_same_for_the_same_seed(corpus: list[Passage]) -> None:
    vectors = np.random.default_rng(0).normal(size=(len(corpus), 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    twice = np.concatenate([vectors, vectors])

    def lists(seed: int) -> list[TrainingList]:
        questions = make_questions(corpus, range(len(corpus)), seed)
        return make_lists(questions, vectors, make_views(corpus, questions, seed), twice, seed)

    assert lists(1) == lists(1) != lists(2)
    assert all(max(example.targets) == example.targets[0] for example in lists(1))
    assert {len(example.documents) for example in lists(1)} == {5}
    assert all(example.document_rows[0] == example.query_row for example in lists(1))
    assert all(row >= len(corpus) for example in lists(1) for row in example.document_rows[1:])


def test_pruned_vocabulary_gives_the_same_pieces(tokenizer: Tokenizer) -> None:
    pruned, old_ids = prune_vocabulary(tokenizer, 8000, {})
    assert pruned.get_vocab_size() == len(old_ids) == 8000
    pair = ("how do i split a string?", "it takes the text and returns a list of words")
    before, after = tokenizer.encode(*pair), pruned.encode(*pair)
    assert after.tokens == before.tokens
    assert after.type_ids == before.type_ids
    assert [old_ids[new] for new in after.ids] == before.ids
    rare = "necessitated flattened aerodynamics"
    assert "[UNK]" not in pruned.encode(rare).tokens
    assert pruned.decode(pruned.encode(rare).ids) == rare
    with pytest.raises(ValueError, match="size must be at least"):
        prune_vocabulary(tokenizer, 10, {})
    pieces = [item for item in tokenizer.get_vocab().items() if item[0].isascii() and len(item[0]) > 3]
    rare, seldom = (piece for piece, _ in sorted(pieces, key=lambda item: item[1])[-2:])
    counts = {tokenizer.token_to_id(rare): COMMON, tokenizer.token_to_id(seldom): COMMON - 1}
    counted, _ = prune_vocabulary(tokenizer, 8000, counts)
    assert counted.token_to_id(rare) is not None, "common in the corpus"
    assert counted.token_to_id(seldom) is None


@torch.no_grad()
def test_replaced_words_are_the_teachers(small: tuple[BertForSequenceClassification, Tokenizer]) -> None:
    student, _ = small
    student = copy.deepcopy(student)
    teacher = BertModel(BertConfig(**{**student.config.to_dict(), "vocab_size": 9000}))
    replace_words(student, teacher, [7, 8999])
    words = student.bert.embeddings.word_embeddings.weight
    assert words.shape[0] == student.config.vocab_size == 2
    assert (words[:, sign_coordinate(student)] == 0).all()
    others = [column for column in range(words.shape[1]) if column != sign_coordinate(student)]
    assert torch.equal(words[:, others], teacher.embeddings.word_embeddings.weight[[7, 8999]][:, others])


def test_short_last_layer_equals_the_models_own_forward(small: tuple[BertForSequenceClassification, Tokenizer]) -> None:
    model, tokenizer = small
    encoding = tokenizer.encode("what is a list?", "a list holds things in order")
    ids, types, mask = (
        torch.tensor([[*row, 0, 0]]) for row in (encoding.ids, encoding.type_ids, encoding.attention_mask)
    )
    with torch.no_grad():
        own = model.eval()(input_ids=ids, token_type_ids=types, attention_mask=mask).logits[:, 0]
        logits, query, document = score(model, ids, types, mask)
        torch.testing.assert_close(logits, own)
        read = model.bert(input_ids=ids, token_type_ids=types, attention_mask=mask, output_hidden_states=True)
    states, segments = read.hidden_states[-2][0], types[0][mask[0].bool()]
    for segment, mean in enumerate((query, document)):
        torch.testing.assert_close(mean[0], states[mask[0].bool()][segments == segment].mean(0))


def test_scores_come_back_in_order(small: tuple[BertForSequenceClassification, Tokenizer]) -> None:
    model, tokenizer = small
    pairs = [("what", "that " * count) for count in (3, 9, 1, 5)]
    with torch.no_grad():
        together = score_texts(model, tokenizer, pairs, max_length=16, chunk=2)
        alone = [score_texts(model, tokenizer, [pair], max_length=16, chunk=1) for pair in pairs]
    torch.testing.assert_close(together.logits, torch.cat([one.logits for one in alone]))
    torch.testing.assert_close(together.documents, torch.cat([one.documents for one in alone]))
    assert together.tokens == sum(count + 4 for count in (3, 9, 1, 5))


def test_loss_and_schedule() -> None:
    targets = torch.tensor([[3.0, -2.0, 0.0]])
    assert list_loss(targets, targets, 0.0).item() == pytest.approx(0.0, abs=1e-6)
    assert list_loss(-targets, targets, 0.5) > list_loss(targets, targets, 0.5)
    schedule = Schedule(tokens=1, minutes=1.0)
    assert (schedule.factor(0.0), schedule.factor(0.05), schedule.factor(1.0)) == (0.0, 1.0, 0.0)
    vectors = torch.eye(3)
    assert meaning_loss(vectors * 7, vectors, sign=0).item() == pytest.approx(1 / 3)  # the first has nothing else
    assert meaning_loss(vectors[1:] + 9 * vectors[0], vectors[1:], sign=0).item() == pytest.approx(0.0, abs=1e-6)


def test_steps_lower_the_loss(small: tuple[BertForSequenceClassification, Tokenizer]) -> None:
    model, tokenizer = small
    vectors = np.eye(2, model.config.hidden_size, dtype=np.float32)
    batch = [TrainingList("sort a list", ("sorts lists of things", "opens a file"), (4.0, -4.0), 0, (0, 1))] * 2
    lesson = Lesson(batch, vectors[:1], vectors, cut=24)
    schedule = Schedule(tokens=1000, minutes=1.0, rate=3e-3, head_rate=1e-2)
    optimizer = optimiser(model, schedule)
    frozen = model.bert.embeddings.word_embeddings.weight.clone()
    losses = [step(model, tokenizer, lesson, batch, optimizer, schedule, 0.05)[0] for _ in range(6)]
    assert (losses[-1] < losses[0]).all()
    assert torch.equal(model.bert.embeddings.word_embeddings.weight, frozen)
    checkpoints: list[int] = []
    budget = Schedule(tokens=200, minutes=1.0, lists=2)
    train(model, tokenizer, [lesson, lesson], budget, seed=0, checkpoint=lambda: checkpoints.append(1), every=1)
    assert len(checkpoints) == 4


def test_known_item_measures() -> None:
    probe = Probe(queries=["a", "b"], candidates=[[0, 1, 2], [0, 2, 3]], answers=[0, 1], texts=["", "", "", ""])
    assert known_item(probe, [[3.0, 2.0, 1.0]] * 2) == {"nDCG@10": 0.5, "MRR": 0.5}
    assert known_item(probe, [[1.0, 2.0, 1.0]] * 2) == {"nDCG@10": 0.3155, "MRR": 0.25}


def test_saved_folder_loads_as_a_cross_encoder(
    small: tuple[BertForSequenceClassification, Tokenizer], tmp_path: Path
) -> None:
    from sentence_transformers import CrossEncoder

    model, tokenizer = small
    save_student(model, tokenizer, tmp_path)
    loaded = CrossEncoder(str(tmp_path), device="cpu")
    assert (loaded.max_seq_length, loaded.config.num_labels) == (512, 1)
    assert next(loaded.parameters()).dtype == torch.float32
    pairs = [("sort a list", "sorts lists of things"), ("sort a list", "opens a file")]
    with torch.no_grad():
        own = score_texts(model.half().float(), tokenizer, pairs, max_length=512, chunk=2).logits
    np.testing.assert_allclose(loaded.predict(pairs), own.sigmoid().numpy(), atol=1e-4)
