"""Named failures -> HTTP statuses, one table; what a client is told is JSON {"detail": ...}.

What comes from within (DSNs, paths, SQL, addresses of servers) is logged here and told to nobody.
"""

from __future__ import annotations

import logging

import psycopg2
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from daemon.errors import (
    DatabaseError,
    DatabaseUnavailable,
    DiscrepancyUnknown,
    ImageInvalid,
    ImageryError,
    ImageryUnavailable,
    MapgapError,
    NotHere,
    NotNow,
    RequestInvalid,
    RequestRefused,
    RequestTooLarge,
    StorageFull,
    TokenWrong,
    TooManyRequests,
    TransitionIllegal,
)
from daemon.log import without_secrets

log = logging.getLogger(__name__)

#: Failure -> status, and what is told of it; None: its own message, which was written for the client.
STATUSES: dict[type[Exception], tuple[int, str | None]] = {
    RequestInvalid: (400, None),
    RequestTooLarge: (413, None),
    TokenWrong: (401, None),
    TooManyRequests: (429, None),
    NotHere: (404, None),
    NotNow: (503, None),
    RequestRefused: (400, None),
    DiscrepancyUnknown: (404, None),
    TransitionIllegal: (409, None),
    DatabaseUnavailable: (503, "the database does not answer, or not in time; try again later"),
    psycopg2.OperationalError: (503, "the database does not answer, or not in time; try again later"),
    psycopg2.DataError: (400, "a value lies beyond what can be asked for"),
    DatabaseError: (503, "the database cannot be used at present"),
    StorageFull: (503, "no space left on the server"),
    ImageryUnavailable: (503, "the imagery cannot be had at present; try again later"),
    ImageInvalid: (503, "the imagery cannot be used"),
    ImageryError: (503, "the imagery cannot be used"),
    MapgapError: (500, "the server failed; its log says why"),
    Exception: (500, "the server failed; its log says why"),
}
#: Seconds after which what is busy may be asked again.
RETRY_AFTER = 5


def told(error: Exception) -> tuple[int, str]:
    """Status and text for a failure: of the nearest of its classes that is in the table."""
    for kind in type(error).__mro__:
        if kind in STATUSES:
            status, text = STATUSES[kind]
            return status, str(error) if text is None else text
    raise error


def answer(error: Exception, request: Request) -> JSONResponse:
    """What the client gets; what it is not told is logged."""
    status, text = told(error)
    if status >= 500 and not isinstance(error, RequestRefused):
        known = isinstance(error, (MapgapError, psycopg2.OperationalError))
        said = without_secrets(" ".join(str(error).split()) or type(error).__name__)
        log.warning("%s %s: %s", request.method, request.url.path, said, exc_info=None if known else error)
    headers = {}
    if isinstance(error, TooManyRequests):
        headers["Retry-After"] = str(error.retry_after)
    elif status == 503:
        headers["Retry-After"] = str(RETRY_AFTER)
    elif status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse({"detail": text}, status, headers)


def name_failures(app: FastAPI) -> None:
    """Let the application answer by the table."""

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        # Without "input" and "ctx": what was sent is not sent back.
        problems = [{name: problem[name] for name in ("type", "loc", "msg")} for problem in error.errors()]
        return JSONResponse({"detail": problems}, 422)

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        if error.status_code in (204, 304):
            return Response(status_code=error.status_code, headers=error.headers)
        return JSONResponse({"detail": error.detail}, error.status_code, error.headers)

    async def named(request: Request, error: Exception) -> Response:
        return answer(error, request)

    for kind in STATUSES:
        if kind is not Exception:  # those reach the door, which answers by this table, too
            app.add_exception_handler(kind, named)
