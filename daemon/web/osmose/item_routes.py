"""Routes: what there is besides issues (items, classes, topics, countries, users), and pictures for maps."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from daemon.web.osmose.desk import GET, JSON, PREFIX, Desk
from daemon.web.osmose.items import Pages, colour_of, item_class, items, topics
from daemon.web.osmose.languages import languages_of
from daemon.web.osmose.markers import pin_png, sheet_css, sheet_places, sheet_png
from daemon.web.osmose.shapes import encode_json

#: Pictures stay as they are.
KEEP = {"Cache-Control": "public, max-age=86400"}
Langs = Annotated[str | None, Query(description="en,fr; before Accept-Language")]
Number = Annotated[int, Path(ge=-(2**63), le=2**63 - 1)]


def add_items(router: APIRouter, desk: Desk) -> None:
    """Let a router answer them."""

    knobs = desk.backend.config.osmose
    pages = Pages(knobs.source, knobs.resource)

    def languages(request: Request, langs: str | None) -> tuple[str, ...]:
        return languages_of(langs, request.headers.get("accept-language"))

    def say(request: Request, value: object) -> Response:
        body, scope = encode_json(value), request.url.path
        same = desk.freshness.has_same(request.headers, scope, body)
        if same is not None:
            return Response(status_code=304, headers=same)
        headers = desk.freshness.headers(scope, 0, body, dated=False)  # no line of the ledger's history is asked for
        return Response(body, media_type=JSON, headers={"Cache-Control": "no-cache", **headers})

    @router.api_route("/items", methods=GET, summary="Items, with their classes and how many issues they have")
    def all_items(request: Request, langs: Langs = None) -> Response:
        return say(request, items(desk.kinds, desk.totals.read(), languages(request, langs), pages))

    @router.api_route("/items/{item}/class/{number}", methods=GET, summary="What people are told of one class")
    def one_class(request: Request, item: Number, number: Number, langs: Langs = None) -> Response:
        """Of one that there is not: the same, with nothing in it."""
        return say(request, item_class(desk.kinds, item, number, languages(request, langs), pages))

    @router.api_route("/tags", methods=GET, summary="Topics")
    def tags(request: Request) -> Response:
        return say(request, {"tags": topics(desk.kinds.values())})

    @router.api_route("/countries", methods=GET, summary="Where issues come from: the one area of this server")
    def countries(request: Request) -> Response:
        return say(request, {"countries": [desk.country]})

    @router.api_route("/user/{name}", methods=GET, summary="Issues of one mapper")
    def user(request: Request, name: str) -> Response:
        """None: mapgap keeps no names of mappers."""
        return say(request, {"issues": []})

    @router.api_route("/user_count/{name}", methods=GET, summary="How many issues a mapper has, by level")
    def user_count(request: Request, name: str) -> Response:
        """None: mapgap keeps no names of mappers."""
        return say(request, {"1": 0, "2": 0, "3": 0})


def add_pictures(router: APIRouter, desk: Desk) -> None:
    """Let a router answer what maps draw issues with; the paths are those of the older and the newer Osmose server."""
    numbers = sorted({kind.item for kind in desk.kinds.values()})
    names = [f"marker-b-{item}" for item in numbers]
    colours = [colour_of(desk.kinds, item) for item in numbers]

    @router.api_route("/images/markers/marker-{style}-{item}.png", methods=GET, summary="Marker of an item")
    @router.api_route(PREFIX + "/assets/markers/marker-{style}-{item}.png", methods=GET, summary="Marker of an item")
    def marker(style: str, item: Number) -> Response:
        """Grey, where there is no such item."""
        return Response(pin_png(colour_of(desk.kinds, item)), media_type="image/png", headers=KEEP)

    @router.api_route(f"{PREFIX}/assets/sprites.css", methods=GET, summary="Markers as a style sheet")
    def style_sheet() -> Response:
        css = sheet_css(names, "/assets/marker-gl-sprite.png")
        return Response(css, media_type="text/css", headers=KEEP)

    for suffix, scale in (("", 1), ("@2x", 2)):
        _add_sheet(router, names, colours, suffix, scale)


def _add_sheet(router: APIRouter, names: list[str], colours: list[str], suffix: str, scale: int) -> None:
    picture, places = sheet_png(colours, scale), encode_json(sheet_places(names, scale))

    @router.api_route(f"/assets/marker-gl-sprite{suffix}.png", methods=GET, summary="All markers in one picture")
    def sheet() -> Response:
        return Response(picture, media_type="image/png", headers=KEEP)

    @router.api_route(f"/assets/marker-gl-sprite{suffix}.json", methods=GET, summary="Where each marker is in it")
    def where() -> Response:
        return Response(places, media_type=JSON, headers=KEEP)
