"""A ledger, a frontend and the channel between them, as a test uses them."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

from claims import NOW, Ledger
from osmose_frontend import Frontend
from osmose_frontend.state import State as FrontendState

from daemon.config import parse
from daemon.discrepancies.life import publish
from daemon.discrepancies.model import State
from daemon.fetch import Fetcher
from daemon.publish import Filter
from daemon.publish.export import read_discrepancies
from daemon.publish.osmose import subclass_of, uuid_of
from daemon.publish.osmose import upload as client
from daemon.publish.osmose.channel import OsmoseChannel, kinds_that_run
from daemon.publish.osmose.sources import Count, read_all

CODE = "s3cret-code"


class Rig:
    """All of it. `source` is the number that the frontend has given the source "banepa"."""

    def __init__(self, ledger: Ledger, frontend: Frontend, fetcher: Fetcher):
        self.ledger = ledger
        self.frontend = frontend
        self.now = NOW + timedelta(minutes=5)
        self._fetcher = fetcher
        self.stop = threading.Event()
        self.source = frontend.state.register("mapgap", "banepa", CODE)

    def reset(self) -> None:
        """All as at the beginning, and a frontend that takes any source."""
        self.ledger.clear()
        self.ledger.all("TRUNCATE osmose_frontend, osmose_source CASCADE; SELECT 1")
        self.now = NOW + timedelta(minutes=5)
        self.frontend.state = FrontendState(self.clock, unlocked=True)
        self.frontend.uploads.clear()
        self.frontend.troubles.clear()
        self.source = self.frontend.state.register("mapgap", "banepa", CODE)

    def clock(self) -> datetime:
        return self.now

    def later(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def channel(self, code: str = CODE, detectors: dict | None = None, **knobs) -> OsmoseChannel:
        """The channel as a process has it that has just begun."""
        config = parse({
            "area": {"name": "banepa"}, "detectors": detectors or {},
            "osmose": {"enabled": True, "url": self.frontend.url + "/", "code_env": "UNUSED", **knobs},
        }, "test", Path())
        there = client.Frontend(config.osmose.url, config.osmose.analyser, code, self._fetcher)
        return OsmoseChannel(config, self.ledger.database, there, self.stop, self.clock)

    def show(self, *claims) -> list[str]:
        """Keys of claims that are published at once."""
        keys = self.ledger.open(*claims, now=self.now)
        with self.ledger.cursor() as cursor:
            publish(cursor, keys, now=self.now)
        return keys

    def wanted(self, country: str = "banepa") -> set[UUID]:
        """What is to be open at the frontend: all that the ledger shows, but for what was closed there."""
        number = self.frontend.state.sources["mapgap", country].id
        with self.ledger.cursor() as cursor:
            shown = list(read_discrepancies(cursor, Filter(states=(State.PUBLISHED,), shown_at=self.now)))
            cursor.execute("SELECT key FROM osmose_place WHERE country = %s", [country])
            here = {key for (key,) in cursor.fetchall()}
        kinds = kinds_that_run(parse({}, "test", Path()))
        uuids = {
            uuid_of(number, kinds[d.detector, d.kind].number, subclass_of(d.key), d.osm) for d in shown if d.key in here
        }
        return uuids - self.frontend.state.verdicts.keys()

    def open(self, country: str = "banepa") -> set[UUID]:
        """What is open at the frontend."""
        return self.frontend.state.open_of(self.frontend.state.sources["mapgap", country].id)

    def counts(self) -> dict[str, Count]:
        with self.ledger.cursor() as cursor:
            return {count.source.country: count for count in read_all(cursor)}

    @property
    def posts(self) -> int:
        return sum(request.startswith("POST") for request in self.frontend.requests)
