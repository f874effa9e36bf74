"""Pages for people: what this server is, and what can be asked of its API. Plain HTML, no script."""

from __future__ import annotations

from functools import cache
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

import psycopg2
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse

from daemon import __version__
from daemon.discrepancies.life import count
from daemon.discrepancies.model import LIVE
from daemon.errors import MapgapError
from daemon.facts import read_facts
from daemon.lag import read_lag
from daemon.web.backend import Backend, BackendOf, base_url

router = APIRouter(include_in_schema=False)

#: What the page of operations shows, in this order.
METHODS = ("get", "post", "put", "delete")


@router.api_route("/", methods=["GET", "HEAD"])
def show_home(request: Request, backend: BackendOf) -> HTMLResponse:
    """What this server is, where its feeds are, and whom to name."""
    base = base_url(backend.web, request)
    credits = "".join(f"<li>{escape(line)}</li>" for line in backend.context.attributions)
    page = _template("home.html").substitute(
        area=escape(backend.config.area.name), version=escape(__version__), base=escape(base), state=_state(backend),
        credits=credits,
    )
    return HTMLResponse(page)


@router.api_route("/api/v1", methods=["GET", "HEAD"])
async def show_operations(request: Request) -> HTMLResponse:
    """All operations of the API, as its OpenAPI document has them."""
    document = request.app.openapi()
    rows = [
        _operation(path, method, operations[method])
        for path, operations in sorted(document["paths"].items(), key=_order)
        for method in METHODS if method in operations
    ]
    return HTMLResponse(_template("operations.html").substitute(operations="\n".join(rows)))


def _state(backend: Backend) -> str:
    """The numbers of the page; without the database it says so."""
    try:
        with backend.db.transaction() as cursor:
            numbers = count(cursor)
            lag = read_lag(cursor, read_facts(cursor), backend.config.replication, backend.clock())
    except (MapgapError, psycopg2.Error):
        return '<p class="notice">The database does not answer at present.</p>'
    waiting: dict[tuple[str, str], int] = {}
    for (detector, kind, state, _), number in numbers.items():
        waiting[detector, kind] = waiting.get((detector, kind), 0) + (number if state in LIVE else 0)
    rows = "".join(
        f'<tr><td><i style="background:{colour}"></i>{escape(title)}</td><td class="number">{number:,}</td></tr>'
        for (title, colour), number in ((_described(backend, *pair), number) for pair, number in waiting.items())
    )
    found = f"<table>{rows}</table>" if rows else "<p>Nothing is open at present.</p>"
    moment = lag.timestamp if lag else None
    when = f"Map data as of {moment:%Y-%m-%d %H:%M} UTC." if moment else "The map is not loaded yet."
    return f"{found}<p>{when}</p>"


def _described(backend: Backend, detector: str, kind: str) -> tuple[str, str]:
    """Title and colour of a kind."""
    known = backend.kinds.get((detector, kind))
    return (known.words("en").title, known.colour) if known else (f"{detector}: {kind}", "#888888")


def _order(named: tuple[str, Any]) -> tuple[bool, str]:
    """The own API first."""
    return not named[0].startswith("/api/v1"), named[0]


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    parameters = "".join(
        f"<li><code>{escape(p['name'])}</code> {escape(p.get('description') or '')}</li>"
        for p in operation.get("parameters", ())
    )
    link = escape(path)
    if method == "get" and "{" not in path:
        link = f'<a href="{link}">{link}</a>'
    text = escape(operation.get("description") or operation.get("summary") or "")
    folded = f"<details><summary>Parameters</summary><ul>{parameters}</ul></details>" if parameters else ""
    return (
        f'<section><h2><span class="method">{method.upper()}</span> {link}</h2><p>{text}</p>'
        f"{folded}</section>"
    )


@cache
def _template(name: str) -> Template:
    return Template(files("daemon.web").joinpath(name).read_text(encoding="utf-8"))
