"""The vectors of texts that an engine met, bounded in bytes: the least recently used go first."""

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock

import torch


class VectorCache:
    """Vectors by text. Several threads may use it at once."""

    def __init__(self, most_bytes: int) -> None:
        """Keep at most `most_bytes` of vectors."""
        self.most_bytes = most_bytes
        self._bytes = 0
        self._vectors: OrderedDict[str, torch.Tensor] = OrderedDict()
        self._lock = Lock()
        self.hits = 0
        self.lookups = 0

    def get(self, keys: Sequence[str]) -> dict[str, torch.Tensor]:
        """Return the vectors that are known, by key."""
        with self._lock:
            known = {key: self._vectors[key] for key in keys if key in self._vectors}
            for key in known:
                self._vectors.move_to_end(key)
            self.hits += len(known)
            self.lookups += len(keys)
        return known

    def put(self, vectors: dict[str, torch.Tensor]) -> None:
        """Add vectors, and drop the least recently used ones if there are too many bytes."""
        with self._lock:
            for key, tensor in vectors.items():
                if key not in self._vectors:
                    self._vectors[key] = tensor
                    self._bytes += tensor.nbytes
            while self._bytes > self.most_bytes:
                self._bytes -= self._vectors.popitem(last=False)[1].nbytes
