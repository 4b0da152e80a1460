"""Requests as a server passes them on: in pieces, with pauses, or cut off by a client that leaves."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from starlette.types import ASGIApp

PATIENCE = 20.0  # seconds until a request that hangs fails its test


async def upload(
    api: ASGIApp,
    path: str,
    pieces: AsyncIterator[bytes] | Sequence[bytes],
    *,
    method: str = "POST",
    headers: Mapping[str, str] | None = None,
    leaves: bool = False,
) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of the answer; the client `leaves` after the pieces, before its body is whole."""
    sent: list[Any] = []
    body = _pieces(pieces)

    async def receive() -> dict[str, Any]:
        async for piece in body:
            return {"type": "http.request", "body": piece, "more_body": True}
        if leaves:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()],
        "server": ("testserver", 80),
        "client": ("127.0.0.1", 1),
    }
    async with asyncio.timeout(PATIENCE):
        await api(scope, receive, send)
    start = sent[0]
    answer = b"".join(message.get("body", b"") for message in sent[1:])
    return start["status"], {name.decode(): value.decode() for name, value in start["headers"]}, answer


async def _pieces(pieces: AsyncIterator[bytes] | Sequence[bytes]) -> AsyncIterator[bytes]:
    if isinstance(pieces, AsyncIterator):
        async for piece in pieces:
            yield piece
    else:
        for piece in pieces:
            yield piece
