"""READ FIRST. The application: all its routes, in order.

    /api/0.3/...    Osmose's API, as its clients know it
    /api/v1/...     the own API
    /metrics /healthz /readyz
    /               says what this is
"""

from __future__ import annotations

import re
import warnings
from typing import Any

from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware

from daemon import __version__
from daemon.web import health, home
from daemon.web.api import api_router
from daemon.web.backend import Backend
from daemon.web.door import Door
from daemon.web.errors import name_failures
from daemon.web.metrics import Metrics
from daemon.web.osmose import osmose_router
from daemon.web.pictures import Pictures

#: Bytes from which an answer is packed for who takes it so: lists shrink to a tenth, in half a millisecond.
PACKED_FROM = 1000


def create_app(backend: Backend) -> FastAPI:
    """The application over one backend; ready to be served, and to be called in a test."""
    app = FastAPI(
        title="mapgap",
        version=__version__,
        summary="Where OpenStreetMap and the ground disagree",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.backend = backend
    app.state.pictures = Pictures(backend)
    app.state.metrics = Metrics(backend)
    app.include_router(osmose_router(backend))
    app.include_router(api_router())
    app.include_router(health.router)
    app.include_router(home.router)
    app.add_middleware(GZipMiddleware, minimum_size=PACKED_FROM, compresslevel=1)
    app.add_middleware(Door, web=backend.web)
    name_failures(app)
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]
    return app


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document: HEAD, which is GET without a body, is left out; each operation is named after its path."""
    if app.openapi_schema is None:
        with warnings.catch_warnings():  # of routes with two methods, which are named apart below
            warnings.filterwarnings("ignore", "Duplicate Operation ID")
            document = FastAPI.openapi(app)
        for path, operations in document["paths"].items():
            operations.pop("head", None)
            for method, operation in operations.items():
                operation["operationId"] = f"{method}{re.sub('[^a-z0-9]+', '_', path)}"
    return app.openapi_schema or {}
