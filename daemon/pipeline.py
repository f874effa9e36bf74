"""READ FIRST. The way of the data, stage by stage, in order.

    follow    change files -> OSM store + dirty tiles + sequence, one transaction a file;
              open discrepancies on changed ground are asked against the new map, and close where it was fixed
    sweep     the whole area cell by cell, where a back-fill was begun, and what new imagery covers -> dirty tiles
    look      due dirty tiles -> blocks -> imagery -> probabilities -> claims -> discrepancies, one transaction a block
    publish   discrepancies -> files
    channels  what is published or has changed since -> MapRoulette, Osmose; verdicts of people come back

Each stage does one portion and says whether there is more to do at once; the scheduler, `mapgap once` and `mapgap
replay` drive them. All state is in the database: a stage may be killed anywhere, and what it had not committed is
done again.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from daemon.ahead import Ahead, tiles_with_imagery
from daemon.backfill import Backfill
from daemon.config import Config
from daemon.current_map import CurrentMap
from daemon.db import Database
from daemon.discrepancies.life import sweep_hidden, sweep_stale
from daemon.discrepancies.recheck import recheck
from daemon.discrepancies.reconcile import reconcile
from daemon.errors import (
    DatabaseError,
    LeaseLost,
    MapgapError,
    NotBootstrapped,
    ReplicationError,
    StorageFull,
)
from daemon.exporting import context_of
from daemon.eyes import Eye, Interest, detectors_of, open_eyes
from daemon.facts import write_fact
from daemon.imagery import Imagery
from daemon.imagery.offsets import note_offsets
from daemon.osm import Delta, open_store, set_position
from daemon.osm.selection import require_selection
from daemon.osm.values import Position
from daemon.pace import Pace
from daemon.publish.channels import open_channels
from daemon.publish.files import write_files
from daemon.replication import ChangeFile, Feed, Portion, check_succession
from daemon.tiling.expiry import Expired, expire
from daemon.tiling.grid import tile_at
from daemon.tiling.queue import LeasedBlock, complete, fail, give_back, lease_blocks, mark_dirty
from detectors.errors import ModelError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Applied:
    """What one change file did.

    Attributes:
        delta: the OSM features it changed.
        expired: the tiles it made dirty.
        fixed: keys of the discrepancies it closed.
    """

    delta: Delta
    expired: Expired
    fixed: tuple[str, ...]


class Pipeline:
    """The stages over one database. Closing it gives back what is in hand."""

    def __init__(self, config: Config, db: Database, stop: threading.Event | None = None):
        """Open what the stages need; the networks are loaded with the first look.

        Raises:
            MapgapError, ModelError: the area, the imagery or the replication source cannot be used as configured.
        """
        self.config = config
        self.db = db
        self.stop = stop or threading.Event()
        self.worker = f"{socket.gethostname()}:{os.getpid()}"
        self.detectors = detectors_of(config)
        self.interest = Interest(self.detectors)
        self._resources = ExitStack()
        self.store = self._resources.enter_context(closing(open_store(config, self.interest.selects)))
        self.map = CurrentMap(self.store, self.detectors)
        self.feed = Feed.open(config, self.stop, self._resources)
        self.source = self.feed.main
        self.imagery = self._resources.enter_context(Imagery.open(config, self.stop))
        self.pace = Pace()
        self.channels = open_channels(config, db, self.map, self.stop, self._resources)
        ahead = Ahead(self.imagery, config.tiling, lambda: self.eyes, self.pace)
        self._ahead = self._resources.enter_context(closing(ahead))
        self.backfill = Backfill(config, db, self.imagery, self.store.area)
        self._eyes: list[Eye] | None = None

    @property
    def stages(self) -> Mapping[str, Callable[[], bool]]:
        """The stages in order; each returns True when there is more to do at once."""
        own = {"follow": self.follow, "sweep": self.sweep, "look": self.look, "publish": self.publish}
        return own | {channel.name: channel.cycle for channel in self.channels}

    @property
    def eyes(self) -> list[Eye]:
        if self._eyes is None:
            self._eyes = open_eyes(self.config, self.imagery.cache)
        return self._eyes

    def close(self) -> None:
        self._resources.close()

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # -- follow ---------------------------------------------------------------------------------------------------

    def follow(self) -> bool:
        """Apply the change files that are there, `replication.catch_up` at most."""
        portion = self.feed.next(self.position())
        applied, more = self._apply_portion(portion) if portion else (0, False)
        with self.db.transaction() as cursor:
            write_fact(cursor, "followed", {"applied": applied})
        return more and not self.stop.is_set()

    def position(self) -> Position:
        """Up to where the map is known.

        Raises:
            NotBootstrapped: it is not known at all: all that is seen would be missing on it.
        """
        with self.db.transaction() as cursor:
            position = self.store.position(cursor)
        if position is None:
            raise NotBootstrapped("the OSM store is empty; run `mapgap bootstrap FILE.osm.pbf` first")
        return position

    def _apply_portion(self, portion: Portion) -> tuple[int, bool]:
        """How many change files were applied, and whether there are more."""
        limit, waits = self.store.ready(portion.after, portion.limit)
        with self.db.transaction() as cursor:
            write_fact(cursor, "server", portion.newest.as_json())
            write_fact(cursor, "waits", waits)
        applied = 0
        try:
            with closing(portion.files(limit, self.stop)) as change_files:
                for change_file in change_files:
                    self.apply(change_file)
                    applied += 1
        except ReplicationError as error:
            if not self.feed.does_without(portion, error):
                raise
        return applied, limit > 0 and portion.leaves(applied)

    def apply(self, change_file: ChangeFile) -> Applied:
        """Store, dirty tiles, fixed discrepancies and sequence: all of one change file, or nothing.

        Raises:
            SequenceGap: something would be left out; nothing was changed.
            OsmDataError: the store was made for other detectors, or for another area; nothing was changed.
            ChangeFileInvalid, DatabaseError: nothing was changed.
        """
        now, tiling = _now(), self.config.tiling
        # The number of another server's file would say nothing to those who look for it on the followed one.
        sequence = change_file.sequence if change_file.server in ("", self.source.server) else None
        with self.db.transaction() as cursor:
            position = self.store.position(cursor)
            if position:
                server = position.server or self.source.server
                check_succession(change_file, server, position.sequence, position.timestamp)
            timestamp = change_file.timestamp or (position and position.timestamp) or now
            require_selection(cursor, self.interest.selection)
            delta = self.store.apply(cursor, change_file.path, change_file.sequence, timestamp)
            expired = expire(delta.touched, tiling, self.interest.relevant)
            if self.store.area is not None:  # beyond it nothing is known of the map
                expired = expired.within(self.store.area.geometry, tiling.zoom)
            mark_dirty(cursor, expired.tiles, tiling.zoom, reason="change", sequence=sequence, now=now, config=tiling)
            bboxes, refs = _touched(delta)
            fixed = [
                key
                for detector in self.detectors
                for key in recheck(
                    cursor,
                    bboxes=bboxes,
                    refs=refs,
                    detector=detector.name,
                    holds=detector.holds,
                    now=now,
                    features_in=self.store.features_in,
                    feature=self.store.feature,
                    sequence=sequence,
                )
            ]
            set_position(cursor, change_file.sequence, timestamp, change_file.server or None)
        for capped in expired.capped:
            log.warning(
                "%s has %d tiles, more than tiling.max_tiles_geometry; dirty: %s",
                capped.ref, capped.tiles, capped.kept,
                extra={"sequence": sequence},
            )
        log.info(
            "applied: %d features changed, %d tiles dirty, %d discrepancies fixed",
            len(delta.changes),
            len(expired.tiles),
            len(fixed),
            extra={"sequence": sequence},
        )
        return Applied(delta, expired, tuple(fixed))

    # -- sweep ----------------------------------------------------------------------------------------------------

    def sweep(self) -> bool:
        """Queue what is next of a back-fill, and what new imagery covers."""
        self.backfill.advance(_now())
        return False

    # -- look -----------------------------------------------------------------------------------------------------

    def look(self) -> bool:
        """Judge the next due block."""
        tiling = self.config.tiling
        with self.db.transaction() as cursor:
            leased = lease_blocks(cursor, side=tiling.block, limit=1, worker=self.worker, now=_now(), config=tiling)
            self._ahead.expect(cursor, _now())
            write_fact(cursor, "look", self.pace.as_json())
        for one in leased:
            self._look_at(one)
        return bool(leased) and not self.stop.is_set()

    def _look_at(self, leased: LeasedBlock) -> None:
        """Judge a block. What keeps failing rests and is put aside in the end, so that it cannot hold up the others."""
        where = {"block": str(leased.block)}
        try:
            self._judge(leased)
        except LeaseLost as error:
            log.warning("%s", error, extra=where)
        except BaseException as error:
            if _is_of_the_block(error):
                unknown = not isinstance(error, MapgapError)  # a fault of this program shows where it is
                log.warning("the block cannot be judged now: %s", error, extra=where, exc_info=unknown)
                self.pace.count("failed", len(leased.tiles))
                with self.db.transaction() as cursor:
                    fail(cursor, leased, error, _now(), self.config.tiling)
                return
            with suppress(DatabaseError), self.db.transaction() as cursor:
                give_back(cursor, leased)
            raise

    def _judge(self, leased: LeasedBlock) -> None:
        block, margin = leased.block, self.config.tiling.margin
        sight = self._ahead.see(block)
        chip = sight.chip
        seen = tiles_with_imagery(chip.valid, block, margin)
        with self.db.transaction() as cursor:
            position = self.store.position(cursor)
            features = self.store.features_in(cursor, block.lonlat(margin))
            removed = self.store.removed_in(cursor, block.lonlat(margin))
        eyes, area = self.eyes if seen else [], self.store.area
        with self.pace.spend("judge"):
            judged = [
                (eye.detector, eye.judge(chip, answer, features, removed, block.lonlat()))
                for eye, answer in zip(eyes, sight.answers, strict=True)
            ]
        claims = [(who, [one for one in made if area is None or area.owns(one.geometry)]) for who, made in judged]
        with self.db.transaction() as cursor:
            now = _now()
            complete(
                cursor,
                leased,
                {tile: "judged" if tile in seen else "no_imagery" for tile, _ in leased.tiles},
                now,
                chip.source if seen else None,
                ", ".join(eye.identity for eye in eyes) or None,
                chip.acquired,
            )
            outcomes = [
                reconcile(
                    cursor,
                    detector=detector.name,
                    key_prefix=detector.key_prefix,
                    claims=made,
                    owned=block.lonlat(),
                    judged=lambda lon, lat: tile_at(lon, lat, block.z) in seen,
                    now=now,
                    sequence=position.sequence if position else None,
                )
                for detector, made in claims
            ]
            if seen:
                note_offsets(cursor, chip.source, block, [made for _, made in claims], now)
        with_imagery = sum(tile in seen for tile, _ in leased.tiles)
        self.pace.count("judged", with_imagery)
        self.pace.count("no_imagery", len(leased.tiles) - with_imagery)
        log.info(
            "looked at %d tiles, %d with imagery: %s",
            len(leased.tiles),
            len(seen),
            ", ".join(f"{sum(len(getattr(o, n)) for o in outcomes)} {n}" for n in ("opened", "reopened", "withdrawn")),
            extra={"block": str(block)},
        )

    # -- publish --------------------------------------------------------------------------------------------------

    def publish(self) -> bool:
        """Close what has not been seen for long, and write the files."""
        now = _now()
        with self.db.transaction() as cursor:
            stale = sweep_stale(cursor, now - timedelta(days=self.config.publish.stale_days), now=now)
            sweep_hidden(cursor, now=now)
        if stale:
            log.info("%d discrepancies closed as stale", len(stale))
        published = write_files(
            self.db, self.config.publish, context_of(self.config), no_longer_hold=self.map.no_longer_hold,
            elsewhere=bool(self.channels),
        )
        if published.shown and not published.written:
            log.info("%d discrepancies published", len(published.shown))
        if published.written:
            log.info(
                "%s %s: %d discrepancies, %d of them new",
                "would write" if published.dry_run else "wrote",
                ", ".join(str(path) for path in published.written),
                published.count,
                len(published.shown),
            )
        return False


def _is_of_the_block(error: BaseException) -> bool:
    """Whether another block may fare better: not where database, model or disk are at fault, nor on a stop."""
    return isinstance(error, Exception) and not isinstance(error, (DatabaseError, ModelError, StorageFull, MemoryError))


def _touched(delta: Delta) -> tuple[list[tuple[float, float, float, float]], list[str]]:
    """Lon/lat boxes of the old and new geometries, and the names of all changed objects."""
    features = [f for change in delta.changes for f in (change.old, change.new) if f is not None]
    return [f.geometry.bounds for f in features], sorted({f.ref for f in features})


def _now() -> datetime:
    return datetime.now(UTC)
