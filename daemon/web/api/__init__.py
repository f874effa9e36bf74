"""The own API, /api/v1.

parameters      what several routes are asked by
models          what they answer
discrepancies   lists, and one with its evidence
pictures        what mapgap saw of one
reviews         verdicts
coverage        where was looked
status          how the daemon does
"""

from __future__ import annotations

from fastapi import APIRouter

from daemon.web.api import coverage, discrepancies, pictures, reviews, status
from daemon.web.api.models import Refusal

PREFIX = "/api/v1"
#: What any route may answer besides.
REFUSALS = {
    400: {"model": Refusal, "description": "It makes no sense; `detail` says why."},
    503: {"model": Refusal, "description": "The database does not answer, or not in time; try again later."},
}


def api_router() -> APIRouter:
    """All routes of the own API."""
    router = APIRouter(prefix=PREFIX, responses=REFUSALS)
    for room in (discrepancies, pictures, reviews, coverage, status):
        router.include_router(room.router)
    return router
