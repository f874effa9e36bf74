"""A stretch of edits that is lived through with MapRoulette, by the daemon's own stages and by simulated mappers.

Pipeline, network, map and channel are real; the server is the fake one. The mappers know the truth: they fix what is
right, dismiss what is wrong, skip, find things too hard, and now and then leave a task open.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from fake_maproulette import FakeMapRoulette

from daemon.config import Config
from daemon.db import Database
from daemon.discrepancies.model import LIVE, ClosedAs, Discrepancy, State
from daemon.fetch import Fetcher
from daemon.pipeline import Pipeline
from daemon.publish.export import Filter, read_discrepancies
from daemon.publish.maproulette.channel import MapRouletteChannel
from daemon.publish.maproulette.client import Client
from daemon.publish.maproulette.exchange import Exchange
from daemon.replay import BASE
from daemon.replication import follow
from daemon.scoring import KINDS, Truth
from daemon.tiling.grid import Tile
from daemon.tiling.queue import mark_dirty
from detectors.vectorize.matching import match_outlines

MODEL = "building"
#: A claim is surely about a building when they overlap so well (intersection over union): then that building, once it
#: is mapped, covers more than half of what was claimed.
SURELY = 0.6
OPEN = (0, 3, 6)
FIXED, FALSE_POSITIVE, ALREADY_FIXED, DISABLED = 1, 2, 5, 9


@dataclass
class Stretch:
    """A folder that is lived through.

    Attributes:
        dismissed, fixed, passed: keys of what mappers called "not an issue", fixed, and passed on.
        held: the task that somebody has left open.
    """

    pipeline: Pipeline
    channel: MapRouletteChannel
    fake: FakeMapRoulette
    truth: Truth
    rng: random.Random
    dismissed: set[str] = field(default_factory=set)
    fixed: set[str] = field(default_factory=set)
    passed: set[str] = field(default_factory=set)
    held: int | None = None

    def live(self, directory: Path, tiles: Sequence[Tile], sequences: int) -> None:
        """Look at the tiles, then apply one change file after the other; tell and listen after each."""
        pipeline = self.pipeline
        pipeline.store.bootstrap(pipeline.db, directory / BASE)
        with pipeline.db.transaction() as cursor:
            mark_dirty(
                cursor, tiles, pipeline.config.tiling.zoom, reason="change", sequence=None, now=datetime.now(UTC),
                config=pipeline.config.tiling,
            )
        self._round()
        with closing(follow(pipeline.source, 0, sequences, pipeline.stop)) as change_files:
            for change_file in change_files:
                self._act(change_file.sequence)
                pipeline.apply(change_file)
                self._round()
        with self.fake.world.lock:  # whoever had a task open has gone home
            self.fake.world.locks.clear()
        for _ in range(2):
            self.fake.clock.advance(minutes=10)
            self._round()

    def ledger(self) -> dict[str, Discrepancy]:
        with self.pipeline.db.transaction() as cursor:
            everything = Filter(states=LIVE, include_closed=True)
            return {d.key: d for d in read_discrepancies(cursor, everything)}

    def true_ones(self, sequence: int) -> dict[str, bool]:
        """Of the discrepancies that the truth knows, whether they are one at a sequence."""
        found, known = self.ledger(), {}
        opened = self.truth.open_by_sequence[sequence]
        for kind, name in KINDS.items():
            ours = [d for d in found.values() if d.kind == kind]
            things = self.truth.ghosts if kind == "gone" else self.truth.objects
            ids = list(things)
            if kind == "missing":
                pairs = match_outlines([d.geometry for d in ours], [self.truth.geometries[i] for i in ids], SURELY)
                known |= {ours[i].key: ids[j] in opened[name] for i, j in pairs.items()}
            else:
                ways = {f"way/{id_}": id_ for id_ in ids}
                known |= {d.key: ways[d.osm] in opened[name] for d in ours if d.osm in ways}
        return known

    def _round(self) -> None:
        while self.pipeline.look():
            pass
        self.pipeline.publish()
        self.fake.clock.advance(minutes=2)
        while self.channel.cycle():
            pass

    def _act(self, sequence: int) -> None:
        """What mappers do between two change files, the one before `sequence` being in."""
        true = self.true_ones(sequence - 1)
        offered = sorted(self.fake.mapper("anna").available(), key=lambda task: task.name)
        people = [self.fake.mapper(name) for name in ("anna", "berta", "carla")]
        for task in self.rng.sample(offered, min(len(offered), 6)):
            mapper = self.rng.choice(people)
            deed = self.rng.choice(["decide", "decide", "skip", "too hard"])
            if deed == "skip":
                mapper.skip(task.id)
                self.passed.add(task.name)
            elif deed == "too hard":
                mapper.too_hard(task.id)
                self.passed.add(task.name)
            elif true.get(task.name):
                mapper.fix(task.id)
                self.fixed.add(task.name)
            else:
                mapper.false_positive(task.id, responses={"reason": "no such object"})
                self.dismissed.add(task.name)
        if self.held is not None:
            people[-1].release(self.held)
        waiting = sorted(people[-1].available(), key=lambda task: task.name)
        self.held = self.rng.choice(waiting).id if waiting else None
        if self.held is not None:
            people[-1].lock(self.held)


def begin(config: Config, database: Database, fake: FakeMapRoulette, fetcher: Fetcher, truth: Truth) -> Stretch:
    knobs = {"url": fake.url, "project": "replay", "change_files": 0.9, "bulk": 20, "gate_share": 1.0}
    config = config.model_copy(update={
        "maproulette": config.maproulette.model_copy(update=knobs),
        "publish": config.publish.model_copy(update={"min_confidence": 0.0}),
    })
    pipeline = Pipeline(config, database)
    client = Client(Exchange(fake.url, fake.owner.key, fetcher, upload_timeout=30.0))
    channel = MapRouletteChannel(
        client, database, config, pipeline.map, threading.Event(), clock=fake.world.clock, rng=random.Random(1)
    )
    pipeline.channels = [channel]
    return Stretch(pipeline, channel, fake, truth, random.Random(2))


def check(stretch: Stretch, last: int) -> Counter[int]:
    """Every task says what the ledger, the mappers and the truth say; how many tasks there are of each status."""
    ledger, true, anew = stretch.ledger(), stretch.true_ones(last), stretch.fake.tasks()
    statuses = {task.name: task.status for task in anew}
    assert len(statuses) == len(anew), "no task is there twice"
    live = {key for key, d in ledger.items() if d.state is State.PUBLISHED}
    assert live <= set(statuses), "all that is shown has its task"
    for task in anew:
        one = ledger[task.name]
        if task.name in stretch.dismissed:
            assert (task.status, one.closed_as) == (FALSE_POSITIVE, ClosedAs.FALSE_POSITIVE)
        elif task.name in stretch.fixed:
            assert task.status == FIXED
            assert one.closed_as is ClosedAs.FIXED or one.hidden_until is not None or one.state is State.CLOSED
        elif one.state is State.CLOSED:
            assert task.status == (ALREADY_FIXED if one.closed_as is ClosedAs.FIXED else DISABLED)
            assert task.completed_by is None or task.name in stretch.passed
        else:
            assert task.status in OPEN, (task.name, one.state)
    before = [stretch.true_ones(sequence) for sequence in sorted(stretch.truth.open_by_sequence) if sequence < last]
    fixed = {key for key in true if not true[key] and any(then.get(key) for then in before)} & set(statuses)
    assert fixed, "the stretch is one in which things were fixed"
    assert [key for key in fixed if statuses[key] in OPEN] == [], "what the truth says was fixed waits for nobody"
    return Counter(statuses.values())


def touched(truth: Truth, zoom: int, last: int) -> list[Tile]:
    """The tiles that the first change files touch."""
    return sorted({
        Tile(zoom, x, y) for sequence in range(1, last + 1) for x, y in truth.tiles_by_sequence[sequence][zoom]
    })
