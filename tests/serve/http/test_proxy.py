"""What is put around Serve's proxy: it answers only what the proxy leaves unanswered."""

import asyncio

import httpx
from ray.serve._private.http_util import validate_http_proxy_callback_return
from starlette.responses import PlainTextResponse

from serve.http.proxy import AnswerForLostIngress, middlewares

NO_ROUTE = "Path '/v1/rerank' not found. Ping http://.../-/routes for available routes."


def answer_of(app) -> httpx.Response:
    return answer_through(AnswerForLostIngress(app))


def answer_through(proxy: AnswerForLostIngress) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(proxy)
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as http:
            return await http.post("/v1/rerank", json={})

    return asyncio.run(ask())


def test_a_request_that_the_proxy_does_not_answer_may_be_sent_again():
    async def proxy(scope, receive, send):
        """Return without a word, as Serve's proxy does where the replica has died."""

    answer = answer_of(proxy)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["message"] == "the server lost this request, retry later"


def test_a_proxy_that_knows_no_paths_yet_asks_to_come_back():
    answers = [PlainTextResponse(NO_ROUTE, 404), PlainTextResponse("found"), PlainTextResponse(NO_ROUTE, 404)]

    async def app(scope, receive, send):
        await answers.pop(0)(scope, receive, send)

    proxy = AnswerForLostIngress(app)
    first, second, third = (answer_through(proxy) for _ in range(3))
    assert (first.status_code, first.headers["retry-after"]) == (503, "1")
    assert (second.status_code, second.text) == (200, "found")
    assert (third.status_code, third.text) == (404, NO_ROUTE)


def test_the_404_of_the_server_is_passed_on():
    answer = answer_of(PlainTextResponse("no model of this name", 404))
    assert (answer.status_code, answer.text) == (404, "no model of this name")


def test_every_other_answer_is_passed_on():
    answer = answer_of(PlainTextResponse("as it is", status_code=418))
    assert (answer.status_code, answer.text) == (418, "as it is")


def test_serve_accepts_what_its_callback_returns():
    (middleware,) = validate_http_proxy_callback_return(middlewares())
    assert middleware.cls is AnswerForLostIngress
