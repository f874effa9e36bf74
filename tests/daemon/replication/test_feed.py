"""Catching up in larger files, changing servers, being killed: the store ends as by the smallest files."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from osm_world import Thing, node, rows_of, way, write_changes, write_extract

from daemon.config import Config, parse
from daemon.db import Database
from daemon.errors import SequenceGap, TooFarBehind
from daemon.pipeline import Pipeline
from daemon.replication import ChangeFile
from daemon.replication.state import sequence_path

REPOSITORY = Path(__file__).resolve().parents[3]
START = datetime(2024, 6, 1, tzinfo=UTC)
#: The servers below a planet's directory: how long their files are, and the number of the first one.
SERVERS = {"minute": (timedelta(minutes=20), 5_000), "hour": (timedelta(hours=1), 800), "day": (timedelta(days=1), 40)}
#: Files of twenty minutes: two days, two hours, forty minutes.
NEWEST = 2 * 72 + 8

CHILD = """
import os, signal, sys
from pathlib import Path
from daemon.config import load
from daemon.db import Database
from daemon.pipeline import Pipeline

config, left = load(Path(sys.argv[1])), int(sys.argv[2])
db = Database(config.database.dsn)
with Pipeline(config, db) as pipeline:

    def count(frame, event, called):
        global left
        if event == "c_call" and getattr(called, "__name__", None) in ("execute", "commit", "copy_expert"):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(count)
    while pipeline.follow():
        pass
"""


class Planet:
    """Some days of edits, as files of 20 minutes, hours and days; the n-th of a server ends n lengths after START.

    Objects are made, changed, moved, deleted and undeleted at random, few of them, so that all of it meets.
    """

    def __init__(self, root: Path, seed: int, *, simplified: bool):
        self.root = root
        self._random = random.Random(seed)
        self._now: dict[tuple[str, int], Thing] = {}
        for number in range(1, 13):
            self._put(node(number, 10 + number * 1e-4, 50 + (number % 4) * 1e-4))
        self.base = write_extract(root / "base.osm.pbf", self._now.values(), self.header("minute", 0))
        count = NEWEST
        steps = [self._edits(START + SERVERS["minute"][0] * n) for n in range(count)]
        for server, (length, _) in SERVERS.items():
            each = int(length / SERVERS["minute"][0])
            for number in range(count // each + 1):
                things = [thing for step in steps[max(0, (number - 1) * each) : number * each] for thing in step]
                if simplified and server != "minute":
                    things = list({thing.key: thing for thing in things}.values())
                self._write(server, number, things)
            self.say(server, count // each)

    def header(self, server: str, number: int, **without: bool) -> dict[str, str]:
        said = {
            "osmosis_replication_base_url": self.url(server),
            "osmosis_replication_sequence_number": str(self.sequence(server, number)),
            "osmosis_replication_timestamp": f"{self.time(server, number):%Y-%m-%dT%H:%M:%SZ}",
        }
        return {key: value for key, value in said.items() if not any(name in key for name in without)}

    def url(self, server: str) -> str:
        return (self.root / server).as_uri()

    def time(self, server: str, number: int) -> datetime:
        return START + number * SERVERS[server][0]

    def sequence(self, server: str, number: int) -> int:
        return SERVERS[server][1] + number

    def path(self, server: str, number: int, suffix: str) -> Path:
        return self.root / server / f"{sequence_path(self.sequence(server, number))}.{suffix}"

    def say(self, server: str, newest: int) -> None:
        shutil.copy(self.path(server, newest, "state.txt"), self.root / server / "state.txt")

    def remove_before(self, server: str, number: int) -> None:
        for old in range(number):
            for suffix in ("osc.gz", "state.txt"):
                self.path(server, old, suffix).unlink(missing_ok=True)

    def _write(self, server: str, number: int, things: list[Thing]) -> None:
        path = self.path(server, number, "osc.gz")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_changes(path, things)
        time = f"{self.time(server, number):%Y-%m-%dT%H\\:%M\\:%SZ}"
        state = f"sequenceNumber={self.sequence(server, number)}\ntimestamp={time}\n"
        self.path(server, number, "state.txt").write_text(state)

    def _put(self, thing: Thing) -> Thing:
        self._now[thing.key] = thing
        return thing

    def _edits(self, begin: datetime) -> list[Thing]:
        """A few edits of the twenty minutes from `begin`."""
        made = []
        for _ in range(self._random.choice((0, 0, 1, 1, 2, 4))):
            changed = int(begin.timestamp()) + self._random.randrange(1200)
            kind, number = self._random.choice((("n", self._random.randint(1, 12)), ("w", self._random.randint(1, 6))))
            old = self._now.get((kind, number))
            if kind == "n":
                lon, lat = 10 + self._random.randrange(12) * 1e-4, 50 + self._random.randrange(4) * 1e-4
                thing = old.next(changed=changed, location=(lon, lat))
            elif old is not None and not old.deleted and self._random.random() < 0.4:
                thing = old.next(changed=changed, deleted=True, refs=())
            else:
                refs = self._random.sample(range(1, 13), 4)
                what = {"refs": [*refs, refs[0]], "tags": {"building": self._random.choice(("yes", "house"))}}
                thing = old.next(changed=changed, **what) if old else way(number, changed=changed, **what)
            made.append(self._put(thing))
        return made


@pytest.fixture(scope="module")
def planet(tmp_path_factory: pytest.TempPathFactory) -> Planet:
    return Planet(tmp_path_factory.mktemp("planet"), 11, simplified=False)


@pytest.fixture
def spoilt(tmp_path: Path) -> Planet:
    """A planet of its own for a test that spoils it."""
    (tmp_path / "planet").mkdir()
    return Planet(tmp_path / "planet", 11, simplified=False)


def config_of(db: Database, tmp_path: Path, planet: Planet, server: str = "minute", **knobs: Any) -> Config:
    replication = {"url": planet.url(server), "catch_up": 12, "step_back": 1800, **knobs}
    return parse({"database": {"dsn": db.dsn}, "replication": replication}, "test", tmp_path)


def both(planet: Planet) -> list[str]:
    return [planet.url("day"), planet.url("hour")]


def bootstrap(db: Database, config: Config, path: Path) -> None:
    with Pipeline(config, db) as pipeline:
        pipeline.store.bootstrap(db, path, replication_url=config.replication.url)


def follow(db: Database, config: Config) -> list[tuple[str, int]]:
    """Catch up; server and sequence of each file that was applied, in order."""
    applied = []
    with Pipeline(config, db) as pipeline:
        apply = pipeline.apply

        def remember(file: ChangeFile) -> Any:
            done = apply(file)
            applied.append((file.server.rpartition("/")[2], file.sequence))
            return done

        pipeline.apply = remember  # type: ignore[method-assign]
        while pipeline.follow():
            pass
    return applied


def position(db: Database) -> tuple[str | None, int | None, datetime | None]:
    with db.transaction() as cursor:
        cursor.execute("SELECT server, sequence, timestamp FROM replication_state")
        return cursor.fetchone()


def servers(applied: list[tuple[str, int]]) -> dict[str, int]:
    """How many files came from each server, in the order in which they were first used."""
    counts: dict[str, int] = {}
    for server, _ in applied:
        counts[server] = counts.get(server, 0) + 1
    return counts


@pytest.fixture(scope="module")
def by_minutes(planet: Planet, server: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The store after all of the smallest files, which is what the others are held against."""
    db = Database(server.create())
    config = config_of(db, tmp_path_factory.mktemp("by_minutes"), planet)
    bootstrap(db, config, planet.base)
    assert servers(follow(db, config)) == {"minute": NEWEST}
    rows = rows_of(db)
    db.close()
    server.drop(db.dsn)
    return rows


def test_days_then_hours_then_minutes_end_where_minutes_alone_do(
    planet: Planet, database: Database, tmp_path: Path, by_minutes: dict[str, list[str]]
) -> None:
    config = config_of(database, tmp_path, planet, coarse=both(planet))
    bootstrap(database, config, planet.base)
    applied = follow(database, config)
    # The last forty minutes are in no hour yet; half an hour is read twice at each change of servers.
    assert servers(applied) == {"day": 2, "hour": 3, "minute": 4}
    assert rows_of(database) == by_minutes
    assert position(database)[1:] == (planet.sequence("minute", NEWEST), planet.time("minute", NEWEST))


def test_larger_files_that_hold_last_versions_only_do_as_well(
    tmp_path: Path, database: Database, by_minutes: dict[str, list[str]]
) -> None:
    (tmp_path / "planet").mkdir()
    planet = Planet(tmp_path / "planet", 11, simplified=True)
    config = config_of(database, tmp_path, planet, coarse=both(planet))
    bootstrap(database, config, planet.base)
    assert servers(follow(database, config)) == {"day": 2, "hour": 3, "minute": 4}
    assert rows_of(database) == by_minutes


def test_every_file_begins_no_later_than_the_one_before_ends(
    planet: Planet, database: Database, tmp_path: Path
) -> None:
    config = config_of(database, tmp_path, planet, coarse=both(planet))
    bootstrap(database, config, planet.base)
    reached = START
    for server, sequence in follow(database, config):
        length, first = SERVERS[server]
        end = START + (sequence - first) * length
        assert end - length <= reached
        reached = end


@pytest.mark.parametrize("without", ["sequence", "sequence timestamp", "base_url sequence"])
def test_an_extract_without_a_sequence_starts_by_time(
    planet: Planet, database: Database, tmp_path: Path, by_minutes: dict[str, list[str]], without: str
) -> None:
    header = planet.header("minute", 0, **dict.fromkeys(without.split(), True))
    things = [node(n, 10 + n * 1e-4, 50 + (n % 4) * 1e-4) for n in range(1, 13)]
    if "timestamp" in without:  # then the newest edit tells the time
        things[0] = replace(things[0], changed=int(START.timestamp()))
    path = write_extract(tmp_path / "other.osm.pbf", things, header)
    config = config_of(database, tmp_path, planet)
    bootstrap(database, config, path)
    assert position(database)[1:] == (None, START)
    applied = follow(database, config)
    assert applied[0] == ("minute", planet.sequence("minute", 1)) and len(applied) == NEWEST
    assert {**rows_of(database), "osm_node": []} == {**by_minutes, "osm_node": []}


def test_the_start_by_time_steps_back(planet: Planet, database: Database, tmp_path: Path) -> None:
    config = config_of(database, tmp_path, planet)
    bootstrap(database, config, write_extract(tmp_path / "other.osm.pbf", [node(1, 10, 50)], {
        "osmosis_replication_timestamp": f"{planet.time('minute', 100):%Y-%m-%dT%H:%M:%SZ}",
    }))
    assert follow(database, config)[0] == ("minute", planet.sequence("minute", 98 + 1))


def test_a_server_changed_in_the_configuration_is_followed_from_the_same_time(
    planet: Planet, database: Database, tmp_path: Path, by_minutes: dict[str, list[str]]
) -> None:
    hourly = config_of(database, tmp_path, planet, "hour")
    bootstrap(database, hourly, write_extract(
        tmp_path / "hourly.osm.pbf", [node(n, 10 + n * 1e-4, 50 + (n % 4) * 1e-4) for n in range(1, 13)],
        planet.header("hour", 0),
    ))
    assert position(database)[1] == planet.sequence("hour", 0)
    assert servers(follow(database, hourly)) == {"hour": 50}
    assert servers(follow(database, config_of(database, tmp_path, planet))) == {"minute": 4}
    assert rows_of(database) == by_minutes


def test_near_the_newest_no_larger_file_is_taken(planet: Planet, database: Database, tmp_path: Path) -> None:
    config = config_of(database, tmp_path, planet, coarse=both(planet), catch_up=60)
    bootstrap(database, config, write_extract(tmp_path / "b.osm.pbf", [node(1, 10, 50)], planet.header("minute", 100)))
    assert servers(follow(database, config)) == {"minute": 52}


@pytest.mark.parametrize("back", [0, 36_000])
@pytest.mark.parametrize("catch_up", [1, 100])
def test_it_ends_with_any_knobs(
    planet: Planet, database: Database, tmp_path: Path, by_minutes: dict[str, list[str]], back: float, catch_up: int
) -> None:
    config = config_of(database, tmp_path, planet, coarse=both(planet), step_back=back, catch_up=catch_up)
    bootstrap(database, config, planet.base)
    applied = follow(database, config)
    assert servers(applied)["day"] == 2 and len(applied) < NEWEST and rows_of(database) == by_minutes


def test_a_kill_anywhere_loses_and_skips_nothing(
    planet: Planet, database: Database, tmp_path: Path, by_minutes: dict[str, list[str]]
) -> None:
    config = config_of(database, tmp_path, planet, coarse=both(planet))
    bootstrap(database, config, planet.base)
    coarse = ", ".join(f'"{url}"' for url in both(planet))
    (tmp_path / "config.toml").write_text(
        f'[database]\ndsn = "{database.dsn}"\n[replication]\nurl = "{planet.url("minute")}"\ncatch_up = 12\n'
        f"step_back = 1800\ncoarse = [{coarse}]\n"
    )
    drawn = random.Random(5)
    for _ in range(4):
        done = subprocess.run(
            [sys.executable, "-c", CHILD, str(tmp_path / "config.toml"), str(drawn.randint(20, 70))],
            capture_output=True, text=True, cwd=REPOSITORY, check=False, env={**os.environ, "PYTHONPATH": "."},
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
    assert position(database)[1] != planet.sequence("minute", NEWEST), "the kills came too late to prove anything"
    assert follow(database, config)
    assert rows_of(database) == by_minutes
    assert not list((tmp_path / "mapgap-data" / "scratch").iterdir())


# -- failures ----------------------------------------------------------------------------------------------------------


def truncate_a_day(planet: Planet) -> None:
    path = planet.path("day", 2, "osc.gz")
    path.write_bytes(path.read_bytes()[:-7])


def break_a_day(planet: Planet) -> None:
    """Sound on the outside; osmium refuses it in the middle of a transaction."""
    write_changes(planet.path("day", 2, "osc.gz"), [node(1, 10, 50), replace(node(2, 10, 50), id="x")])


def lose_a_day(planet: Planet) -> None:
    planet.path("day", 2, "osc.gz").unlink()


def lose_the_server(planet: Planet) -> None:
    shutil.rmtree(planet.root / "day")


def make_nonsense_of_its_state(planet: Planet) -> None:
    (planet.root / "day" / "state.txt").write_text("<html>")


@pytest.mark.parametrize(
    ("spoil", "days"),
    [(truncate_a_day, 1), (break_a_day, 1), (lose_a_day, 1), (lose_the_server, 0), (make_nonsense_of_its_state, 0)],
)
def test_where_larger_files_fail_smaller_ones_go_on(
    spoilt: Planet, database: Database, tmp_path: Path, by_minutes: dict[str, list[str]],
    spoil: Callable[[Planet], None], days: int
) -> None:
    spoil(spoilt)
    config = config_of(database, tmp_path, spoilt, coarse=both(spoilt))
    bootstrap(database, config, spoilt.base)
    counts = servers(follow(database, config))
    assert counts.get("day", 0) == days and counts["hour"] > 20
    assert rows_of(database) == by_minutes


def test_larger_files_help_where_the_server_has_removed_the_small_ones(
    spoilt: Planet, database: Database, tmp_path: Path, by_minutes: dict[str, list[str]]
) -> None:
    spoilt.remove_before("minute", 140)
    without, config = config_of(database, tmp_path, spoilt), config_of(database, tmp_path, spoilt, coarse=both(spoilt))
    bootstrap(database, config, spoilt.base)
    before = rows_of(database)
    for _ in range(2):
        with pytest.raises(TooFarBehind, match=r"has removed it .* replication.coarse"):
            follow(database, without)
    assert rows_of(database) == before
    assert servers(follow(database, config)) == {"day": 2, "hour": 3, "minute": 4}
    assert rows_of(database) == by_minutes


def test_a_start_by_time_before_all_that_the_server_has_is_too_far_behind(
    spoilt: Planet, database: Database, tmp_path: Path
) -> None:
    spoilt.remove_before("minute", 140)
    config = config_of(database, tmp_path, spoilt)
    only = node(1, 10, 50, changed=int(START.timestamp()))
    bootstrap(database, config, write_extract(tmp_path / "o.osm.pbf", [only]))
    with pytest.raises(TooFarBehind, match="bootstrap from a newer file"):
        follow(database, config)


def test_a_server_that_counts_anew_is_noticed(spoilt: Planet, database: Database, tmp_path: Path) -> None:
    config = config_of(database, tmp_path, spoilt)
    bootstrap(database, config, write_extract(tmp_path / "o.osm.pbf", [node(1, 10, 50)], {
        **spoilt.header("minute", 140), "osmosis_replication_sequence_number": str(spoilt.sequence("minute", 50)),
    }))
    with pytest.raises(SequenceGap, match=r"the data is of .* already: the server was reset"):
        follow(database, config)
    assert position(database)[1:] == (spoilt.sequence("minute", 50), spoilt.time("minute", 140))


@pytest.mark.parametrize("named", ["minute", "day", "elsewhere"])
def test_a_file_that_leaves_something_out_is_refused(
    planet: Planet, database: Database, tmp_path: Path, named: str
) -> None:
    config = config_of(database, tmp_path, planet, coarse=both(planet))
    bootstrap(database, config, planet.base)
    with Pipeline(config, database) as pipeline:
        on_it = {"minute": pipeline.source.server, "day": config.replication.server.replace("minute", "day")}
        file = ChangeFile(
            planet.sequence("minute", 2), planet.time("minute", 2), planet.path("minute", 2, "osc.gz"),
            on_it.get(named, "example.org/replication"), since=START + timedelta(minutes=20),
        )
        with pytest.raises(SequenceGap, match="nothing was applied"):
            pipeline.apply(file)
        assert position(database)[1] == planet.sequence("minute", 0)
        if named != "minute":
            pipeline.apply(replace(file, since=START))
            assert position(database)[:2] == (file.server, file.sequence)
            with pytest.raises(SequenceGap, match="cannot follow"):
                pipeline.apply(replace(file, since=None))
