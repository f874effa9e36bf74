"""What several routes are asked by."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Header, Path, Query
from fastapi.security import HTTPBearer
from starlette.requests import Request

from daemon.discrepancies.model import LIVE, ClosedAs, State
from daemon.errors import RequestInvalid
from daemon.publish.export import Filter

#: Shown in the OpenAPI document; the header is checked by `daemon.web.guard`, which tells why it is refused.
BEARER = HTTPBearer(auto_error=False, description="The token of web.token_env or web.token_file.")

Box = tuple[float, float, float, float]
KeyParameter = Annotated[str, Path(pattern="^[a-z][a-z0-9_-]{6,60}$", examples=["bld-0123456789abcdef"])]
BoxParameter = Annotated[
    str | None,
    Query(max_length=200, description="W,S,E,N in degrees.", examples=["85.50,27.61,85.55,27.65"]),
]
Names = Annotated[list[Annotated[str, Query(max_length=60)]] | None, Query(max_length=50)]
Authorization = Annotated[str | None, Header(include_in_schema=False)]


def parse_box(text: str) -> Box:
    """W,S,E,N in degrees.

    Raises:
        RequestInvalid: it is no box, or one across the antimeridian; ask for two.
    """
    try:
        west, south, east, north = (float(number) for number in text.split(","))
    except ValueError:
        raise RequestInvalid("bbox: expected four numbers, W,S,E,N in degrees") from None
    if not all(map(math.isfinite, (west, south, east, north))):
        raise RequestInvalid("bbox: expected finite numbers")
    if not (-180 <= west <= east <= 180 and -90 <= south <= north <= 90):
        raise RequestInvalid("bbox: expected W <= E within -180..180 and S <= N within -90..90")
    return west, south, east, north


def square_degrees(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def address_of(request: Request) -> str:
    """Of the client, as the door made it out."""
    return request.client.host if request.client else ""


async def chosen(
    bbox: BoxParameter = None,
    detector: Annotated[Names, Query(description="Repeatable.", examples=[["building"]])] = None,
    kind: Annotated[Names, Query(description="Repeatable.", examples=[["missing"]])] = None,
    state: Annotated[
        list[State] | None, Query(max_length=10, description="Repeatable; default: open and published.")
    ] = None,
    closed_as: Annotated[
        list[ClosedAs] | None, Query(max_length=10, description="Repeatable; of the closed, those closed for this.")
    ] = None,
    min_confidence: Annotated[float, Query(ge=0, le=1, allow_inf_nan=False)] = 0.0,
    since: Annotated[
        datetime | None, Query(description="Changed at this time or later; without a zone: UTC.")
    ] = None,
) -> Filter:
    """The filters of lists.

    Raises:
        RequestInvalid: the box is none.
    """
    if since is not None and since.tzinfo is None:
        since = since.replace(tzinfo=UTC)
    return Filter(
        bbox=parse_box(bbox) if bbox is not None else None,
        detectors=tuple(detector) if detector else None,
        kinds=tuple(kind) if kind else None,
        states=tuple(state) if state else LIVE,
        closed_as=tuple(closed_as) if closed_as else None,
        min_confidence=min_confidence,
        since=since,
    )
