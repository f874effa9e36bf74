"""Verdicts by the own API; they need the token."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter, Depends
from starlette.requests import Request

from daemon.reviews.intake import take_verdict
from daemon.web.api.models import NewReview, Refusal, Reviewed
from daemon.web.api.parameters import BEARER, Authorization, KeyParameter, address_of
from daemon.web.backend import BackendOf

router = APIRouter(tags=["reviews"])


@router.post(
    "/discrepancies/{key}/reviews", response_model=Reviewed, dependencies=[Depends(BEARER)],
    responses={
        401: {"model": Refusal, "description": "The token is missing, or another."},
        404: {"model": Refusal},
        413: {"model": Refusal},
        429: {"model": Refusal, "description": "Too many from this address; see the header Retry-After."},
    },
)
def review_discrepancy(
    request: Request, backend: BackendOf, key: KeyParameter, review: NewReview, authorization: Authorization = None
) -> Reviewed:
    """Say what became of a discrepancy. A false positive is silenced for good; what was fixed waits for the map."""
    backend.guard.check_review(address_of(request), authorization)
    with backend.db.transaction() as cursor:
        told = take_verdict(
            cursor, backend.current_map, backend.config.reviews, key, review.verdict, review.who, review.reason, "api",
            backend.clock(),
        )
    return Reviewed(**asdict(told))
