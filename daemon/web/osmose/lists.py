"""Routes: lists of issues in JSON and in all export formats, and what changed since."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from daemon.web.osmose.desk import ASKED, JSON, Desk, next_link
from daemon.web.osmose.exports import BRIEF, FORMATS, FULL, Format, josm_link
from daemon.web.osmose.feed import (
    PORTION,
    count_issues,
    portions,
    read_changes,
    read_issues,
    read_spots,
    sequence_of,
    snapshot,
)
from daemon.web.osmose.parameters import After, Wanted
from daemon.web.osmose.shapes import encode_json, full

#: Lines of the ledger's history that one answer tells of, if not told otherwise, and at most.
LINES, MOST_LINES = 1000, 10_000
#: Issues whose objects JOSM is told to load in one go.
MOST_OBJECTS = 500
#: Bytes of a long list that are sent at once.
PIECE = 65_536


def add_lists(router: APIRouter, desk: Desk) -> None:
    """Let a router answer them."""

    @router.api_route("/issues", **ASKED, summary="Issues as JSON")
    @router.api_route("/issues.json", **ASKED, summary="Issues as JSON")
    def issues(request: Request) -> Response:
        """What is shown to people and passes the filters; always in the same order."""
        wanted = desk.read(request)
        return _list(desk, request, wanted, FULL if wanted.full else BRIEF)

    @router.api_route("/issues.josm", **ASKED, summary="Load in JOSM")
    def josm(request: Request) -> Response:
        """A redirect to JOSM's remote control on the machine of who asks."""
        wanted = desk.read(request)
        with snapshot(desk.backend.db) as cursor:
            found = read_issues(cursor, read_spots(cursor, wanted, min(_limit(desk, wanted), MOST_OBJECTS)))
        return RedirectResponse(josm_link(found), 307)

    for ending in FORMATS:
        _add_export(router, desk, ending)

    @router.api_route("/changes", **ASKED, summary="What changed since")
    def changes(
        request: Request, since: Annotated[int, Query(ge=0, le=2**63 - 1)],
    ) -> Response:
        """Issues that are new or other than they were, and the names of those that are shown no more.

        Ask with the `sequence` of the last answer, or with the header Mapgap-Sequence of a list; again while there is
        `more`. No filter applies but the language and the limit.
        """
        wanted = desk.read(request)
        limit = min(wanted.limit if "limit" in request.query_params else LINES, MOST_LINES) or MOST_LINES
        with snapshot(desk.backend.db) as cursor:
            if since > sequence_of(cursor):
                raise HTTPException(410, "This sequence is not known here; begin anew with a list.")
            told = read_changes(cursor, since, limit)
        known = [issue for issue in told.shown if (issue.discrepancy.detector, issue.discrepancy.kind) in desk.kinds]
        return Response(encode_json({
            "since": since, "sequence": told.sequence, "more": told.more,
            "issues": [full(issue, desk.kinds, wanted.languages) for issue in known], "gone": told.gone,
        }), media_type=JSON, headers={"Cache-Control": "no-store"})


def _add_export(router: APIRouter, desk: Desk, ending: str) -> None:
    @router.api_route(f"/issues.{ending}", **ASKED, summary=f"Issues as {ending}", name=f"issues_{ending}")
    def export(request: Request) -> Response:
        """The same list in another format."""
        return _list(desk, request, desk.read(request), FORMATS[ending])


def _list(desk: Desk, request: Request, wanted: Wanted, form: Format) -> Response:
    """A list: at once where it is short, else in portions."""
    limit = _limit(desk, wanted)
    head = desk.letterhead(request, wanted)
    with desk.fresh(request, wanted) as (cursor, answer):
        more = {"X-Total-Count": str(count_issues(cursor, wanted))} if wanted.count else {}
        short = limit <= PORTION
        # The last of the list, and whether there is one behind it.
        spots = read_spots(cursor, wanted if short else _at(wanted, limit - 1), limit + 1 if short else 2)
        if len(spots) > (limit if short else 1):
            last = spots[-2]
            more["Link"] = next_link(request, head.base, After(last.place, last.uuid))
        found = form.read(cursor, spots[:limit]) if short else []
    if short:
        return answer.of(b"".join(form.write(found, head)), form.media_type, more)
    headers = {**answer.headers(), **more}
    if request.method == "HEAD":
        return Response(media_type=form.media_type, headers=headers)
    told = portions(desk.backend.db, wanted, limit, form.read)
    first = next(told)  # now, so that what fails is answered as a failure
    pieces = form.write(chain(first, chain.from_iterable(told)), head)
    return StreamingResponse(_gathered(pieces), media_type=form.media_type, headers=headers)


def _limit(desk: Desk, wanted: Wanted) -> int:
    most = desk.backend.web.max_issues
    return min(wanted.limit or most, most)


def _at(wanted: Wanted, number: int) -> Wanted:
    """From the so many-th of the list on."""
    return replace(wanted, offset=wanted.offset + number)


def _gathered(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same in larger pieces: each costs a way through the pool of threads."""
    waiting = bytearray()
    for piece in pieces:
        waiting += piece
        if len(waiting) >= PIECE:
            yield bytes(waiting)
            waiting.clear()
    yield bytes(waiting)
