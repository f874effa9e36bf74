"""A key that is not valid: publishing stops, one line of the log says so, and a good key goes on where it stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from claims import missing
from desk import Desk

from daemon.db import hold_daemon_lock
from daemon.facts import read_facts
from daemon.notify import Notifier
from daemon.scheduler import Runner

REVOKED = "17|another-key-altogether"


class Publishing:
    """A daemon's stages: a channel, and nothing else."""

    worker = "test:1"

    def __init__(self, channel, cycle: Callable[[], bool]):
        channel.interval = 0.01
        self.channels = (channel,)
        self.stages = {"follow": bool, "look": bool, "publish": bool, channel.name: cycle}

    def close(self) -> None:
        pass


def live(desk: Desk, rounds: int) -> None:
    """A daemon for so many rounds of the channel."""
    stop, done = threading.Event(), 0

    def cycle() -> bool:
        nonlocal done
        done += 1
        if done >= rounds:
            stop.set()
        return desk.channel.cycle()

    schedule = desk.config.schedule.model_copy(update={"look_interval": 60.0, "retry_most": 0.01})
    config = desk.config.model_copy(update={"schedule": schedule})
    rescue = threading.Timer(60, stop.set)
    rescue.start()
    with hold_daemon_lock(desk.ledger.database) as lock:
        Runner(config, desk.ledger.database, lock, Publishing(desk.channel, cycle), stop, Notifier()).run()
    rescue.cancel()
    rescue.join()


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelname in ("WARNING", "ERROR") and "401" in r.getMessage()]


def test_a_revoked_key_is_told_once_and_nothing_is_sent_until_it_is_good_again(desk: Desk, caplog) -> None:
    keys = desk.houses(2)
    desk.cycle()
    keys += desk.show(*(missing(desk.outline(i)) for i in (2, 3)))
    key = desk.fake.owner.key

    desk.fake.owner.key = REVOKED
    desk.fake.forget_requests()
    with caplog.at_level("INFO"):
        live(desk, 5)
    (line,) = lines(caplog)
    assert "the API key is missing or not valid any more" in line and "restart" in line and key not in caplog.text
    writes = [one.endpoint for one in desk.fake.writes]
    assert len(writes) <= 1, "the one that was refused"
    asked = [one.endpoint for one in desk.fake.requests]
    assert asked.count("whoami") == 4 and asked[-4:] == ["whoami"] * 4
    with desk.ledger.cursor() as cursor:
        assert read_facts(cursor)["errors"].value["maproulette"]["kind"] == "KeyRefused"
    desk.fake.owner.key = key
    live(desk, 2)
    assert sorted(desk.statuses()) == sorted(keys)
    with desk.ledger.cursor() as cursor:
        assert read_facts(cursor)["errors"].value == {}


def test_a_new_process_says_it_anew_and_only_once(desk: Desk, caplog) -> None:
    desk.houses(1)
    good, desk.fake.owner.key = desk.fake.owner.key, REVOKED
    for _ in range(2):
        desk.fake.owner.key = good
        channel = desk.restart()
        desk.fake.owner.key = REVOKED
        assert channel is desk.channel
        caplog.clear()
        with caplog.at_level("INFO"):
            live(desk, 4)
        assert len(lines(caplog)) == 1
    assert desk.fake.writes == [] and desk.fake.tasks() == []
