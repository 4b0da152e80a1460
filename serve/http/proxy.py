"""What Serve's proxy answers when the ingress dies with a request: a 503 that says when to come back.

Serve's own answer is a 500 as plain text. Ray calls `middlewares` in every proxy that it starts with
RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=serve.http.proxy:middlewares.
"""

from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rerank.errors import UnavailableError
from serve.errors import body_for_all, error_response


def middlewares() -> list[Middleware]:
    """Return what Serve puts around its proxy."""
    return [Middleware(AnswerForLostIngress)]


class AnswerForLostIngress:
    """Answers where the proxy does not: the replica of the ingress that had the request has died."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and answer it if nothing was answered."""
        has_started = False

        async def note_and_send(message: Message) -> None:
            nonlocal has_started
            has_started = True
            await send(message)

        await self._app(scope, receive, note_and_send)
        if scope["type"] == "http" and not has_started:
            failure = error_response(UnavailableError("the server lost this request, retry later"))
            await JSONResponse(body_for_all(failure), failure.status, failure.headers)(scope, receive, send)
