"""A town of claims in the ledger, all of them tasks in the fake MapRoulette, as the channel would have put them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from claims import LAT, LON, METRE_EAST, METRE_NORTH, Ledger, everywhere, house, missing
from fake_maproulette import FakeMapRoulette

from daemon.current_map import CurrentMap
from daemon.db import query
from daemon.discrepancies.life import publish
from daemon.discrepancies.model import Discrepancy
from daemon.fetch import Fetcher
from daemon.publish.feed import geometry_json
from daemon.publish.maproulette.client import Client
from daemon.publish.maproulette.exchange import Exchange
from daemon.publish.maproulette.listening import Listener
from daemon.publish.maproulette.records import (
    Step,
    TaskRow,
    intend_challenge,
    read_challenges,
    set_challenge,
    set_tasks,
)
from daemon.publish.maproulette.replies import Status
from daemon.publish.maproulette.settings import Group
from daemon.sections.publish import Reviews
from detectors.base import OsmFeature
from detectors.building import BuildingDetector

#: Metres between two houses; a row of them is a block wide.
APART = 8
ROW = 24


class Store:
    """A map that holds these features."""

    def __init__(self) -> None:
        self.features: list[OsmFeature] = []

    def features_in(self, cursor, bbox):
        return self.features

    def feature(self, cursor, osm):
        return next((one for one in self.features if one.ref == osm), None)


class MappedTown:
    """So many missing houses, each a task."""

    def __init__(
        self, ledger: Ledger, fake: FakeMapRoulette, fetcher: Fetcher, houses: int, challenges: int = 1,
        client: Callable[[Exchange], Client] = Client, confidence: float = 0.8, model: str = "net@1",
    ):
        self.ledger, self.fake = ledger, fake
        with ledger.cursor() as cursor:
            cursor.execute(
                "TRUNCATE maproulette_server, maproulette_challenge, maproulette_heard, maproulette_comment, "
                "maproulette_uncommented, ranking_round CASCADE"
            )
        self.client = client(Exchange(fake.url, fake.owner.key, fetcher, upload_timeout=60.0))
        self.store = Store()
        self.model = model
        outcome = ledger.look(*(missing(self.house(i), confidence, model=model) for i in range(houses)))
        with ledger.cursor() as cursor:
            cursor.execute(query("discrepancies_by_key"), {"keys": outcome.opened})
            self._opened = {row.key: row for row in map(Discrepancy.of, cursor.fetchall())}
        self.keys = sorted(self._opened, key=self._number)
        with ledger.cursor() as cursor:
            publish(cursor, self.keys, now=self.now)
        project = self.client.obtain_project("mapgap test", "mapgap test", "")
        self.challenges = []
        for part in range(1, challenges + 1):
            self.challenges.append(self._challenge(project.id, part, self.keys[part - 1 :: challenges]))
        self.listener = self.listen_anew()
        fake.forget_requests()

    @staticmethod
    def house(i: int):
        return house(4 + APART * (i % ROW), 4 + APART * (i // ROW), 4, 4)

    @property
    def now(self) -> datetime:
        return self.fake.world.clock()

    def listen_anew(self, stop: threading.Event | None = None) -> Listener:
        """A listener that knows what the database knows."""
        current_map = CurrentMap(self.store, [BuildingDetector()])
        return Listener(
            self.client, self.ledger.database, current_map, Reviews(), stop or threading.Event(), self.fake.owner.id
        )

    def listen(self) -> int:
        return self.listener.listen(self.now)

    def a_day_later(self) -> None:
        self.fake.clock.advance(days=1)

    def verdicts(self) -> list[tuple[str, str]]:
        """(key, verdict) of all that was kept, in the order in which it was."""
        return self.ledger.all("SELECT key, verdict FROM review ORDER BY id")

    def detail(self, key: str) -> dict:
        ((detail,),) = self.ledger.all("SELECT detail FROM review WHERE key = %s ORDER BY id DESC LIMIT 1", key)
        return detail

    def look_again(self, *claims, model: str | None = None):
        """What a look at the block does that sees these claims, by default all of them unchanged."""
        made = claims or [missing(self.house(i), model=model or self.model) for i in range(len(self.keys))]
        return self.ledger.look(*made, judged=everywhere, now=self.now)

    def task(self, key: str):
        (row,) = self.fake.tasks(key)
        return row

    def close(self, key: str, status: Status = Status.ALREADY_FIXED) -> None:
        """As the channel closes what the map shows as fixed."""
        row = self.task(key)
        with self.client.opened(row.id):
            self.client.set_task(row.id, status, None)
        self._know([(key, row.id, row.parent, status)], ours=True)

    def _number(self, key: str) -> int:
        """Of the house that a discrepancy is about."""
        lon, lat = self._opened[key].point
        column, row = ((lon - LON) / METRE_EAST - 4) / APART, ((lat - LAT) / METRE_NORTH - 4) / APART
        return round(column) + ROW * round(row)

    def _challenge(self, project: int, part: int, keys: Sequence[str]) -> int:
        group = Group("building", "missing", 0)
        name = f"Houses, part {part}"
        challenge, _ = self.client.obtain_challenge({
            "name": name, "parent": project, "instruction": "Draw it.", "enabled": False,
        })
        with self.ledger.cursor() as cursor:
            intend_challenge(cursor, group, part, name)
        self.client.update_challenge(challenge.id, {"status": 3})
        lines = [
            json.dumps({"type": "FeatureCollection", "features": [{
                "type": "Feature", "id": key, "properties": {"key": key},
                "geometry": geometry_json(self._opened[key].geometry),
            }]}).encode()
            for key in keys
        ]
        self.client.add_tasks(challenge.id, lines)
        self.client.update_challenge(challenge.id, {"enabled": True})
        with self.ledger.cursor() as cursor:
            (row,) = [row for row in read_challenges(cursor) if row.part == part]
            set_challenge(cursor, replace(row, remote=challenge.id, step=Step.OPEN, total=len(keys)))
        self._know([(m.name, m.id, challenge.id, Status.CREATED) for m in self.client.marks([challenge.id], sort="id")])
        return challenge.id

    def _know(self, tasks: Sequence[tuple[str, int, int, Status]], ours: bool = False) -> None:
        with self.ledger.cursor() as cursor:
            of = {row.remote: row.id for row in read_challenges(cursor)}
            rows = [
                TaskRow(key, of[challenge], number, self.now, "", status, self.now, ours)
                for key, number, challenge, status in tasks
            ]
            set_tasks(cursor, rows, self.now)
