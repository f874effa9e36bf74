"""The basemap of a challenge: the imagery that its claims were made from, where anybody may look at it.

A challenge has one basemap, and its claims may come from several sources. It is that of most of them; another one is
shown only when it stands for twice as many claims, so that a challenge does not go to and fro between two.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from psycopg2.extensions import cursor as Cursor

from daemon.config import Config, Imagery
from daemon.db import query
from daemon.imagery.index import entries_of
from daemon.imagery.template import TileTemplate

#: MapRoulette's numbers of basemaps: tiles at an address of one's own, and an entry of the editor-layer-index.
CUSTOM, IDENTIFIED = 3, 4
#: So many times the claims of what is shown make another source take its place.
TWICE = 2
#: Part of a path that looks like somebody's key.
_MAY_BE_A_KEY = re.compile(r"(?=.*\d)(?=.*[A-Za-z])[\w.~-]{20,}")

Basemap = Mapping[str, Any]


def basemaps_of(config: Config) -> dict[str, Basemap]:
    """What each source of imagery is as a basemap, by its name: settings of a challenge, {} where it can be none.

    The tiles of a public server, by their address; of an entry of an imagery index that is something else, its id.
    Where `maproulette.basemap` names other tiles, or none, it is the same for all.

    Raises:
        ImageInvalid, ImageryForbidden: a source's entry in an imagery index is gone, or may no longer be used.
    """
    chosen = config.maproulette.basemap
    if chosen != "auto":
        always = {} if chosen == "none" else _custom(chosen)
        return {source.name: always for source in config.imagery} or {"": always}
    basemaps: dict[str, Basemap] = {}
    for source, entry in zip(config.imagery, entries_of(config), strict=True):
        if is_public(entry.settings):
            basemaps[source.name] = _custom(entry.settings.url.replace("{zoom}", "{z}"))
        elif source.kind == "index" and source.entry:
            basemaps[source.name] = {"defaultBasemap": IDENTIFIED, "defaultBasemapId": source.entry}
        else:
            basemaps[source.name] = {}
    return basemaps


def is_public(source: Imagery) -> bool:
    """Whether anybody's browser may load a source's tiles, by an address with nothing in it that is not for anybody."""
    names = TileTemplate(source.url).names() if source.kind == "xyz" else []
    if sorted(names) != ["x", "y", "z"] or source.tms:
        return False
    parts = urlsplit(source.url)
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or "@" in parts.netloc or parts.query or parts.fragment:
        return False
    if any(_MAY_BE_A_KEY.fullmatch(part) for part in parts.path.split("/")):
        return False
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return "." in host and not re.search(r"\.(local|localhost|internal|lan|home|test)$", host)


def count_sources(cursor: Cursor, challenge: int) -> dict[str, int]:
    """How many claims of a challenge, by our own number of it, were made from which source of imagery."""
    cursor.execute(query("sources_of_challenge"), {"challenge": challenge})
    return dict(cursor.fetchall())


def choices(basemaps: Mapping[str, Basemap], counts: Mapping[str, int]) -> Sequence[Basemap]:
    """Basemaps that a challenge may have, the best one first; what it has already stays if it is one of them.

    Args:
        counts: claims of the challenge by their source; without any, the first source's is the best one.
    """
    known = sorted((name for name in basemaps if counts.get(name)), key=lambda name: -counts[name])
    if not known:
        return list(basemaps.values())[:1] or [{}]
    most = counts[known[0]]
    return [basemaps[name] for name in known if TWICE * counts[name] > most]


def _custom(url: str) -> Basemap:
    return {"defaultBasemap": CUSTOM, "customBasemap": url}
