"""What Serve's proxy answers when the ingress dies with a request, or before it knows where the ingress is: a 503 that
says when to come back.

Serve's own answers are a 500 and a 404 as plain text. Ray calls `middlewares` in every proxy that it starts with
RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=serve.http.proxy:middlewares.
"""

from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rerank.errors import UnavailableError
from serve.errors import body_for_all, error_response

_NOT_FOUND = 404
_SAYS_NO_ROUTE = b"/-/routes"  # in the 404 of Serve's proxy, which names its own page of paths
_OWN_PATHS = "/-/"


def middlewares() -> list[Middleware]:
    """Return what Serve puts around its proxy."""
    return [Middleware(AnswerForLostIngress)]


class AnswerForLostIngress:
    """Answers where the proxy cannot: the replica of the ingress that had the request has died, or none is known yet.

    A proxy that has just started knows no paths. Its 404 is passed on once it has found any path.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._has_routes = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and answer it if nothing was answered, or that there is no such path."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start: Message | None = None  # held back until it is known whose 404 it is
        is_answered = False

        async def note_and_send(message: Message) -> None:
            nonlocal start, is_answered
            if message["type"] == "http.response.start" and message["status"] == _NOT_FOUND and not self._has_routes:
                start = message
                return
            if start is not None:
                held, start = start, None
                if _SAYS_NO_ROUTE in message.get("body", b""):
                    return
                await send(held)
            self._has_routes = self._has_routes or not scope["path"].startswith(_OWN_PATHS)
            is_answered = True
            await send(message)

        await self._app(scope, receive, note_and_send)
        if not is_answered:
            failure = error_response(UnavailableError("the server lost this request, retry later"))
            await JSONResponse(body_for_all(failure), failure.status, failure.headers)(scope, receive, send)
