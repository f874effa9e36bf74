"""How the daemon does."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends

from daemon.status import Status, read_status
from daemon.web.api.models import StatusModel
from daemon.web.api.parameters import BEARER, Authorization
from daemon.web.backend import BackendOf

router = APIRouter(tags=["status"])

#: Instead of words that may name machines, paths or URLs.
WITHHELD = "told by `mapgap status`, and here to those who bring the token"


@router.get("/status", response_model=StatusModel, dependencies=[Depends(BEARER)])
def show_status(backend: BackendOf, authorization: Authorization = None) -> dict[str, Any]:
    """Sequence, lag, queue, discrepancies and what fails, as `mapgap status --json` tells it."""
    status = read_status(backend.db, backend.config, backend.clock())
    told = asdict(status)
    told["models"] = {name: Path(model).name for name, model in status.models.items()}
    return told if backend.guard.knows(authorization) else _withhold(told, status)


def _withhold(told: dict[str, Any], status: Status) -> dict[str, Any]:
    """Without what the daemon's own words may hold."""
    told["errors"] = {stage: {**error, "message": WITHHELD} for stage, error in status.errors.items()}
    if status.last_error:
        told["last_error"] = {**status.last_error, "message": WITHHELD}
    told["dead"] = [{**one, "reason": WITHHELD} for one in status.dead]
    if status.verdict == "broken" or any(error["message"] in status.reason for error in status.errors.values()):
        told["reason"] = WITHHELD
    if status.maproulette:
        told["maproulette"] = {**status.maproulette, "error": WITHHELD if status.maproulette.get("error") else None}
    if status.heartbeat:
        told["heartbeat"] = {name: status.heartbeat.get(name) for name in ("at", "started", "stopped")}
    return told
