"""Compressed request bodies: gzip is read within the limits, and nothing else is."""

import asyncio
import gzip
import json
import tracemalloc
import zlib

import pytest

from serve.http.api import create_api
from serve.http.endpoint import Server
from serve.http.limits import Limits
from serve.models import Models
from tests.serve.asgi import upload
from tests.serve.standins import LengthScorer

BODY = json.dumps({"query": "q", "documents": ["four", "sixsix"]}).encode()
GZIP = {"Content-Encoding": "gzip"}
MIB = 2**20


def answer(body: bytes, *, encoding: str = "gzip", piece: int = 2**16, limits: Limits | None = None, path="/v1/rerank"):
    """Status, headers and JSON of the answer to a body that arrives in pieces."""
    api = create_api(Server(Models({"length": LengthScorer()}), limits or Limits()))
    pieces = [body[start : start + piece] for start in range(0, len(body), piece)]
    status, headers, content = asyncio.run(upload(api, path, pieces, headers={"Content-Encoding": encoding}))
    return status, headers, json.loads(content)


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip"])
@pytest.mark.parametrize("piece", [1, 7, 2**16])
def test_a_gzip_body_is_read_however_it_is_cut(encoding, piece):
    status, _, body = answer(gzip.compress(BODY), encoding=encoding, piece=piece)
    assert status == 200 and [place["index"] for place in body["results"]] == [1, 0]


def test_members_of_a_gzip_body_are_read_one_after_another():
    assert answer(gzip.compress(BODY[:9]) + gzip.compress(b"") + gzip.compress(BODY[9:]))[0] == 200


def test_a_large_text_is_whole_after_unpacking():
    documents = [f"{number} " * 5_000 for number in range(30)]
    status, _, body = answer(gzip.compress(json.dumps({"query": "q", "documents": documents}).encode()), piece=1_000)
    assert (status, body["usage"]["total_tokens"]) == (200, sum(map(len, documents)))


def test_identity_is_no_compression():
    assert answer(BODY, encoding="identity")[0] == 200


def test_the_limit_in_bytes_holds_after_unpacking():
    limits = Limits(body_bytes=400)
    whole = BODY + b" " * (400 - len(BODY))
    assert answer(gzip.compress(whole), limits=limits)[0] == 200
    status, _, body = answer(gzip.compress(whole + b" "), limits=limits)
    assert (status, body["message"]) == (413, "request body must hold at most 400 bytes, got more")


def test_a_body_that_unpacks_to_200_mebibytes_takes_no_more_memory_than_the_limit():
    packer = zlib.compressobj(1, wbits=31)
    bomb = b"".join([packer.compress(b" " * MIB) for _ in range(200)]) + packer.flush()
    assert len(bomb) < MIB
    tracemalloc.start()
    try:
        status, *_ = answer(bomb, limits=Limits(body_bytes=2 * MIB), piece=len(bomb))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert status == 413 and peak < 8 * MIB


def test_unpacked_bytes_count_as_bytes_that_wait():
    limits = Limits(waiting_bytes=100_000)
    server = Server(Models({"length": LengthScorer()}), limits)
    server.held._total = 1  # another body
    body = gzip.compress(json.dumps({"query": "q", "documents": ["a" * 100_000]}).encode())
    status, *_ = asyncio.run(upload(create_api(server), "/v1/rerank", [body], headers=GZIP))
    assert status == 429


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (BODY, "request body is not valid gzip: Error -3 while decompressing data: incorrect header check"),
        (gzip.compress(BODY)[:-1], "request body is not valid gzip: it ends early"),
        (gzip.compress(BODY)[:-8] + bytes(8), "request body is not valid gzip: Error -3 while decompressing data: inc"),
        (gzip.compress(BODY) + b"more", "request body is not valid gzip: "),
        (b"", "request body is not valid gzip: it ends early"),
    ],
    ids=["not compressed", "cut off", "wrong check sum", "bytes behind it", "empty"],
)
def test_a_body_that_is_not_valid_gzip_is_refused(content, message):
    status, _, body = answer(content)
    assert status == 400 and body["message"].startswith(message)


@pytest.mark.parametrize("encoding", ["br", "deflate", "zstd", "gzip, gzip"])
def test_another_encoding_is_415_and_the_accepted_one_is_named(encoding):
    status, headers, body = answer(BODY, encoding=encoding)
    assert (status, headers["accept-encoding"]) == (415, "gzip")
    assert body["message"] == f"Content-Encoding must be gzip or left out, got {encoding!r}"


def test_another_encoding_is_refused_in_the_dialect_of_the_path():
    status, _, body = answer(BODY, encoding="br", path="/predict")
    assert (status, body["error_type"]) == (415, "Validation")
