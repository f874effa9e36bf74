"""Discrepancies: lists by page and as GeoJSON, and one with all that is known of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse
from starlette.requests import Request
from starlette.responses import Response

from daemon.db import query
from daemon.discrepancies.life import find, history
from daemon.discrepancies.model import Discrepancy, utc
from daemon.publish import geojson
from daemon.publish.export import ROWS_AT_ONCE, Filter
from daemon.publish.feed import encode, geometry_json
from daemon.web.api.models import Page, Refusal, Whole
from daemon.web.api.parameters import KeyParameter, chosen, square_degrees
from daemon.web.backend import Backend, BackendOf

router = APIRouter(tags=["discrepancies"])

Chosen = Annotated[Filter, Depends(chosen)]
After = Annotated[str, Query(max_length=80, description="`next` of the page before.")]


@router.get("/discrepancies", response_model=Page)
def list_discrepancies(
    request: Request, backend: BackendOf, filters: Chosen, after: After = "",
    limit: Annotated[int, Query(ge=1, le=100_000, description="Not more than web.max_page are given.")] = 100,
) -> Response:
    """Discrepancies in the order of their keys, page by page; the header `Link` names the next page, too."""
    found, following = read_page(backend, filters, after, min(limit, backend.web.max_page))
    answer = {
        "discrepancies": [summary(backend, discrepancy) for discrepancy in found],
        "next": following,
        "attribution": backend.context.attributions,
    }
    headers = {}
    if following:
        url = request.url.include_query_params(after=following)
        headers["Link"] = f'<{url.path}?{url.query}>; rel="next"'
    return Response(encode(answer), media_type="application/json", headers=headers)


@router.get(
    "/discrepancies.geojson", response_class=StreamingResponse,
    responses={200: {
        "description": "A FeatureCollection (RFC 7946), a Feature on each line.",
        "content": {"application/geo+json": {"schema": {
            "type": "object", "required": ["type", "features", "attribution"],
            "properties": {"type": {"const": "FeatureCollection"}, "features": {"type": "array"}},
        }}},
    }},
)
def stream_discrepancies(
    backend: BackendOf, filters: Chosen, after: After = "",
    limit: Annotated[int | None, Query(ge=1, le=10_000_000, description="Default: all of them.")] = None,
) -> StreamingResponse:
    """The same as GeoJSON, however many they are; what changes meanwhile is there as it was or as it is."""
    first = read_page(backend, filters, after, min(limit or ROWS_AT_ONCE, ROWS_AT_ONCE))  # a failure is told yet
    lines = geojson.lines(_all(backend, filters, first, limit), backend.context)
    return StreamingResponse(lines, media_type="application/geo+json")


@router.get("/discrepancies/{key}", response_model=Whole, responses={404: {"model": Refusal}})
def show_discrepancy(backend: BackendOf, key: KeyParameter) -> Response:
    """One discrepancy with its evidence, its history and what people said of it."""
    with backend.db.transaction() as cursor:
        discrepancy = find(cursor, key)
        happenings = history(cursor, key)
        cursor.execute(query("reviews_of"), {"key": key})
        reviews = cursor.fetchall()
    kind = backend.kinds.get((discrepancy.detector, discrepancy.kind))
    answer = summary(backend, discrepancy) | {
        "evidence": discrepancy.evidence,
        "last_seen": utc(discrepancy.last_seen),
        "times_seen": discrepancy.times_seen,
        "closed_sequence": discrepancy.closed_sequence,
        "detail": kind.words("en").detail if kind else None,
        "history": [happening._asdict() | {"at": utc(happening.at)} for happening in happenings],
        "reviews": [
            {"verdict": verdict, "reason": reason, "who": who, "at": utc(at), "came_by": came_by}
            for verdict, reason, who, at, came_by in reviews
        ],
        "picture": f"/api/v1/discrepancies/{key}/picture.png",
    }
    return Response(encode(answer), media_type="application/json")


def summary(backend: Backend, discrepancy: Discrepancy) -> dict[str, Any]:
    """See `daemon.web.api.models.Summary`."""
    kind = backend.kinds.get((discrepancy.detector, discrepancy.kind))
    properties = geojson.feature(discrepancy)["properties"]
    del properties["evidence"]
    return properties | {
        "title": kind.words("en").title if kind else None,
        "lon": discrepancy.point[0],
        "lat": discrepancy.point[1],
        "geometry": geometry_json(discrepancy.geometry),
        "hidden_until": utc(discrepancy.hidden_until) if discrepancy.hidden_until else None,
    }


def read_page(backend: Backend, filters: Filter, after: str, limit: int) -> tuple[list[Discrepancy], str | None]:
    """The next `limit` discrepancies after a key, and the key that the next page comes after; None: there is none.

    Where a box is asked for, a page may hold fewer and still not be the last.
    """
    small = filters.bbox is not None and square_degrees(filters.bbox) <= backend.web.max_bbox
    name = "page_by_place" if small else "page_by_key"
    with backend.db.transaction() as cursor:
        cursor.execute(query(name), {**filters.parameters(), "after": after, "limit": limit})
        rows = [Discrepancy.of(row) for row in cursor.fetchall()]
    return [row for row in rows if filters.passes(row)], rows[-1].key if len(rows) == limit else None


def _all(
    backend: Backend, filters: Filter, page: tuple[list[Discrepancy], str | None], limit: int | None
) -> Iterator[Discrepancy]:
    """All of them, page by page: no connection is held while the client takes them."""
    given = 0
    while True:
        found, following = page
        for discrepancy in found:
            yield discrepancy
            given += 1
            if given == limit:
                return
        if following is None:
            return
        page = read_page(backend, filters, following, ROWS_AT_ONCE)
