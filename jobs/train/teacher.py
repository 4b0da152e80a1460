"""The teacher signals: cosine similarities of all-MiniLM-L6-v2, and BM25 scores over the whole corpus."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from transformers import AutoModel, BertModel

from jobs.train.student import load_tokenizer, teacher_folder

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
THREADS = 2


def load_teacher() -> tuple[BertModel, Tokenizer]:
    """Return the bi-encoder's transformer in float32, and its tokenizer."""
    folder = teacher_folder()
    model = AutoModel.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    if not isinstance(model, BertModel):
        raise TypeError(f"the teacher must be a BertModel, got {type(model).__name__}")
    return model.eval(), load_tokenizer(folder)


def pad(rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rows of ids as one zero-padded tensor (rows, longest), and the mask of the tokens in it."""
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows])
    lengths = torch.tensor([len(row) for row in rows])
    return ids, (torch.arange(longest)[None, :] < lengths[:, None]).long()


def embed(model: BertModel, tokenizer: Tokenizer, texts: Sequence[str], *, max_length: int, batch: int = 32) -> Floats:
    """Return unit vectors (texts, 384): the mean over each text's tokens, cut at `max_length`."""
    tokenizer.enable_truncation(max_length)
    ids = [encoding.ids for encoding in tokenizer.encode_batch_fast(list(texts))]
    order = sorted(range(len(ids)), key=lambda row: -len(ids[row]))
    vectors = np.zeros((len(ids), model.config.hidden_size), dtype=np.float32)

    @torch.inference_mode()
    def fill(start: int) -> None:
        rows = order[start : start + batch]
        padded, mask = pad([ids[row] for row in rows])
        hidden = model(input_ids=padded, attention_mask=mask).last_hidden_state
        mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        vectors[rows] = torch.nn.functional.normalize(mean).numpy()

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(fill, range(0, len(order), batch)))
    return vectors


def top_cosine(queries: Floats, passages: Floats, k: int) -> Ints:
    """Return the `k` passages nearest to each query (queries, k), best first."""
    best = np.empty((len(queries), k), dtype=np.int64)
    for start in range(0, len(queries), 1024):
        part = queries[start : start + 1024] @ passages.T
        top = np.argpartition(-part, k, axis=1)[:, :k]
        best[start : start + 1024] = np.take_along_axis(top, np.argsort(-np.take_along_axis(part, top, 1), 1), 1)
    return best


class Lexical:
    """BM25 over a fixed list of passages."""

    def __init__(self, passages: Sequence[str]) -> None:
        self._index: Any = bm25s.BM25()
        self._index.index(self._tokens(passages), show_progress=False)

    def top(self, queries: Sequence[str], k: int) -> tuple[Ints, Floats]:
        """Return the `k` best passages of each query and their scores, both (queries, k), best first."""
        rows, scores = self._index.retrieve(self._tokens(queries), k=k, show_progress=False)
        return np.asarray(rows, dtype=np.int64), np.asarray(scores, dtype=np.float32)

    @staticmethod
    def _tokens(texts: Sequence[str]) -> Any:
        return bm25s.tokenize(list(texts), stopwords="en", show_progress=False)


def save_vectors(vectors: Floats, file: Path) -> None:
    """Write vectors to a file atomically."""
    partial = file.with_suffix(".partial.npy")
    np.save(partial, vectors)
    partial.rename(file)
