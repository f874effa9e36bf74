"""Looking at ground that nobody has edited: the whole area once, and again what new imagery covers.

A back-fill is a sweep (daemon/tiling/sweep.py): begun and stopped by `mapgap backfill`, carried on by whoever works on
the database, the daemon or the command itself. Imagery that arrives is noticed when a daemon starts: each source's
settings and files are compared with what they were when they were last seen.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg2.extensions import cursor as Cursor

from daemon.config import Config
from daemon.config import Imagery as Source
from daemon.db import Database, query
from daemon.errors import ConfigError, ImageryError, OsmDataError
from daemon.facts import read_facts, write_fact
from daemon.imagery import Imagery
from daemon.imagery.http import NO_IMAGERY_LIFE
from daemon.imagery.source import Content
from daemon.osm.area import AreaOfInterest, describe_area
from daemon.tiling.cells import Cell, cells_of_area, cells_of_tiles, tiles_inside
from daemon.tiling.grid import Tile
from daemon.tiling.queue import mark_dirty
from daemon.tiling.sweep import (
    Plan,
    Sweep,
    advance_sweep,
    begin_sweep,
    looked_cells,
    progress_of,
    read_sweeps,
    replace_sweep,
    resume_sweep,
    stop_sweep,
    swept_before,
)

log = logging.getLogger(__name__)

#: What a source's settings say of its pixels; another licence is not another picture.
OF_PIXELS = {"kind", "url", "min_zoom", "max_zoom", "tile_size", "tms", "nodata", "mask_blank", "acquired"}
#: The same, of settings that older versions did not have: where they are at their default, nothing is another.
OF_PIXELS_SINCE = {
    "layer", "style", "crs", "time", "entry", "assets", "column", "date_column", "bands", "depth", "stretch",
    "no_tile_header", "date_header", "date_url", "date_field", "date_zoom",
}
#: An area of more tiles is not queued at once.
MOST_AT_ONCE = 20_000_000


class Backfill:
    """The sweeps of one configuration."""

    def __init__(self, config: Config, db: Database, imagery: Imagery, area: AreaOfInterest | None):
        self._config = config
        self._db = db
        self._imagery = imagery
        self._area = area
        self._noticed = False
        self._misfits: set[int] = set()

    def start(self, now: datetime, *, restart: bool = False) -> Sweep:
        """Begin to look at the whole area, or go on with it where that was begun and not finished.

        Args:
            restart: begin anew in any case.

        Raises:
            OsmDataError: no source says what it covers, and the area is the whole world or too large.
        """
        self._notice_once(now)
        with self._db.transaction() as cursor:
            cursor.execute(query("lock_planning"))
            last = self._last(cursor, None)
            if last and last.ended is None and self._fits(last) and not restart:
                resume_sweep(cursor, last)
                return last
            if last:
                replace_sweep(cursor, last, now)
            changed = [source["changed"] for source in self._seen(cursor).values() if source.get("changed")]
            blank_since = max([now - timedelta(seconds=NO_IMAGERY_LIFE), *map(datetime.fromisoformat, changed)])
            cells = self._cells(self._imagery.coverage(self._config.tiling.zoom))
            plan = Plan(cells, describe_area(self._area), blank_since=blank_since)
            return begin_sweep(cursor, plan, self._config.tiling, now)

    def start_imagery(self, name: str, now: datetime) -> Sweep:
        """Begin to look at all that a source covers and that was looked at with other imagery, or not at all.

        Raises:
            ConfigError: no source is called so.
            OsmDataError: as for `start`.
        """
        if name not in self._imagery.order:
            raise ConfigError("imagery", [f"no source is called {name!r}; there are: {', '.join(self._imagery.order)}"])
        self._notice_once(now)
        zoom = self._config.tiling.zoom
        newest = self._imagery.content_of(name, zoom).newest
        still_good = datetime.fromtimestamp(newest or 0.0, UTC)
        with self._db.transaction() as cursor:
            cursor.execute(query("lock_planning"))
            self._end(cursor, name, now)
            plan = Plan(
                self._cells(self._imagery.coverage_of(name, zoom)), describe_area(self._area), "imagery", name,
                still_good=still_good,
            )
            return begin_sweep(cursor, plan, self._config.tiling, now)

    def advance(self, now: datetime) -> int:
        """Carry all sweeps on by one step; returns how many tiles were queued."""
        self._notice_once(now)
        queued = 0
        with self._db.transaction() as cursor:
            running = [sweep for sweep in read_sweeps(cursor) if sweep.state == "running"]
        for sweep in running:
            if self._fits(sweep):
                queued += self._advance(sweep, now)
            elif sweep.id not in self._misfits:
                self._misfits.add(sweep.id)
                log.warning(
                    "the %s was begun for another area or tiling.zoom and rests; `mapgap backfill` begins a new one",
                    sweep.name,
                )
        return queued

    def notice_imagery(self, now: datetime) -> list[Sweep]:
        """Compare the sources with what they were when last seen, and begin to look again at what has changed.

        A source that was never seen is new, unless none ever was. Tiles that were never looked at are left out where
        no back-fill was ever begun.
        """
        zoom, began = self._config.tiling.zoom, now.timestamp()
        states: dict[str, dict[str, Any]] = {}
        for source in self._imagery.settings:
            try:
                content = self._imagery.content_of(source.name, zoom)
            except ImageryError as error:
                log.warning("cannot see whether %s has changed: %s", source.name, error)
                continue
            states[source.name] = _state(source, content, zoom) | {"seen": began}
        begun = []
        with self._db.transaction() as cursor:
            cursor.execute(query("lock_planning"))
            seen = self._seen(cursor)
            for name, state in states.items():
                known = seen.get(name)
                if not seen or (known and known["zoom"] != zoom):
                    continue
                if known and (known["settings"], known["content"]) == (state["settings"], state["content"]):
                    state["changed"] = known.get("changed")
                    continue
                state["changed"] = now.isoformat()
                same_source = known is not None and known["settings"] == state["settings"]
                begun.append(self._arrived(cursor, name, known["seen"] if same_source else None, now))
            names = [source.name for source in self._config.imagery]
            write_fact(cursor, "imagery", {name: states.get(name) or seen.get(name) for name in names
                                           if name in states or name in seen})
        for sweep in begun:
            log.info("%s has changed: up to %d tiles will be looked at again", sweep.name, sweep.tiles)
        return begun

    def _notice_once(self, now: datetime) -> None:
        if not self._noticed:
            self.notice_imagery(now)
            self._noticed = True

    def _arrived(self, cursor: Cursor, name: str, since: float | None, now: datetime) -> Sweep:
        """Begin to look at what a source covers; with `since` (seconds since 1970) only where its files came later."""
        unfinished = self._end(cursor, name, now)
        zoom = self._config.tiling.zoom
        known_only = not swept_before(cursor)
        covered = self._imagery.coverage_of(name, zoom, None if unfinished else since)
        if covered is None and (known_only or self._area is None):
            known_only = True
            cells: Iterable[Cell] = looked_cells(cursor, zoom)
        else:
            cells = self._cells(covered)
        plan = Plan(cells, describe_area(self._area), "imagery", name, known_only=known_only)
        return begin_sweep(cursor, plan, self._config.tiling, now)

    def _advance(self, sweep: Sweep, now: datetime) -> int:
        with self._db.transaction() as cursor:
            queued = advance_sweep(cursor, sweep, self._config.tiling, now, self._imagery.order)
            after = next(one for one in read_sweeps(cursor) if one.id == sweep.id)
            if queued or after.state != sweep.state:
                progress = progress_of(cursor, after)
                log.info(
                    "%s: %s of %s tiles looked at, %s more queued%s", after.name, progress.done, progress.total, queued,
                    "; done" if after.state == "done" else "",
                )
        return queued

    def _cells(self, covered: set[Tile] | None) -> Iterable[Cell]:
        """Of what is covered what is in the area; of the area all where nobody knows what is covered."""
        tiling = self._config.tiling
        return _cells_of(covered, self._area, tiling.zoom, tiling.max_tiles_area)

    def _fits(self, sweep: Sweep) -> bool:
        return sweep.zoom == self._config.tiling.zoom and sweep.area == describe_area(self._area)

    def _end(self, cursor: Cursor, name: str, now: datetime) -> bool:
        """End the last sweep over a source; returns whether it was unfinished."""
        last = self._last(cursor, name)
        if last:
            replace_sweep(cursor, last, now)
        return last is not None and last.ended is None

    @staticmethod
    def _last(cursor: Cursor, source: str | None) -> Sweep | None:
        return next((sweep for sweep in read_sweeps(cursor) if sweep.source == source), None)

    @staticmethod
    def _seen(cursor: Cursor) -> dict[str, dict[str, Any]]:
        facts = read_facts(cursor)
        return facts["imagery"].value if "imagery" in facts else {}


def stop_sweeps(db: Database) -> list[Sweep]:
    """Let all sweeps rest; returns those that were under way."""
    with db.transaction() as cursor:
        running = [sweep for sweep in read_sweeps(cursor) if sweep.state == "running"]
        for sweep in running:
            stop_sweep(cursor, sweep)
    return running


def queue_area(config: Config, db: Database, imagery: Imagery, area: AreaOfInterest | None) -> int:
    """Queue every tile of a small area at once: for replays, which look at everything before they go on.

    Returns:
        How many tiles were queued, or were so already.

    Raises:
        OsmDataError: no source says what it covers, and the area is the whole world or larger than `MOST_AT_ONCE`.
    """
    zoom = config.tiling.zoom
    cells = _cells_of(imagery.coverage(zoom), area, zoom, MOST_AT_ONCE)
    queued = 0
    with db.transaction() as cursor:
        for cell in cells:
            queued += mark_dirty(
                cursor, cell.tiles(), zoom, reason="backfill", sequence=None, now=datetime.now(UTC),
                config=config.tiling,
            )
    return queued


def _cells_of(covered: set[Tile] | None, area: AreaOfInterest | None, zoom: int, most: int) -> Iterable[Cell]:
    if covered is not None:
        return cells_of_tiles(covered, zoom, None if area is None else area.geometry)
    if area is None:
        raise OsmDataError("the area is the whole world: set area.bbox or area.polygon before a back-fill")
    count = tiles_inside(area.geometry, zoom)
    if count > most:
        raise OsmDataError(
            f"the area has {count:.0f} tiles of zoom {zoom}, more than {most}: use imagery that says what it covers (a "
            "directory of tiles, a GeoTIFF), a smaller area, or a lower tiling.zoom; or raise tiling.max_tiles_area"
        )
    return cells_of_area(area.geometry, zoom)


def _state(source: Source, content: Content, zoom: int) -> dict[str, Any]:
    """What tells whether a source gives other pixels than before; without its URL, which may hold a key."""
    told = source.model_dump(mode="json", include=OF_PIXELS)
    told |= source.model_dump(mode="json", include=OF_PIXELS_SINCE, exclude_defaults=True)
    settings = json.dumps(told, sort_keys=True)
    return {"settings": hashlib.sha256(settings.encode()).hexdigest(), "content": content.digest, "zoom": zoom}
