"""What monitors ask: is the process up, can it answer, and its metrics."""

from __future__ import annotations

import logging
from typing import Literal

from fastapi import APIRouter
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from daemon.db import check_schema
from daemon.errors import DatabaseUnavailable, MapgapError, MigrationError
from daemon.web.backend import BackendOf
from daemon.web.metrics import Metrics

log = logging.getLogger(__name__)
router = APIRouter(tags=["monitoring"])


class Health(BaseModel):
    """The process answers."""

    status: Literal["up"] = "up"


class Readiness(BaseModel):
    """Whether questions can be answered."""

    ready: bool
    reason: str = Field(description="Why not; empty where all is well.", examples=["the database does not answer"])


@router.api_route("/healthz", methods=["GET", "HEAD"], response_model=Health)
async def is_up() -> Health:
    """Whether the process is up; asks nobody."""
    return Health()


@router.api_route(
    "/readyz", methods=["GET", "HEAD"], response_model=Readiness, responses={503: {"model": Readiness}}
)
def is_ready(backend: BackendOf) -> Response:
    """Whether the database answers and has the schema of this program."""
    reason = ""
    try:
        check_schema(backend.db)
    except MigrationError as error:
        reason = "the database has another schema than this program; see the log"
        log.warning("not ready: %s", error)
    except MapgapError as error:
        reason = "the database does not answer" if isinstance(error, DatabaseUnavailable) else "the database fails"
        log.warning("not ready: %s", error)
    answer = Readiness(ready=not reason, reason=reason)
    return JSONResponse(answer.model_dump(), 503 if reason else 200)


@router.get(
    "/metrics", response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus' format."}},
)
def show_metrics(request: Request) -> Response:
    """Replication, tiles, the look stage, discrepancies, verdicts, publishing, and this process."""
    metrics: Metrics = request.app.state.metrics
    return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)
