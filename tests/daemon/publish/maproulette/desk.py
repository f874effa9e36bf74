"""A whole installation but for its eyes: ledger, map and channel are real, the MapRoulette is the fake one.

Claims are put into the ledger as looks would; the map is edited by change files, as a replication server brings them.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import shapely
from claims import Ledger, house, missing, nowhere
from fake_maproulette import FakeMapRoulette
from osm_world import Thing, node, way, write_changes
from psycopg2.extras import Json
from shapely.geometry import Polygon

from daemon.config import Config, parse
from daemon.current_map import open_current_map
from daemon.db import Database
from daemon.discrepancies.life import publish
from daemon.discrepancies.model import point_of
from daemon.exporting import context_of
from daemon.fetch import Fetcher
from daemon.osm.area import describe_area
from daemon.pipeline import Pipeline
from daemon.publish.maproulette.channel import MapRouletteChannel
from daemon.publish.maproulette.client import Client
from daemon.publish.maproulette.exchange import Exchange
from daemon.publish.maproulette.filling import SETTLE
from daemon.publish.maproulette.records import TaskRow, read_challenges, read_tasks
from daemon.publish.maproulette.waiting import read_waiting
from daemon.publish.outbox import Due
from daemon.replication import ChangeFile
from detectors.base import Claim

#: Ids of ways drawn here; their nodes follow each.
FIRST_WAY = 1000
#: Statuses.
CREATED, FIXED, FALSE_POSITIVE, SKIPPED, ALREADY_FIXED, TOO_HARD, DISABLED = 0, 1, 2, 3, 5, 6, 9


class Desk:
    """What publishes into a fake server."""

    def __init__(self, ledger: Ledger, fake: FakeMapRoulette, fetcher: Fetcher, directory: Path, **knobs: Any):
        self.ledger, self.fake, self.directory = ledger, fake, directory
        self.fetcher = fetcher
        self.sequence = 100
        self.config = self.configure(**knobs)
        with ledger.cursor() as cursor:
            cursor.execute("TRUNCATE maproulette_heard, maproulette_comment, maproulette_uncommented, ranking_round "
                           "CASCADE")
            cursor.execute("TRUNCATE maproulette_server, maproulette_challenge, osm_node, osm_way, osm_feature, "
                           "osm_relation, osm_removed, osm_gone, osm_missing, replication_state, dirty_tile CASCADE")
            cursor.execute("DELETE FROM daemon_state")
            cursor.execute(
                "INSERT INTO replication_state (sequence, timestamp, area) VALUES (%s, %s, %s)",
                (self.sequence, self.now, Json(describe_area(None))),
            )
        self.pipeline = Pipeline(self.config, ledger.database)
        self.channel = self.restart()

    def configure(self, **knobs: Any) -> Config:
        """All challenges of one kind are plain ones, unless told otherwise."""
        return configuration(self.directory, self.fake.url, **knobs)

    @property
    def now(self) -> datetime:
        return self.fake.world.clock()

    def restart(
        self, *, client: Client | None = None, database: Database | None = None, **knobs: Any
    ) -> MapRouletteChannel:
        """A new process, which knows what the database knows."""
        self.config = self.configure(**knobs) if knobs else self.config
        exchange = Exchange(self.fake.url, self.fake.owner.key, self.fetcher, upload_timeout=5.0)
        self.channel = MapRouletteChannel(
            client or Client(exchange), database or self.ledger.database, self.config, self.pipeline.map,
            threading.Event(), clock=lambda: self.now, rng=random.Random(1),
        )
        return self.channel

    def rehearse(self) -> MapRouletteChannel:
        """A new process in a dry run."""
        exchange = Exchange(self.fake.url, self.fake.owner.key, self.fetcher, upload_timeout=5.0, dry_run=True)
        return self.restart(client=Client(exchange))

    def cycle(self) -> None:
        """One round, until nothing more is to be told at once."""
        while self.channel.cycle():
            pass

    def settle(self) -> None:
        """Let so much time pass that nothing is in doubt any more."""
        self.fake.clock.advance(seconds=SETTLE.total_seconds() + 1)

    def show(self, *claims: Claim) -> list[str]:
        """Claims that are found and published; their keys, in the order of the claims."""
        owned = shapely.total_bounds([claim.geometry for claim in claims])
        opened = self.ledger.look(
            *claims, owned=tuple(owned), judged=nowhere, now=self.now, sequence=self.sequence
        ).opened
        places = {self.ledger.find(key).point: key for key in opened}
        keys = [places[point_of(claim.geometry)] for claim in claims]
        self.publish(keys)
        return keys

    def houses(self, count: int, **evidence: Any) -> list[str]:
        """So many missing houses, all published."""
        return self.show(*(missing(self.outline(i), **evidence) for i in range(count)))

    @staticmethod
    def outline(i: int) -> Polygon:
        """Where the i-th of them stands."""
        return house(4 + 8 * (i % 24), 4 + 8 * (i // 24), 4, 4)

    def publish(self, keys: Sequence[str]) -> None:
        with self.ledger.cursor() as cursor:
            publish(cursor, keys, now=self.now)

    def apply(self, *things: Thing) -> None:
        """A change file comes in."""
        self.sequence += 1
        self.pipeline.apply(ChangeFile(self.sequence, self.now, self.write(*things)))

    def write(self, *things: Thing) -> Path:
        """A change file with these objects."""
        return write_changes(self.directory / "changes.osc.gz", things)

    def body_of(self, key: str) -> dict[str, Any]:
        """What the server is told of a task."""
        row = self.row(key)
        with self.ledger.cursor() as cursor:
            dues = [Due(key, 1, 0)]
            (one,) = read_waiting(
                cursor, dues, read_challenges(cursor), context_of(self.config), move_nodes=False
            )
        (challenge,) = [c.remote for c in self.challenges() if row and c.id == row.challenge]
        return one.content.body(challenge)

    @staticmethod
    def drawing(polygon: Polygon, number: int = 0, **tags: str) -> list[Thing]:
        """A building way along an outline, and its nodes, in version 1."""
        first = FIRST_WAY * (number + 1)
        points = list(polygon.exterior.coords)[:-1]
        nodes = [node(first + i, lon, lat) for i, (lon, lat) in enumerate(points, 1)]
        refs = [n.id for n in nodes]
        return [*nodes, way(first, [*refs, refs[0]], tags={"building": "yes", **tags})]

    def row(self, key: str) -> TaskRow | None:
        with self.ledger.cursor() as cursor:
            return read_tasks(cursor, [key]).get(key)

    def challenges(self) -> list[Any]:
        with self.ledger.cursor() as cursor:
            return read_challenges(cursor)

    def statuses(self) -> dict[str, int]:
        """Of all tasks on the server, by name."""
        return {task.name: task.status for task in self.fake.tasks()}

    def forget_everything(self) -> None:
        """What was known of the server gets lost."""
        with self.ledger.cursor() as cursor:
            cursor.execute("TRUNCATE maproulette_server, maproulette_challenge CASCADE")

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Nothing on the server changes, and nothing is asked to."""
        before = self.statuses()
        self.fake.forget_requests()
        yield
        assert [f"{one.method} {one.path}" for one in self.fake.writes] == []
        assert self.statuses() == before


def configuration(directory: Path, url: str, **knobs: Any) -> Config:
    """What publishes into a server."""
    (directory / "tiles").mkdir(exist_ok=True)
    values = {
        "area": {"name": "banepa"},
        "replication": {"url": directory.as_uri()},
        "imagery": [{
            "name": "aerial", "kind": "xyz", "url": "tiles", "licence": "CC-BY-4.0", "attribution": "© Somebody",
            "osm_permission": "made up",
        }],
        "publish": {"min_confidence": 0.0},
        "maproulette": {"url": url, "project": "mapgap_test", "change_files": 1.0, **knobs},
    }
    return parse(values, "test", directory)


def child(dsn: str, directory: str, url: str, key: str, ahead: str) -> None:
    """A process of its own that publishes what a desk's ledger holds.

    Args:
        ahead: seconds that the server's clock, by which all goes, is ahead of the one on the wall.
    """
    config = configuration(Path(directory), url)
    fetcher = Fetcher("mapgap-test (tests@example.org)", connections=1, rate=1e6, timeout=5.0, retries=0)
    client = Client(Exchange(url, key, fetcher, upload_timeout=5.0))
    with open_current_map(config) as current_map:
        channel = MapRouletteChannel(
            client, Database(dsn), config, current_map, threading.Event(),
            clock=lambda: datetime.now(UTC) + timedelta(seconds=float(ahead)),
        )
        while channel.cycle():
            pass
