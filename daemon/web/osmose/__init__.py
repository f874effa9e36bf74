"""Osmose's API 0.3, as editors, maps and scripts call it, over what is published in the ledger.

lists, tile_routes, issue_routes, item_routes   the routes
desk          what they work with, and how they answer
parameters    the query; languages: in which language
feed          issues out of the ledger; places: where they are there
shapes        issues in JSON; exports: in other formats; tiles: vector tiles; fixes: OSM files
items         what there is to be asked for; markers: pictures of it
freshness     whether a client has the answer already
"""

from __future__ import annotations

from fastapi import APIRouter

from daemon.web.backend import Backend
from daemon.web.osmose.desk import PREFIX, Desk
from daemon.web.osmose.issue_routes import add_issue
from daemon.web.osmose.item_routes import add_items, add_pictures
from daemon.web.osmose.lists import add_lists
from daemon.web.osmose.tile_routes import add_tiles


def osmose_router(backend: Backend) -> APIRouter:
    """All routes of Osmose's API and the pictures that go with it."""
    desk = Desk(backend)
    api = APIRouter(prefix=PREFIX, tags=["osmose"])
    for add in (add_tiles, add_lists, add_issue, add_items):
        add(api, desk)
    router = APIRouter()
    router.include_router(api)
    pictures = APIRouter(tags=["osmose"])
    add_pictures(pictures, desk)
    router.include_router(pictures)
    return router
