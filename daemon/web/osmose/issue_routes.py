"""Routes: one issue, what an editor may take over from it, and verdicts on it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Header, Path, Query
from psycopg2.extensions import cursor as Cursor
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from daemon.discrepancies.life import lock_ledger
from daemon.reviews.intake import take_verdict
from daemon.reviews.retraction import take_back
from daemon.reviews.verdicts import Verdict
from daemon.web.osmose.desk import GET, JSON, Desk
from daemon.web.osmose.feed import Issue, find_issue
from daemon.web.osmose.fixes import fixes_of, osm_file
from daemon.web.osmose.languages import languages_of
from daemon.web.osmose.parameters import Status
from daemon.web.osmose.shapes import elements, encode_json, false_positive, one

#: Bodies of 410, by which clients tell them apart.
GONE = "Id is not present in database."
NO_FIX = "Fix is not present in database."
FAIL = "FAIL"
#: Osmose's word -> verdict.
VERDICTS = {"done": Verdict.FIXED, "false": Verdict.FALSE_POSITIVE}
CAME_BY = "osmose"
#: Characters that are kept of what a client calls itself.
LONGEST_AGENT = 200
Fix = Annotated[int, Path(ge=0, le=2**31 - 1)]
Langs = Annotated[str | None, Query(description="en,fr; before Accept-Language")]
Authorization = Annotated[str | None, Header()]


def add_issue(router: APIRouter, desk: Desk) -> None:
    """Let a router answer them."""
    database = desk.backend.db

    @router.api_route("/issue/{uuid}", methods=GET, summary="One issue")
    def issue(request: Request, uuid: UUID, langs: Langs = None) -> Response:
        """All that is known of it, with the object it is about as it is on the map now."""
        languages = languages_of(langs, request.headers.get("accept-language"))
        with desk.fresh(request, of_map=True) as (cursor, answer):
            found, _ = _find(desk, cursor, uuid)
            body = encode_json(one(found, desk.kinds, languages, _feature(desk, cursor, found)))
        return answer.of(body)

    @router.api_route("/issue/{uuid}/fresh_elems", methods=GET, summary="Its objects as they are now")
    def fresh_elems(request: Request, uuid: UUID) -> Response:
        """From the map as of the newest change file."""
        return _fresh_elems(desk, request, uuid, None)

    @router.api_route("/issue/{uuid}/fresh_elems/{number}", methods=GET, summary="Its objects, before and after a fix")
    def fresh_elems_fixed(request: Request, uuid: UUID, number: Fix) -> Response:
        """From the map as of the newest change file."""
        return _fresh_elems(desk, request, uuid, number)

    @router.api_route("/issue/{uuid}/fix/{number}", methods=GET, summary="A fix, to be imported by JOSM")
    def fix(request: Request, uuid: UUID, number: Fix) -> Response:
        """New objects have negative ids; what is missing is drawn as it was seen."""
        with desk.fresh(request) as (cursor, answer):
            found, _ = _find(desk, cursor, uuid)
        text = osm_file(found.discrepancy, number)
        if text is None:
            raise HTTPException(410, NO_FIX)
        return answer.of(text.encode(), "text/xml; charset=utf-8")

    @router.api_route("/issue/{uuid}/{verdict}", methods=["GET", "POST"], summary="Say that it is done, or false")
    def give(
        request: Request, uuid: UUID, verdict: Literal["done", "false"], authorization: Authorization = None
    ) -> Response:
        """`done` hides it until the map shows that it is; `false` is for ever. `null`, or 410 where it is not shown."""
        desk.backend.guard.check_osmose(_address(request), authorization)
        agent, now = request.headers.get("user-agent", "")[:LONGEST_AGENT], desk.backend.clock()
        with database.transaction() as cursor:
            lock_ledger(cursor)  # before looking: of two who say so at once, one is told that it is gone
            found, _ = _find(desk, cursor, uuid, gone=FAIL)
            take_verdict(
                cursor, desk.backend.current_map, desk.backend.config.reviews, found.discrepancy.key,
                VERDICTS[verdict], None, None, CAME_BY, now, {"agent": agent}, now=now,
            )
        return _nothing()

    @router.api_route("/false-positive/{uuid}", methods=GET, summary="What was called false")
    def get_false_positive(request: Request, uuid: UUID, langs: Langs = None) -> Response:
        """The issue as it was, and when it was called so."""
        languages = languages_of(langs, request.headers.get("accept-language"))
        with desk.fresh(request) as (cursor, answer):
            found, said = _find(desk, cursor, uuid, "false")
        return answer.of(encode_json(false_positive(found, said, desk.kinds, languages)))

    @router.delete("/false-positive/{uuid}", summary="Take back that it is false")
    def delete_false_positive(request: Request, uuid: UUID, authorization: Authorization = None) -> Response:
        """Needs the token. The verdict is forgotten, and the issue is shown again when it was asked of the map anew."""
        desk.backend.guard.check_review(_address(request), authorization)
        with database.transaction() as cursor:
            lock_ledger(cursor)
            found, _ = _find(desk, cursor, uuid, "false", gone=FAIL)
            take_back(cursor, found.discrepancy.key, came_by=CAME_BY, now=desk.backend.clock())
        return _nothing()


def _find(
    desk: Desk, cursor: Cursor, uuid: UUID, status: Status = "open", *, gone: str = GONE
) -> tuple[Issue, datetime]:
    found = find_issue(cursor, str(uuid), status)
    if found is None or (found[0].discrepancy.detector, found[0].discrepancy.kind) not in desk.kinds:
        raise HTTPException(410, gone)
    return found


def _feature(desk: Desk, cursor: Cursor, issue: Issue) -> Any:
    osm = issue.discrepancy.osm
    return None if osm is None else desk.backend.current_map.store.feature(cursor, osm)


def _fresh_elems(desk: Desk, request: Request, uuid: UUID, number: int | None) -> Response:
    with desk.fresh(request, of_map=True) as (cursor, answer):
        found, _ = _find(desk, cursor, uuid)
        feature = _feature(desk, cursor, found)
    if number is not None and number >= len(fixes_of(found.discrepancy) or []):
        raise HTTPException(410, NO_FIX)
    told: dict[str, Any] = {"uuid": found.uuid, "elems": elements(found.discrepancy, feature) if feature else []}
    # No fix of ours changes an object that is there, so none is another after it.
    return answer.of(encode_json(told if number is None else {**told, "fix": {}}), JSON)


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _nothing() -> Response:
    return Response(b"null", media_type=JSON, headers={"Cache-Control": "no-store"})
