"""Whatever happens in whatever order, here, there and in between: after a round that went well both show the same."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

import pytest
from claims import gone, house, misplaced, missing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from osmose_frontend.lint import lint

from daemon.discrepancies.life import close, publish, reopen
from daemon.discrepancies.model import ClosedAs, State
from daemon.errors import PublishError
from daemon.publish.osmose import sources
from daemon.publish.osmose.sources import divide
from daemon.reviews import record_review

#: A few claims, so that often the same one is meant: two about nothing on the map, three about one way, one about
#: another.
CLAIMS = (
    missing(house(20, 20)), missing(house(60, 20)), gone(house(100, 20), "way/101"), gone(house(20, 60), "way/102"),
    misplaced(house(60, 60), "way/103"), misplaced(house(100, 60), "way/104"),
)
ABOUT = (None, None, "way/1", "way/1", "way/1", "way/2")

number = st.integers(0, len(CLAIMS) - 1)
troubles = st.sampled_from(["lost", "cut", "crash", 503, "killed before", "killed after"])
steps = st.one_of(
    st.tuples(st.just("open"), number),
    st.tuples(st.just("close"), number, st.sampled_from(["fixed", "withdrawn", "stale", "false_positive"])),
    st.tuples(st.just("reopen"), number),
    st.tuples(st.just("hide"), number),
    st.tuples(st.just("wait"), st.sampled_from([0.1, 1.0, 60.0, 4000.0, -7200.0])),
    st.tuples(st.just("verdict"), number),
    st.tuples(st.just("divide"), number),
    st.tuples(st.just("trouble"), troubles),
    st.tuples(st.just("flap"), number, troubles),
    st.tuples(st.just("round")),
)


class Killed(BaseException):
    """Ends a process in the middle of its work."""


class History:
    """Carries out steps; those that do not fit the state of things do nothing. Each round is that of a new process."""

    def __init__(self, rig, patch, mode: str):
        self.rig, self.patch, self.mode = rig, patch, mode
        self.keys: dict[int, str] = {}

    def take(self, name: str, *rest) -> None:
        getattr(self, f"_{name}")(*rest)

    def state(self, n: int):
        return self.rig.ledger.find(self.keys[n]) if n in self.keys else None

    def _open(self, n: int) -> None:
        if n not in self.keys:
            (key,) = self.rig.ledger.open(CLAIMS[n], now=self.rig.now)
            self.keys[n] = key
            self.rig.ledger.all("UPDATE discrepancy SET osm = %s WHERE key = %s RETURNING key", ABOUT[n], key)
        if self.state(n).state is State.OPEN:
            with self.rig.ledger.cursor() as cursor:
                publish(cursor, [self.keys[n]], now=self.rig.now)

    def _close(self, n: int, reason: str) -> None:
        if n in self.keys and self.state(n).state is not State.CLOSED:
            with self.rig.ledger.cursor() as cursor:
                close(cursor, [self.keys[n]], reason, now=self.rig.now)

    def _reopen(self, n: int) -> None:
        one = self.state(n)
        if one is not None and one.state is State.CLOSED and one.closed_as is not ClosedAs.FALSE_POSITIVE:
            with self.rig.ledger.cursor() as cursor:
                reopen(cursor, [one.key], now=self.rig.now)
                publish(cursor, [one.key], now=self.rig.now)

    def _flap(self, n: int, kind) -> None:
        """There, away when it is told with trouble, and back: the ledger is as before, and the frontend may not be."""
        self._open(n)
        self._trouble(None)
        self._close(n, "fixed")
        self._trouble(kind)
        self._reopen(n)

    def _hide(self, n: int) -> None:
        if n in self.keys:
            with self.rig.ledger.cursor() as cursor:
                until = self.rig.now + timedelta(days=7)
                record_review(
                    cursor, self.keys[n], "fixed", who=None, reason=None, came_by="osmose", now=self.rig.now,
                    hide_until=until,
                )

    def _wait(self, seconds: float) -> None:
        self.rig.later(seconds)

    def _verdict(self, n: int) -> None:
        if issues := sorted(self.rig.frontend.state.issues):
            self.rig.frontend.state.close(issues[n % len(issues)], "false")

    def _divide(self, n: int) -> None:
        counts = self.rig.counts()
        if counts and len(counts) < 12:
            channel = self.channel()
            with self.rig.ledger.cursor() as cursor:
                divide(cursor, channel.plan, sorted(counts)[n % len(counts)])

    def _trouble(self, kind) -> None:
        channel = self.channel()
        if kind in ("lost", "cut", "crash", 503):
            self.rig.frontend.troubles = [kind]
        with self.patch.context() as patch:
            def die(*args, **kwargs):
                raise Killed

            if kind == "killed before":
                patch.setattr(channel._frontend, "send", die)
            elif kind == "killed after":
                patch.setattr(sources, "note_taken", die)
            with suppress(Killed):
                channel.round()
        self.rig.frontend.troubles = []

    def _round(self) -> None:
        """With nothing at rest; and once more, which has nothing to do."""
        self.rig.ledger.all("UPDATE osmose_source SET not_before = '-infinity'; SELECT 1")
        self.rig.ledger.all("UPDATE outbox SET not_before = '-infinity' WHERE channel = 'osmose'; SELECT 1")
        done = self.channel().round()
        assert done.error is None, done
        before = self.rig.posts
        done = self.channel().round()
        assert done.error is None and self.rig.posts == before, done
        self.check()

    def channel(self):
        return self.rig.channel(mode=self.mode)

    def check(self) -> None:
        known = self.rig.frontend.state.sources
        wanted = {country: self.rig.wanted(country) for _, country in known}
        assert {country: self.rig.open(country) for _, country in known} == wanted
        times: dict[str, list] = {}
        for upload in self.rig.frontend.uploads:
            if upload.status == 200:
                times.setdefault(upload.country, []).append(lint(upload.content).timestamp)
        assert all(stamps == sorted(set(stamps)) for stamps in times.values())


@pytest.mark.parametrize("mode", ["snapshot", "change"])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=st.lists(steps, min_size=6, max_size=20))
def test_both_sides_show_the_same_after_each_round_that_went_well(rig, monkeypatch, mode, history):
    rig.reset()
    life = History(rig, monkeypatch, mode)
    try:
        for step in history:
            life.take(*step)
        life.take("round")
    except PublishError as error:
        raise AssertionError(f"a round raised: {error}") from error
