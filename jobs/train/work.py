"""The work folder: the corpus and its embeddings, made by the first run and reused by later ones."""

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path

import numpy as np

from jobs.train.corpus import (
    Passage,
    distinct,
    from_descriptions,
    from_manuals,
    from_packages,
    standard_library,
)
from jobs.train.teacher import Floats, embed, load_teacher, save_vectors

HELD_OUT = ("networkx", "pandas", "sqlalchemy", "click")
PER_PACKAGE = 450
SHARES = {"package": 15_000, "manual": 3_000, "description": 5_000}


def collect(packages: Iterable[Path], manuals: Path | None, descriptions: Path | None, seed: int) -> list[Passage]:
    """Return the corpus. Held-out packages come first, so that copies of their texts in other packages are dropped."""
    from_all = [p for root in packages for p in from_packages(root, per_package=PER_PACKAGE, seed=seed)]
    kinds = {
        "held out": [p for p in from_all if p.source in HELD_OUT],
        "package": [p for p in from_all if p.source not in HELD_OUT],
        "manual": list(from_manuals(manuals)) if manuals else [],
        "description": list(from_descriptions(descriptions)) if descriptions else [],
    }
    for kind, passages in kinds.items():
        random.Random(f"{seed} {kind}").shuffle(passages)
    excluded = standard_library()
    held_out = distinct(kinds["held out"], excluded)
    kept = distinct(chain(held_out, *(kinds[kind] for kind in SHARES)), excluded)
    room = dict(SHARES)
    corpus = []
    for passage in kept:
        kind = passage.source if passage.source in SHARES else "package"
        if passage.source not in HELD_OUT:
            room[kind] -= 1
        if room[kind] >= 0:
            corpus.append(passage)
    return corpus


def load_corpus(
    folder: Path, packages: Iterable[Path], manuals: Path | None, descriptions: Path | None, seed: int
) -> list[Passage]:
    """Return the corpus in `folder`; collect it first if it is missing."""
    file = folder / "passages.jsonl"
    if not file.exists():
        corpus = collect(packages, manuals, descriptions, seed)
        partial = file.with_suffix(".partial")
        partial.write_text("".join(json.dumps(asdict(passage)) + "\n" for passage in corpus))
        partial.rename(file)
    return [Passage(**json.loads(line)) for line in file.read_text().splitlines()]


def load_vectors(file: Path, texts: Sequence[str], *, max_length: int) -> Floats:
    """Return the teacher's vectors of `texts` from `file`; compute them first if it is missing."""
    if not file.exists():
        model, tokenizer = load_teacher()
        save_vectors(embed(model, tokenizer, texts, max_length=max_length), file)
    vectors: Floats = np.load(file)
    return vectors
