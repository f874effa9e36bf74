"""A server is asked when it can have something new, and once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from daemon.config import Replication
from daemon.osm import Position
from daemon.replication import Feed, ReplicationSource

STEPS = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}
LATE = timedelta(seconds=90)


class Wall:
    """A clock on the wall, and a server that publishes by it."""

    def __init__(self, minutes, step: timedelta):
        self.minutes, self.step = minutes, step
        minutes.time_of = lambda sequence: minutes.start + sequence * step
        self.now = minutes.start + 1000 * step + LATE
        self.publish()

    def publish(self) -> int:
        newest = int((self.now - LATE - self.minutes.start) / self.step)
        self.minutes.publish(max(1, newest - 3), newest)
        return newest


@pytest.fixture
def asked(web) -> Callable[[], int]:
    return lambda: web.count("/minute/state.txt")


def feed_of(source: ReplicationSource, wall: Wall) -> Feed:
    return Feed(Replication(url="http://x/minute"), source, now=lambda: wall.now)


def poll(feed: Feed, wall: Wall, sequence: int) -> int:
    """One look; all that is new is applied. Returns the sequence then."""
    portion = feed.next(Position(sequence, None))
    return portion.upto.sequence if portion else sequence


@pytest.mark.parametrize(("name", "most"), [("minute", 1440), ("hour", 24 * 5), ("day", 10)])
def test_a_day_of_looks_every_minute_asks_no_more_than_there_can_be_something(
    minutes, source, asked, name: str, most: int
) -> None:
    wall = Wall(minutes, STEPS[name])
    feed, sequence = feed_of(source, wall), 990
    for _ in range(1440):
        newest = wall.publish()
        sequence = poll(feed, wall, sequence)
        if newest > sequence:
            assert wall.now - minutes.time_of(newest) - LATE < wall.step / 60 + timedelta(minutes=1)
        wall.now += timedelta(minutes=1)
    assert asked() <= most
    assert sequence >= newest - 1


def test_a_look_costs_one_request_when_nothing_is_new(web, minutes, source, asked) -> None:
    wall = Wall(minutes, STEPS["minute"])
    feed = feed_of(source, wall)
    for looks in range(1, 6):
        poll(feed, wall, 1000)
        assert asked() == looks
        wall.now += timedelta(seconds=60)
    assert len(web.requests) == 5 + 2  # and once the two states that tell the rhythm


def test_a_daily_server_is_asked_again_when_the_next_file_is_due(minutes, source, asked) -> None:
    wall = Wall(minutes, STEPS["day"])
    feed = feed_of(source, wall)
    assert poll(feed, wall, 999) == 1000
    wall.now += timedelta(hours=23)
    assert poll(feed, wall, 1000) == 1000 and asked() == 1
    wall.now += timedelta(hours=1)
    wall.publish()
    assert poll(feed, wall, 1000) == 1001 and asked() == 2


def test_while_something_is_left_to_apply_it_asks(minutes, source, asked) -> None:
    wall = Wall(minutes, STEPS["day"])
    feed = feed_of(source, wall)
    for looks in range(1, 4):
        assert feed.next(Position(998, None)) is not None
        assert asked() == looks


def test_a_server_whose_clock_is_ahead_or_that_stood_still_is_asked_all_the_same(minutes, source, asked) -> None:
    wall = Wall(minutes, STEPS["hour"])
    wall.now -= timedelta(days=30)
    feed = feed_of(source, wall)
    poll(feed, wall, 1000)
    wall.now += timedelta(hours=1)
    poll(feed, wall, 1000)
    assert asked() == 2
    wall.now = datetime(2030, 1, 1, tzinfo=UTC)
    poll(feed, wall, 1000)
    wall.now += timedelta(seconds=31)
    poll(feed, wall, 1000)
    assert asked() == 4


def test_a_server_that_does_not_tell_its_rhythm_is_asked_at_every_look(web, minutes, source, asked) -> None:
    wall = Wall(minutes, STEPS["day"])
    for sequence in (999, 998):
        minutes.put(sequence, "state.txt", b"", 500)
    feed = feed_of(source, wall)
    for looks in range(1, 4):
        poll(feed, wall, 1000)
        assert asked() == looks
