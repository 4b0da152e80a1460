"""Requests of every bad kind, made with a random number generator: a storm of them is the same for the same seed."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.serve.bodies import PATHS, examples_for

ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 2**64, 10**30, 0.5, float("inf"), "", " ", "a", "length", "none", "\ud800", "\x00"),
    *([], {}, [[]], [None], [{}], {"text": ""}, {"text": "a"}, {"text": None}, ["a"] * 70, "long " * 20_000),
)
ODD_HEADERS: tuple[dict[str, str], ...] = (
    *({"X-Request-Timeout": value} for value in ("0", "-1", "soon", "nan", "inf", "1e999", "0.001", "")),
    *({"Content-Length": value} for value in ("0", "-1", "many", "9" * 5_000, "\xb2", "99999999999")),
    *({"Content-Type": value} for value in ("application/msgpack", "text/plain", "", "multipart/form-data")),
    *(
        {"Authorization": value}
        for value in ("", "Bearer", "Bearer  ", "Basic a", "Bearer \xe9\xff", "bearer " + "k" * 9_999)
    ),
    {"Accept": "application/msgpack"},
    {"X-Request-Id": "\xe9" * 500},
)
OTHERS = (
    *(
        ("GET", path)
        for path in ("/readyz", "/healthz", "/v1/models", "/info", "/metrics", "/", "/v3/rerank", "//", "/%00")
    ),
    *(("PUT", "/v1/rerank"), ("GET", "/score"), ("DELETE", "/readyz"), ("OPTIONS", "/v1/rerank")),
)


@dataclass
class Sent:
    """A request; its client `leaves` after the pieces, or never sends the end (`stalls`)."""

    path: str
    method: str = "POST"
    pieces: Sequence[bytes] = ()
    headers: dict[str, str] = field(default_factory=dict)
    leaves: bool = False
    stalls: bool = False

    async def body(self) -> AsyncIterator[bytes]:
        """The pieces with a breath between them, and then the end, unless the upload stalls."""
        for piece in self.pieces:
            yield piece
            await asyncio.sleep(0)
        if self.stalls:
            await asyncio.Event().wait()


def drawn(rng: Random, keys: Sequence[str]) -> Sent:
    """A request of a random kind, most with one of these API keys."""
    headers = {"Authorization": f"Bearer {rng.choice(keys)}"} if rng.random() < 0.95 else {}
    if rng.random() < 0.1:
        method, path = rng.choice(OTHERS)
        return Sent(path, method, headers=headers)
    path = rng.choice(PATHS)
    sent = Sent(path, pieces=_cut(rng, _content(rng, path)), headers=headers)
    if rng.random() < 0.2:
        sent.headers |= rng.choice(ODD_HEADERS)
    sent.leaves = rng.random() < 0.1
    if not sent.leaves and rng.random() < 0.05:
        sent.stalls = True
        sent.headers["X-Request-Timeout"] = "0.02"
    return sent


def _content(rng: Random, path: str) -> bytes:
    if rng.random() < 0.02:
        return _large(rng)
    body = deepcopy(rng.choice(examples_for(path)))
    for _ in range(rng.choice((0, 0, 1, 1, 2, 3))):
        _change(rng, body)
    content = bytearray(json.dumps(body).replace("Infinity", "1e999").encode())
    if rng.random() < 0.1:
        content[rng.randrange(len(content))] = rng.randrange(256)
    return bytes(content)


def _large(rng: Random) -> bytes:
    """A body near the limits: many rows, many documents, long texts, deep nesting, few bytes that could become many."""
    documents = ["a few words " * 8] * 500
    bodies = (
        {"queries": ["q"] * 500, "documents": documents},
        {"query": "q", "documents": documents},
        {"query": "q" * 50_000, "texts": ["a" * 50_000] * 10},
        {"query": "q", "documents": [{"t": "x" * 8_000}], "rank_fields": ["t"] * 40_000},
        {"query": "q", "texts": ["a"] * 200_000, "unread": [[]] * 100_000},
        {"query": "q", "input": [{"text": "a", "more": [[[["b"] * 50] * 50]]}] * 9, "return_input": True},
    )
    return rng.choice((*(json.dumps(body).encode() for body in bodies), b"[" * 100_000))


def _change(rng: Random, body: dict[str, Any]) -> None:
    """Replace, add or drop an entry anywhere in a body."""
    place: Any = body
    while rng.random() < 0.5:
        inside = place.values() if isinstance(place, dict) else place
        inner = [value for value in inside if value and isinstance(value, list | dict)]
        if not inner:
            break
        place = rng.choice(inner)
    value = deepcopy(rng.choice(ODD_VALUES))
    if isinstance(place, list):
        place[rng.randrange(len(place))] = value
    elif rng.random() < 0.2 and len(place) > 1:
        del place[rng.choice(list(place))]
    else:
        place[rng.choice([*place, "model", "top_n", "top_k", "rank_fields", "queries", "text_1"])] = value


def _cut(rng: Random, content: bytes) -> list[bytes]:
    """The content in one piece or in up to six, one of them empty."""
    bounds = sorted(rng.randrange(len(content) + 1) for _ in range(rng.choice((0, 0, 0, 1, 5))))
    return [content[start:end] for start, end in zip([0, *bounds], [*bounds, len(content)], strict=True)]
