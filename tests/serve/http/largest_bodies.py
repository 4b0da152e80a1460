"""Send the largest legal bodies, and small ones that could become large, to an ingress and an actor in this process.

`python -m tests.serve.http.largest_bodies MAX_LENGTH` prints the peak of the memory above that of the idle process and
the longest pause of the event loop, as JSON. It needs neither Ray nor torch nor a model.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from tokenizers import Tokenizer

from rerank.actor import RerankActor
from rerank.config import ScorerConfig
from rerank.encoding.pairs import EncodedPairs, Encoder
from rerank.engines import Scores
from serve.http.api import create_api
from serve.http.endpoint import Server
from serve.http.limits import Limits
from serve.models import Models

CLIENTS = 16
LONG = 99_000


class FreeEngine:
    """An engine that takes no time."""

    lanes = None

    def __init__(self) -> None:
        self.description = {"engine": "free"}

    def score(self, pairs: EncodedPairs) -> Scores:
        return Scores(np.zeros(len(pairs), dtype=np.float32), 0)


def bodies() -> dict[str, tuple[str, bytes]]:
    """Return paths and bodies by name."""
    sent: dict[str, tuple[str, dict[str, Any]]] = {
        "dots": ("/v1/rerank", {"query": "q", "documents": ["." * LONG] * 100}),
        "full": (
            "/v2/rerank",
            {"query": "q", "documents": ["." * 10_000] * 1_000, "return_documents": True},
        ),
        "a long query": ("/v1/score", {"text_1": "what " * 19_000, "text_2": ["parcel " * 14_000] * 20}),
        "rows": ("/v1/score", {"queries": ["é" * 24_000] * 100, "documents": ["é" * 24_000] * 100}),
        "repeated names": (
            "/v1/rerank",
            {"documents": [{"t": "x" * 8_000}], "query": "q", "rank_fields": ["t"] * 40_000},
        ),
        "too many": ("/rerank", {"query": "q", "texts": ["a"] * 2_400_000}),
        "empty lists": ("/rerank", {"query": "q", "documents": ["a"], "unread": [[]] * 3_000_000}),
        "objects": ("/v1/reranking", {"query": "q", "input": [{"t": "a"}] * 900_000, "rank_fields": ["t"]}),
    }
    options: dict[str, Any] = {"ensure_ascii": False, "separators": (",", ":")}
    return {name: (path, json.dumps(body, **options).encode()) for name, (path, body) in sent.items()}


def resident(field: str) -> int:
    """Return VmRSS (now) or VmHWM (the peak) in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


async def longest_pause(done: asyncio.Event) -> float:
    """Return the longest time that the event loop let a timer wait, in seconds."""
    longest = 0.0
    while not done.is_set():
        started = time.perf_counter()
        await asyncio.sleep(0.001)
        longest = max(longest, time.perf_counter() - started - 0.001)
    return longest


async def main() -> dict[str, Any]:
    """Send all bodies, several at a time, and return what was measured."""
    tokenizer = Tokenizer.from_file(str(Path(ScorerConfig().location) / "tokenizer.json"))
    encoder = Encoder(tokenizer, max_length=int(sys.argv[1]))
    actor = RerankActor(ScorerConfig(), engine=FreeEngine(), encoder=encoder)
    api = create_api(Server(Models({"free": actor}, {}), Limits(timeout_s=600)))
    statuses: Counter[int] = Counter()
    pauses: dict[str, float] = {}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(api), base_url="http://testserver", timeout=None
    ) as http:

        async def send(path: str, content: bytes) -> None:
            async def parts():
                for start in range(0, len(content), 2**16):
                    yield content[start : start + 2**16]

            statuses[(await http.post(path, content=parts())).status_code] += 1

        await send("/v1/rerank", b'{"query": "q", "documents": ["a"]}')
        sent = bodies()
        idle = resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts here
        for name, (path, content) in sent.items():
            done = asyncio.Event()
            pause = asyncio.create_task(longest_pause(done))
            await asyncio.sleep(0.005)  # it measures from now on
            await send(path, content)
            done.set()
            pauses[name] = await pause
        one = resident("VmHWM") - idle
        await asyncio.gather(*(send(*sent["dots"]) for _ in range(CLIENTS)))
    return {
        "one_mib": one / 2**20,
        "together_mib": (resident("VmHWM") - idle) / 2**20,
        "pauses_ms": {name: round(1000 * pause, 1) for name, pause in pauses.items()},
        "statuses": {str(status): count for status, count in sorted(statuses.items())},
    }


json.dump(asyncio.run(main()), sys.stdout)
