"""What models that encode texts by themselves are compared with: their own library, each distinct text encoded once."""

from collections.abc import Sequence
from typing import Any

import torch
from sentence_transformers import MultiVectorEncoder, SentenceTransformer

from rerank.config import ScorerConfig
from rerank.engines import Kind, kind_of
from rerank.engines.device.choices import pick_device, pick_dtype

LIBRARIES: dict[Kind, Any] = {Kind.LATE_INTERACTION: MultiVectorEncoder, Kind.VECTOR: SentenceTransformer}
# Options of its methods that encode: lists of arrays, or one tensor, whatever its `similarity_pairwise` takes.
RETURNED: dict[Kind, dict[str, bool]] = {Kind.LATE_INTERACTION: {}, Kind.VECTOR: {"convert_to_tensor": True}}


class LibraryTexts:
    """A MultiVectorEncoder or SentenceTransformer with the same weights, in one precision."""

    def __init__(self, config: ScorerConfig, dtype: torch.dtype) -> None:
        """Load the model."""
        kind = kind_of(config)
        load, returned = LIBRARIES[kind], RETURNED[kind]
        self.name = f"encode and similarity_pairwise {str(dtype).removeprefix('torch.')}"
        self._model: Any = load(config.location, device=str(pick_device(config.device)), model_kwargs={"dtype": dtype})
        self._options = {"show_progress_bar": False} | returned
        self._tokens = 0
        self._model[0].register_forward_pre_hook(self._count)

    def score(self, pairs: Sequence[tuple[str, str]]) -> int:
        """Score pairs, and return the tokens that went through the model, padding included."""
        before = self._tokens
        queries, documents = (list(dict.fromkeys(texts)) for texts in zip(*pairs, strict=True))
        query_of, document_of = ({text: place for place, text in enumerate(texts)} for texts in (queries, documents))
        query_vectors = self._model.encode_query(queries, **self._options)
        vectors = self._model.encode_document(documents, **self._options)
        rows = [(query_vectors[query_of[query]], vectors[document_of[document]]) for query, document in pairs]
        sides: list[Any] = [[row[side] for row in rows] for side in (0, 1)]
        if isinstance(vectors, torch.Tensor):  # one vector per text
            sides = [torch.stack(side) for side in sides]
        self._model.similarity_pairwise(*sides)
        return self._tokens - before

    def _count(self, _: Any, inputs: tuple[dict[str, Any], ...]) -> None:
        self._tokens += inputs[0]["input_ids"].numel()


def text_rivals(config: ScorerConfig) -> list[LibraryTexts]:
    """Return the library in float32, and in the precision that is fastest on this device."""
    fastest = pick_dtype("auto", pick_device(config.device))
    return [LibraryTexts(config, dtype) for dtype in dict.fromkeys((torch.float32, fastest))]
