"""Errors as problem JSON (RFC 9457), the one form of every answer that is not a success."""

import json
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"

Endpoint = Callable[[Request], Awaitable[Response]]

_LOG = logging.getLogger("fedshelf.service")


class ProblemError(Exception):
    """A request that is not answered as it wished.

    Args:
        status: of HTTP
        detail: a sentence: what was got, what was expected
        headers: of the answer
    """

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})

    def to_json(self) -> dict[str, Any]:
        """Return the members of RFC 9457; `about:blank` says that the status tells the kind."""
        return {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }

    def response(self) -> Response:
        """Return the answer."""
        content = json.dumps(self.to_json(), ensure_ascii=False)
        return Response(content, self.status, self.headers, MEDIA_TYPE)


class ClientGoneError(Exception):
    """The client closed its connection; nobody waits for the answer."""


def busy(status: int, detail: str, seconds: float) -> ProblemError:
    """Return the problem of a service that can answer later.

    Args:
        status: 429: there is too much to do; 503: it stops, or an answer took too long
        detail: a sentence
        seconds: after which to try again
    """
    return ProblemError(status, detail, {"retry-after": str(max(1, math.ceil(seconds)))})


async def direct_response(endpoint: Endpoint, request: Request) -> Response:
    """Return an endpoint's answer as Starlette would with the handlers below, for a third of its
    time.
    """
    try:
        return await endpoint(request)
    except ProblemError as problem:
        return problem.response()
    except ClientGoneError as gone:
        return await answer_gone(request, gone)
    except Exception as error:
        _LOG.exception("A request could not be answered.")
        return await answer_fault(request, error)


async def answer_problem(_: Request, error: Exception) -> Response:
    """Return the answer to a `ProblemError` (an exception handler of Starlette)."""
    assert isinstance(error, ProblemError)
    return error.response()


async def answer_http_exception(_: Request, error: Exception) -> Response:
    """Return the answer to Starlette's own errors, as 404 and 405 (an exception handler)."""
    assert isinstance(error, HTTPException)
    details = {
        404: "There is nothing at this address; GET /openapi.json lists all that there is.",
        405: "This address does not take that method; GET /openapi.json lists those that it takes.",
    }
    detail = details.get(error.status_code, error.detail)
    return ProblemError(error.status_code, detail, error.headers).response()


async def answer_gone(_: Request, __: Exception) -> Response:
    """Return an answer that nobody reads (an exception handler)."""
    return Response(status_code=HTTPStatus.BAD_REQUEST)


async def answer_fault(_: Request, __: Exception) -> Response:
    """Return the answer to an error of ours, which tells a stranger nothing (a handler)."""
    return ProblemError(500, "The service failed at this request; its log says why.").response()
