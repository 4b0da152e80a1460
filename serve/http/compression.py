"""Request bodies with a Content-Encoding: gzip is unpacked while it arrives, another encoding is refused."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterator

from starlette.requests import Request

from serve.errors import NotJsonError, UnsupportedEncodingError

_GZIP = 16 + zlib.MAX_WBITS  # zlib reads gzip's header and check sum
_PIECE_BYTES = 65_536


async def unpacked(request: Request) -> AsyncIterator[bytes]:
    """Yield a request body as it arrives, without its encoding.

    A gzip body is yielded in pieces of 64 KiB, so what lies behind a limit is never unpacked. Raises
    UnsupportedEncodingError for an encoding other than gzip, and NotJsonError if the body does not follow it.
    """
    encoding = ", ".join(request.headers.getlist("content-encoding")).strip().lower()
    if encoding in ("", "identity"):
        async for chunk in request.stream():
            yield chunk
        return
    if encoding not in ("gzip", "x-gzip"):
        raise UnsupportedEncodingError(f"Content-Encoding must be gzip or left out, got {encoding!r}")
    gzip = _Gzip()
    async for chunk in request.stream():
        for piece in gzip.unpack(chunk):
            yield piece
            await asyncio.sleep(0)  # other requests run between two pieces
    gzip.check_end()


class _Gzip:
    """A gzip body: one or more members, each compressed by itself."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP)

    def unpack(self, content: bytes) -> Iterator[bytes]:
        """Yield what the next bytes of the body unpack to, in pieces. Raises NotJsonError."""
        is_pending = bool(content)
        while is_pending:
            if self._member.eof:
                self._member = zlib.decompressobj(_GZIP)
            try:
                piece = self._member.decompress(content, _PIECE_BYTES)
            except zlib.error as error:
                raise NotJsonError(f"request body is not valid gzip: {error}") from None
            content = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            is_pending = bool(content) or (len(piece) == _PIECE_BYTES and not self._member.eof)
            if piece:
                yield piece

    def check_end(self) -> None:
        """Raise NotJsonError unless the body ended with a member."""
        if not self._member.eof:
            raise NotJsonError("request body is not valid gzip: it ends early")
