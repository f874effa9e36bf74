"""The picture of a discrepancy."""

from __future__ import annotations

import hashlib
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from daemon.errors import RequestInvalid
from daemon.web.api.models import Refusal
from daemon.web.api.parameters import KeyParameter
from daemon.web.backend import BackendOf
from daemon.web.pictures import LAYERS, Pictures

router = APIRouter(tags=["discrepancies"])

#: Seconds for which a client may keep one without asking.
FRESH = 300


@router.get(
    "/discrepancies/{key}/picture.png", response_class=Response,
    responses={
        200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}, "description": "PNG."},
        304: {"description": "It is as it was."},
        404: {"model": Refusal, "description": "No such discrepancy, or nothing to show of its place."},
        503: {"model": Refusal, "description": "The imagery cannot be had at present; see the header Retry-After."},
    },
)
def show_picture(
    request: Request,
    backend: BackendOf,
    key: KeyParameter,
    layers: Annotated[str, Query(
        max_length=60, description="Of imagery, mask, osm and claim; without imagery the ground is transparent.",
        examples=["imagery,osm,claim"],
    )] = ",".join(LAYERS),
    size: Annotated[int, Query(ge=64, le=4096, description="Pixels; not more than web.max_picture are given.")] = 512,
) -> Response:
    """Imagery, mask, OSM and claim over each other. The header X-Layers names what the picture has: a mask may be
    missing until the place is looked at again."""
    asked = set(layers.split(","))
    if not asked <= set(LAYERS):
        raise RequestInvalid(f"layers: expected some of {', '.join(LAYERS)}, separated by commas")
    pictures: Pictures = request.app.state.pictures
    drawn = pictures.draw(key, [layer for layer in LAYERS if layer in asked], min(size, backend.web.max_picture))
    tag = f'"{hashlib.sha256(drawn.png).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": f"public, max-age={FRESH}", "X-Layers": ",".join(drawn.layers)}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(drawn.png, media_type="image/png", headers=headers)
