"""What all routes of Osmose's API work with, and how they answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from psycopg2.extensions import cursor as Cursor
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from daemon.web.backend import Backend, base_url
from daemon.web.osmose.exports import Letterhead
from daemon.web.osmose.feed import sequence_of, snapshot
from daemon.web.osmose.freshness import Freshness
from daemon.web.osmose.items import Totals
from daemon.web.osmose.languages import languages_of
from daemon.web.osmose.parameters import DESCRIBED, Kinds, Wanted, asked_of

PREFIX = "/api/0.3"
JSON = "application/json"
#: Of a route that is read, and of one that is asked by all the parameters.
GET = ["GET", "HEAD"]
ASKED: dict[str, Any] = {"methods": GET, "openapi_extra": DESCRIBED}
#: What an analyser is called whose issues these are.
ANALYSER = "mapgap"
#: Line of the ledger's history that an answer knows; `/changes?since=` goes on from there.
SEQUENCE = "Mapgap-Sequence"
#: Where the licence of OSM's data is read: every list is derived from it.
LICENCE = '<https://www.openstreetmap.org/copyright>; rel="license"'
_EXPOSED = "ETag, Link, Retry-After, Content-Language, X-Total-Count, Last-Modified, " + SEQUENCE


class Desk:
    """Safe to share between threads."""

    def __init__(self, backend: Backend):
        self.backend = backend
        self.freshness = Freshness(backend.kinds, backend.clock)
        self.totals = Totals(backend.db)

    @property
    def kinds(self) -> Kinds:
        return self.backend.kinds

    @property
    def country(self) -> str:
        return self.backend.config.area.name

    def read(self, request: Request) -> Wanted:
        """What a request wants.

        Raises:
            RequestValidationError: as `asked_of`; a value that has no meaning.
        """
        return asked_of(request.query_params).read(self.kinds, self.country, request.headers.get("accept-language"))

    @contextmanager
    def fresh(
        self, request: Request, wanted: Wanted | None = None, *, of_map: bool = False
    ) -> Iterator[tuple[Cursor, Answer]]:
        """A snapshot of the ledger to answer from, unless the client has its answer already.

        Args:
            of_map: the answer depends on the map as well: an unchanged ledger does not mean that it is the same.

        Raises:
            HTTPException: 304.
        """
        languages = wanted.languages if wanted else languages_of(
            request.query_params.get("langs"), request.headers.get("accept-language")
        )
        scope = f"{request.url.path}?{request.url.query} {','.join(languages)}"
        with snapshot(self.backend.db) as cursor:
            sequence = sequence_of(cursor)
            known = None if of_map else self.freshness.has(request.headers, scope, sequence)
            if known is not None:
                raise HTTPException(304, headers=known)
            yield cursor, Answer(self.freshness, request, scope, sequence, of_map)

    def letterhead(self, request: Request, wanted: Wanted) -> Letterhead:
        context = self.backend.context
        return Letterhead(
            self.kinds, wanted.languages, self.country, ANALYSER, self.base(request), request.url.query,
            tuple(context.attributions), context.generated,
        )

    def base(self, request: Request) -> str:
        """URL of this server as its clients know it, without a slash at the end."""
        return base_url(self.backend.web, request)


@dataclass(frozen=True, slots=True)
class Answer:
    """Writes an answer with what clients need to ask again cheaply."""

    freshness: Freshness
    request: Request
    scope: str
    sequence: int
    of_map: bool = False

    def headers(self, body: bytes | None = None) -> dict[str, str]:
        return {
            **self.freshness.headers(self.scope, self.sequence, body, dated=not self.of_map),
            "Cache-Control": "no-cache", "Link": LICENCE, SEQUENCE: str(self.sequence),
            "Access-Control-Expose-Headers": _EXPOSED,
        }

    def of(self, body: bytes, media_type: str = JSON, more: Mapping[str, str] | None = None) -> Response:
        """The answer; 304 where the client's own says the same."""
        same = self.freshness.has_same(self.request.headers, self.scope, body)
        if same is not None:
            return Response(status_code=304, headers=same)
        return Response(body, media_type=media_type, headers={**self.headers(body), **(more or {})})


def next_link(request: Request, base: str, after: object) -> str:
    """Link to the page that begins after an issue (RFC 8288), beside the licence."""
    pairs = [(key, value) for key, value in request.query_params.multi_items() if key not in ("after", "offset")]
    return f'<{base}{request.url.path}?{urlencode([*pairs, ("after", str(after))])}>; rel="next", {LICENCE}'
