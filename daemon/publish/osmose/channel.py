"""The channel to a frontend of Osmose: what has changed in the ledger, source by source, until the frontend has it.

For each source that the outbox speaks of, or about which something is in doubt:

    compose  what the frontend is to have, and what of it is news, in one transaction; the document is noted as sent
    send     outside of any transaction
    note     that the frontend has it, and that the outbox is told, in one transaction

A kill between any two of these, or an answer that is lost, leaves the source in doubt: the next round sends the same
document with the same time, to which "Already up to date" is as good an answer as "OK", or a later one that says all.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta

from psycopg2.extensions import cursor as Cursor

from daemon import __version__
from daemon.config import Config, secret
from daemon.db import Database, query
from daemon.errors import FrontendUnavailable, PublishError
from daemon.fetch import Fetcher
from daemon.publish import outbox
from daemon.publish.export import stream_discrepancies
from daemon.publish.feed import ExportContext
from daemon.publish.osmose import sources
from daemon.publish.osmose.document import Document, Known, compose
from daemon.publish.osmose.report import Round, Told, in_words, told_of
from daemon.publish.osmose.sources import CHANNEL, Plan, Resting, Source
from daemon.publish.osmose.upload import Frontend
from daemon.publish.osmose.xml import declaration
from daemon.publish.outbox import Due
from detectors.catalogue import Kind
from detectors.registry import registry

log = logging.getLogger(__name__)

#: Rows of the outbox that one round takes, of some 300 bytes each. A document tells all of its source: where the rows
#: of a source do not fit into one round, it is written anew in each.
AT_ONCE = 100_000
#: Rest of a source after its first failure, in seconds; doubles with each further one up to the longest.
FIRST_REST = 30.0
LONGEST_REST = 3600.0


class OsmoseChannel:
    """The channel over one database and one frontend.

    Args:
        stop: set by whoever wants it to end early.
        now: the clock, with a zone.
    """

    name = CHANNEL

    def __init__(
        self, config: Config, db: Database, frontend: Frontend, stop: threading.Event,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ):
        self._knobs = config.osmose
        self._db = db
        self._frontend = frontend
        self._stop = stop
        self._now = now
        self.interval = config.osmose.interval
        self.plan = Plan.of(config)
        self._kinds = kinds_that_run(config)
        pages = ExportContext(
            config.area.name, now(), source=config.osmose.source, resource=config.osmose.resource, kinds=self._kinds
        )
        self._declarations = {
            kind.number: declaration(kind, pages) for kind in sorted(self._kinds.values(), key=lambda kind: kind.number)
        }
        self._is_measured = False
        self._large: set[str] = set()  # sources that were named as such

    def cycle(self) -> bool:
        """One round, as the configuration says.

        Raises:
            FrontendUnavailable, FrontendRefused, DocumentRefused: a source failed, or rests after that it did; the
                others were told.
        """
        done = self.round(dry_run=self._knobs.dry_run)
        if done.error is not None:
            raise done.error
        return done.more

    def round(self, *, dry_run: bool = False, force: bool = False) -> Round:
        """Tell what is due.

        Args:
            dry_run: only say what would be sent; nothing is changed.
            force: tell every source, whether or not there is news, and whether or not it rests.
        """
        with self._db.transaction() as guard:
            guard.execute(query("lock_osmose"))
            if not guard.fetchone()[0]:
                log.info("another mapgap sends to %s at this moment", self.plan.url)
                return Round(busy=True)
            return self._rehearse(force) if dry_run else self._tell(force)

    # -- a round --------------------------------------------------------------------------------------------------

    def _tell(self, force: bool) -> Round:
        now = self._now()
        with self._db.transaction() as cursor:
            rows, due = self._what_is_due(cursor, now, force)
        told = []
        for country, resting in due.items():
            if self._stop.is_set():
                break
            mine = rows.get(country, [])
            if resting.until > now and not force:
                told.append(self._rest(country, mine, resting))
                continue
            told.append(self._tell_source(country, mine, resting.attempts, force))
            if isinstance(told[-1].error, FrontendUnavailable):
                break  # the others would not fare better
        is_full = sum(map(len, rows.values())) >= AT_ONCE
        return Round(tuple(told), more=is_full and all(one.error is None for one in told))

    def _rehearse(self, force: bool) -> Round:
        told = []
        with self._db.transaction() as cursor:
            _, due = self._what_is_due(cursor, self._now(), force)
            for country in due:
                source, document = self._compose(cursor, country, force)
                if source is None or document is None:
                    told.append(Told(country, "nothing new" if source else "waits for its parts"))
                    continue
                with closing(document):
                    timestamp = _timestamp(source, document, self._now())
                    told.append(told_of(country, "would send", document, timestamp, len(document.packed(timestamp))))
            cursor.connection.rollback()
        for one in told:
            if one.outcome == "would send":
                log.info("%s", in_words(one))
        return Round(tuple(told))

    def _what_is_due(
        self, cursor: Cursor, now: datetime, force: bool
    ) -> tuple[dict[str, list[Due]], dict[str, Resting]]:
        """Rows of the outbox by source, and the sources that are due."""
        sources.settle(cursor, self.plan, now)
        if sources.place(cursor, self.plan) or not self._is_measured:
            self._measure(cursor)
        rows = outbox.due(cursor, CHANNEL, now, AT_ONCE)
        places = sources.countries_of(cursor, [row.key for row in rows])
        # What was never shown is no news to anybody; its row says only that it was seen.
        outbox.told(cursor, CHANNEL, [row for row in rows if row.key not in places])
        by_source: dict[str, list[Due]] = {}
        for row in rows:
            if row.key in places:
                by_source.setdefault(places[row.key], []).append(row)
        stale = now - timedelta(days=self._knobs.refresh)
        return by_source, sources.due(cursor, by_source, self._declarations, stale=stale, everything=force)

    def _measure(self, cursor: Cursor) -> None:
        """Divide what became too large, or say so."""
        for count in sources.read_all(cursor):
            if count.issues <= self._knobs.region_most or count.source.divided:
                continue
            country = count.source.country
            if self._knobs.divide == "auto" and (parts := sources.divide(cursor, self.plan, country)):
                log.info("%s has %d issues; divided into %s", country, count.issues, ", ".join(parts))
                self._measure(cursor)
                return
            if country not in self._large:
                log.warning(
                    "%s has %d issues, more than osmose.region_most; `mapgap osmose divide %s` makes smaller sources "
                    "of it", country, count.issues, country,
                )
                self._large.add(country)
        self._is_measured = True

    # -- one source -----------------------------------------------------------------------------------------------

    def _tell_source(self, country: str, rows: Sequence[Due], attempts: int, force: bool) -> Told:
        try:
            return self._send(country, rows, force)
        except PublishError as error:
            if self._stop.is_set():  # it was cut short from this side
                return Told(country, "failed", error=error)
            until = self._now() + _pause(attempts, error)
            with self._db.transaction() as cursor:
                outbox.postpone(cursor, CHANNEL, rows, str(error), until)
                sources.note_failed(cursor, country, str(error), until)
            log.warning("%s failed, next try at %s: %s", country, f"{until:%Y-%m-%d %H:%M:%S} UTC", error)
            return Told(country, "failed", error=error)

    def _send(self, country: str, rows: Sequence[Due], force: bool) -> Told:
        self._begin_after_frontend(country)
        with self._db.transaction() as cursor:
            source, document = self._compose(cursor, country, force)
            if document is not None and source is not None:
                timestamp = _timestamp(source, document, self._now())
                sources.note_sent(
                    cursor, country, timestamp, document.digest(), {**document.declared, **document.emptied}
                )
        if source is None or document is None:
            if source is not None:
                with self._db.transaction() as cursor:
                    outbox.told(cursor, CHANNEL, rows)
                    sources.note_even(cursor, country)
            return Told(country, "nothing new" if source else "waits for its parts")
        with closing(document):
            content = document.packed(timestamp)
            answer = self._frontend.send(country, content)
            with self._db.transaction() as cursor:
                outbox.told(cursor, CHANNEL, rows)
                sources.note_taken(
                    cursor, country, declared=document.declared, emptied=list(document.emptied),
                    renewed=document.renewed, removed=document.removed,
                )
            told = told_of(country, "known" if answer == "known" else "sent", document, timestamp, len(content))
        log.info("%s", in_words(told))
        return told

    def _begin_after_frontend(self, country: str) -> None:
        """A source that nothing is known of here may be known there: it goes on from where the frontend stands."""
        with self._db.transaction() as cursor:
            source = sources.find(cursor, country)
        if source is None or source.sent is not None:
            return
        status = self._frontend.status(country)
        if status is not None:
            log.info("%s: the frontend has a document of %s already", country, f"{status.timestamp:%Y-%m-%d %H:%M:%S}")
            with self._db.transaction() as cursor:
                sources.note_found(cursor, country, status.timestamp)

    def _compose(self, cursor: Cursor, country: str, force: bool) -> tuple[Source | None, Document | None]:
        """The source as it is, None where it has to stand as it is; and the document that is due, None for none."""
        source = sources.find(cursor, country)
        now, detectors = self._now(), sorted({detector for detector, _ in self._kinds})
        if source is None or sources.waits_for_parts(cursor, source, now, detectors):
            return None, None
        known = Known(source, sources.classes(cursor, country), sources.taken(cursor, country))
        is_stale = source.taken is not None and source.taken < now - timedelta(days=self._knobs.refresh)
        shown = stream_discrepancies(cursor, "osmose_issues", {
            "country": country, "shown_at": now, "detectors": detectors,
        })
        return source, compose(
            known, shown, self._kinds, self._declarations, mode=self._knobs.mode,
            again=force or (is_stale and bool(known.issues)),
        )

    def _rest(self, country: str, rows: Sequence[Due], resting: Resting) -> Told:
        """What comes for a source that rests, rests with it."""
        said = resting.error or "an earlier failure"
        if rows:
            with self._db.transaction() as cursor:
                outbox.postpone(cursor, CHANNEL, rows, said, resting.until)
        error = FrontendUnavailable(f"{country} rests until {resting.until:%Y-%m-%d %H:%M:%S} UTC after: {said}")
        return Told(country, "rests", error=error)


def _pause(attempts: int, error: PublishError) -> timedelta:
    """How long a source rests after a failure: ever longer, with jitter, and at least as long as the frontend asks."""
    rest = min(LONGEST_REST, FIRST_REST * 2 ** min(attempts, 16)) * random.uniform(0.5, 1.0)
    return timedelta(seconds=max(rest, getattr(error, "retry_after", None) or 0.0))


def _timestamp(source: Source, document: Document, now: datetime) -> datetime:
    """Of a document: that of the last one, where it is the same and may not have been taken; or a later one."""
    if source.in_doubt and source.sent is not None and document.digest() == source.digest:
        return source.sent
    return source.timestamp(now)


def kinds_that_run(config: Config) -> dict[tuple[str, str], Kind]:
    """(detector, kind) -> what people are told of it, for the detectors that run."""
    plugins = registry().plugins
    return {(name, kind): it for name in config.detectors.running for kind, it in plugins[name].kinds().items()}


@contextmanager
def open_frontend(config: Config, stop: threading.Event, *, with_code: bool = True) -> Iterator[Frontend]:
    """The frontend that is configured.

    Raises:
        ConfigError: its code cannot be had.
    """
    knobs = config.osmose
    code = secret(knobs.code_env, knobs.code_file, "osmose.code") if with_code else None
    contact = f" (+{config.client.contact.strip()})" if config.client.contact.strip() else ""
    with closing(Fetcher(
        f"mapgap/{__version__}{contact}", connections=1, rate=10.0, timeout=knobs.timeout, retries=0, stop=stop
    )) as fetcher:
        yield Frontend(knobs.url, knobs.analyser, code, fetcher)


@contextmanager
def open_osmose(config: Config, db: Database, stop: threading.Event) -> Iterator[OsmoseChannel]:
    """The channel that is configured.

    Raises:
        ConfigError: the sources' code cannot be had.
    """
    with open_frontend(config, stop, with_code=not config.osmose.dry_run) as frontend:
        yield OsmoseChannel(config, db, frontend, stop)
