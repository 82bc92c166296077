"""The live page as a web app: it reads a run's files and answers GET on this machine alone.

Other programs of this machine may read it, as any port on loopback; pages of other sites may not:
host names other than this machine's are refused (DNS rebinding), no data is shared across origins,
and the page itself runs no inline script and loads only its own files.
"""

import secrets
import time
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fedshelf.server.monitor import wording
from fedshelf.server.monitor.page import REPORT_FOLDER, TEMPLATE_FOLDER, PageView
from fedshelf.server.monitor.prometheus import exposition
from fedshelf.server.monitor.reader import RunReader
from fedshelf.server.monitor.state import RunState
from fedshelf.server.results.run_status import FAILED_STATES

ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
CONTENT_SECURITY_POLICY = (
    # The charts place their labels with style attributes, computed here; style sheets come from us
    # only.
    "default-src 'none'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline';"
    " connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors"
    " 'none'"
)
SECURITY_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


class LivePage:
    """Answers requests for one run.

    Args:
        directory: run directory

    Attributes:
        app:             the ASGI app
        last_request_at: time (s), by time.monotonic(), at which a page last asked for news
    """

    def __init__(self, directory: Path) -> None:
        self._reader = RunReader(directory)
        self._view = PageView()
        # a page may have seen versions of an earlier server
        self._origin = secrets.token_hex(4)
        self._version = 0
        self._shown_state: RunState | None = None
        self._parts: dict[str, str] = {}
        self.last_request_at = float("-inf")
        self._style = (REPORT_FOLDER / "page.css").read_bytes() + (
            TEMPLATE_FOLDER / "live.css"
        ).read_bytes()
        self._script = (TEMPLATE_FOLDER / "live.js").read_bytes()
        self.app = Starlette(
            routes=[
                Route("/", self._page),
                Route("/news", self._news),
                Route("/live.css", self._css),
                Route("/live.js", self._js),
                Route("/metrics", self._metrics),
                Route("/health", self._health),
            ],
            middleware=[
                Middleware(_SafeHeaders),
                Middleware(TrustedHostMiddleware, allowed_hosts=ALLOWED_HOSTS, www_redirect=False),
            ],
        )

    def server_config(self) -> uvicorn.Config:
        """Return the settings of uvicorn; its parser h11 bounds the size of a request."""
        return uvicorn.Config(
            self.app, http="h11", ws="none", log_level="warning", server_header=False
        )

    def _update(self) -> RunState:
        """Return the current state; render the HTML anew if the state has changed."""
        state = self._reader.look()
        if state is not self._shown_state:
            parts = self._view.parts(state)
            self._version += parts != self._parts
            self._shown_state = state
            self._parts = parts
        return state

    def _version_name(self) -> str:
        return f"{self._origin}-{self._version}"

    async def _page(self, _: Request) -> Response:
        state = self._update()
        return HTMLResponse(self._view.page(state, self._parts, self._version_name()))

    async def _news(self, request: Request) -> Response:
        """Return all parts of the page if they differ from those of `?seen=`, else 204."""
        self.last_request_at = time.monotonic()
        state = self._update()
        if request.query_params.get("seen") == self._version_name():
            return Response(status_code=204)
        news = {
            "version": self._version_name(),
            "title": wording.title(state),
            "over": not state.is_at_work,
        }
        return JSONResponse(news | {"parts": self._parts})

    async def _css(self, _: Request) -> Response:
        return Response(self._style, media_type="text/css")

    async def _js(self, _: Request) -> Response:
        return Response(self._script, media_type="text/javascript")

    async def _metrics(self, _: Request) -> Response:
        return Response(exposition(self._update()), media_type="text/plain; version=0.0.4")

    async def _health(self, _: Request) -> Response:
        """Return 200 while the run is in order, 503 once it has failed."""
        state = self._update()
        return JSONResponse(
            {"status": state.status, "round": state.round},
            503 if state.status in FAILED_STATES else 200,
        )


class _SafeHeaders:
    """ASGI middleware that puts the security headers on every response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] += [
                    (name.encode(), value.encode()) for name, value in SECURITY_HEADERS.items()
                ]
            await send(message)

        await self._app(scope, receive, with_headers)
