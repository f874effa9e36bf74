"""What the ledger shows is what the frontend shows, however often something gets lost on the way."""

from __future__ import annotations

import logging
from datetime import timedelta
from itertools import pairwise
from uuid import UUID

import pytest
from claims import gone, house, misplaced, missing
from osmose_frontend.lint import lint
from osmose_rig import CODE

from daemon.discrepancies.life import close, reopen
from daemon.errors import DocumentRefused, FrontendRefused, FrontendUnavailable
from daemon.publish import outbox
from daemon.publish.osmose import sources
from daemon.publish.osmose.sources import STEP
from daemon.reviews import record_review


def three(rig) -> list[str]:
    return rig.show(
        missing(house(50, 50)), gone(house(90, 50), "way/12"), misplaced(house(50, 90), "relation/7", (3.0, -4.0)),
    )


def shut(rig, *keys, reason="fixed") -> None:
    with rig.ledger.cursor() as cursor:
        close(cursor, keys, reason, now=rig.now)


def waiting(rig) -> int:
    with rig.ledger.cursor() as cursor:
        backlog = outbox.backlogs(cursor).get("osmose")
    return backlog.waiting if backlog else 0


def test_what_is_published_is_open_at_the_frontend_under_the_names_that_were_predicted(rig):
    three(rig)
    rig.ledger.open(missing(house(150, 150)))
    channel = rig.channel()
    assert channel.cycle() is False
    assert len(rig.open()) == 3 and rig.open() == rig.wanted() == set(rig.frontend.state.visible())
    (upload,) = rig.frontend.uploads
    assert upload.name.endswith(".xml.gz") and upload.content[:2] == b"\x1f\x8b"
    assert lint(upload.content).timestamp == rig.now.replace(microsecond=0)
    assert {(one.item, number) for (_, number), one in rig.frontend.state.classes.items()} == {
        (8540, 1), (8540, 2), (8540, 3),
    }
    assert waiting(rig) == 0


def test_nothing_is_sent_when_nothing_changed(rig):
    three(rig)
    channel = rig.channel()
    channel.cycle()
    for _ in range(3):
        rig.later(600)
        channel.cycle()
        rig.channel().cycle()
    rig.ledger.look(missing(house(50, 50), 0.81), judged=lambda *_: False, now=rig.now)  # no noticeable change
    channel.cycle()
    assert rig.posts == 1


def test_an_empty_ledger_is_no_news_to_a_frontend_that_knows_nothing(rig):
    rig.channel().cycle()
    rig.ledger.open(missing(house(50, 50)))
    rig.channel().cycle()
    assert rig.frontend.requests == []


@pytest.mark.parametrize("mode", ["snapshot", "change"])
def test_what_is_fixed_goes_what_is_seen_again_comes_back_under_its_name(rig, mode):
    keys = three(rig)
    channel = rig.channel(mode=mode)
    channel.cycle()
    everything = rig.open()
    for key in keys:
        rig.later(60)
        shut(rig, key)
        channel.cycle()
        assert rig.open() == rig.wanted() and len(rig.open()) == 2
        with rig.ledger.cursor() as cursor:
            reopen(cursor, [key], now=rig.now)
        rig.ledger.all("UPDATE discrepancy SET state = 'published' WHERE key = %s RETURNING key", key)
        rig.later(60)
        channel.cycle()
        assert rig.open() == rig.wanted() == everything
    shut(rig, *keys)
    channel.cycle()
    assert rig.open() == set()


def test_changes_are_sent_as_such_where_they_are_about_elements_only(rig):
    _, building, shifted = three(rig)
    channel = rig.channel(mode="change")
    channel.cycle()
    rig.later(60)
    shut(rig, building)
    (again,) = rig.show(gone(house(150, 150), "way/13"))
    channel.cycle()
    change = lint(rig.frontend.uploads[-1].content)
    assert change.block == "analyserChange" and change.deleted == [("way", 12)]
    assert [e["elements"] for e in change.errors] == [[("way", 13)]]
    rig.later(60)
    shut(rig, shifted, again)
    channel.cycle()
    assert lint(rig.frontend.uploads[-1].content).deleted == [("relation", 7), ("way", 13)]
    assert rig.open() == rig.wanted() and len(rig.open()) == 1


def test_what_else_is_said_of_a_deleted_element_is_said_again(rig):
    first, second = rig.show(gone(house(50, 50), "way/1"), misplaced(house(150, 150), "way/2"))
    rig.ledger.all("UPDATE discrepancy SET osm = 'way/1' RETURNING key")
    channel = rig.channel(mode="change")
    channel.cycle()
    assert len(rig.open()) == 2
    rig.later(60)
    shut(rig, first)
    channel.cycle()
    assert lint(rig.frontend.uploads[-1].content).block == "analyserChange"
    assert rig.open() == rig.wanted() and len(rig.open()) == 1 and rig.ledger.find(second).osm == "way/1"


def test_what_is_about_no_element_is_taken_back_by_a_snapshot_of_its_class_alone(rig):
    house_, _, _ = three(rig)
    channel = rig.channel(mode="change")
    channel.cycle()
    rig.later(60)
    shut(rig, house_)
    channel.cycle()
    snapshot = lint(rig.frontend.uploads[-1].content)
    assert (snapshot.block, snapshot.classes, snapshot.errors) == ("analyser", {1: 8540}, [])
    assert rig.open() == rig.wanted() and len(rig.open()) == 2


def test_what_is_hidden_is_never_shown_and_comes_back_in_time(rig):
    key, *_ = three(rig)
    channel = rig.channel()
    channel.cycle()
    with rig.ledger.cursor() as cursor:
        record_review(
            cursor, key, "fixed", who="anna", reason=None, came_by="osmose", now=rig.now,
            hide_until=rig.now + timedelta(hours=1),
        )
    channel.cycle()
    assert len(rig.open()) == 2 and rig.open() == rig.wanted()
    rig.later(3601)
    channel.round(force=True)
    assert len(rig.open()) == 3 and rig.open() == rig.wanted()


def test_a_lost_answer_is_made_up_for_by_the_same_document_of_the_same_time(rig):
    three(rig)
    channel = rig.channel()
    rig.frontend.troubles = ["lost"]
    with pytest.raises(FrontendUnavailable):
        channel.cycle()
    assert waiting(rig) == 3 and len(rig.open()) == 3
    rig.later(3600)
    channel.cycle()
    first, second = rig.frontend.uploads
    assert first.content == second.content and (first.status, second.status) == (200, 400)
    assert waiting(rig) == 0 and not rig.counts()["banepa"].source.in_doubt
    channel.cycle()
    assert rig.posts == 2


@pytest.mark.parametrize("mode", ["snapshot", "change"])
def test_after_a_lost_answer_news_come_with_a_later_time_and_say_all(rig, mode):
    keys = three(rig)
    channel = rig.channel(mode=mode)
    channel.cycle()
    rig.later(60)
    shut(rig, keys[1])
    rig.frontend.troubles = ["lost"]
    with pytest.raises(FrontendUnavailable):
        channel.cycle()
    rig.ledger.all("UPDATE discrepancy SET state = 'published', closed_as = NULL, closed = NULL RETURNING key")
    rig.later(3600)
    channel.cycle()  # as it was before the one that got lost: all the same the frontend has another
    assert rig.open() == rig.wanted() and len(rig.open()) == 3
    times = [lint(upload.content).timestamp for upload in rig.frontend.uploads]
    assert times == sorted(set(times)) and lint(rig.frontend.uploads[-1].content).block == "analyser"


@pytest.mark.parametrize("moment", ["before it is sent", "before the answer is noted"])
def test_a_kill_loses_nothing_and_repeats_nothing(rig, monkeypatch, moment):
    class Killed(BaseException):
        pass

    def die(*args, **kwargs):
        raise Killed

    three(rig)
    channel = rig.channel()
    with monkeypatch.context() as patch:
        if moment == "before it is sent":
            patch.setattr(channel._frontend, "send", die)
        else:
            patch.setattr(sources, "note_taken", die)
        with pytest.raises(Killed):
            channel.cycle()
    rig.later(60)
    rig.channel().cycle()
    assert rig.open() == rig.wanted() and len(rig.open()) == 3 and waiting(rig) == 0
    assert len({upload.content for upload in rig.frontend.uploads}) == 1


def test_times_never_go_back_and_are_never_the_same(rig):
    channel = rig.channel()
    for number, step in enumerate([0, 0.2, -86_400, 0, 30, 90_000]):
        rig.later(step)
        rig.show(missing(house(30 + 20 * number, 50)))
        channel.cycle()
    times = [lint(upload.content).timestamp for upload in rig.frontend.uploads]
    assert len(times) == 6 and all(later >= earlier + STEP for earlier, later in pairwise(times))
    assert rig.open() == rig.wanted()


def test_a_new_database_goes_on_where_the_frontend_stands(rig):
    three(rig)
    rig.channel().cycle()
    rig.ledger.clear()
    rig.ledger.all("TRUNCATE osmose_frontend, osmose_source CASCADE; SELECT 1")
    rig.later(-3600)
    rig.show(missing(house(150, 150)))
    rig.channel(mode="change").cycle()
    first, second = (lint(upload.content) for upload in rig.frontend.uploads)
    assert second.timestamp == first.timestamp + STEP and second.block == "analyser"
    assert rig.open() == rig.wanted() and len(rig.open()) == 1


def test_a_frontend_that_does_not_know_the_code_is_named_with_what_to_do_and_without_the_code(rig, caplog):
    three(rig)
    with pytest.raises(FrontendRefused, match=r"register it.*code_env") as refused:
        rig.channel(code="wr0ng-secret").cycle()
    assert "mapgap" in str(refused.value) and "banepa" in str(refused.value)
    assert "wr0ng-secret" not in caplog.text + str(refused.value) + str(rig.counts())
    assert rig.open() == set() and waiting(rig) == 3
    rig.later(3600)
    rig.channel().cycle()
    assert rig.open() == rig.wanted()


def test_a_source_that_failed_rests_ever_longer_and_as_long_as_it_is_asked_to(rig):
    three(rig)
    channel = rig.channel()
    rests = []
    for _ in range(6):
        rig.frontend.troubles = ["crash"]
        with pytest.raises(FrontendUnavailable):
            channel.cycle()
        until = rig.counts()["banepa"].source.not_before
        rests.append((until - rig.now).total_seconds())
        before = rig.posts
        with pytest.raises(FrontendUnavailable, match=r"banepa rests until .* after: .*500"):
            channel.cycle()
        assert rig.posts == before
        rig.now = until + timedelta(seconds=1)
    assert all(15 * 2**i <= rest <= 30 * 2**i for i, rest in enumerate(rests))
    rig.frontend.troubles = [503]
    with pytest.raises(FrontendUnavailable, match="503"):
        channel.cycle()
    assert (rig.counts()["banepa"].source.not_before - rig.now).total_seconds() >= 120
    channel.round(force=True)
    assert rig.open() == rig.wanted(), "by hand it goes at once"


def test_news_of_a_source_that_rests_rest_with_it_and_do_not_keep_the_daemon_busy(rig, monkeypatch):
    monkeypatch.setattr("daemon.publish.osmose.channel.AT_ONCE", 3)
    keys = three(rig)
    channel = rig.channel()
    rig.frontend.troubles = ["crash"]
    with pytest.raises(FrontendUnavailable):
        channel.cycle()
    with rig.ledger.cursor() as cursor:
        outbox.note(cursor, "osmose", keys, rig.now)
    for _ in range(2):
        done = channel.round()
        assert [one.outcome for one in done.told] == ["rests"] and not done.more
    rig.later(60)
    channel.cycle()
    assert rig.open() == rig.wanted() and waiting(rig) == 0


def test_a_document_that_is_refused_is_told_by_the_end_of_the_traceback(rig):
    three(rig)
    rig.frontend.state.blocked = True
    with pytest.raises(FrontendUnavailable, match=r"document without classes.*class_tmp"):
        rig.channel().cycle()
    rig.frontend.state.blocked = False
    rig.later(3600)
    trace = "Traceback (most recent call last):\n" + "  File somewhere\n" * 500 + f"DataError: {CODE} is no integer\n"
    rig.frontend.troubles = [(500, {"detail": trace})]
    with pytest.raises(DocumentRefused, match=r"was not merged: \.\.\..*DataError: \*\*\* is no integer$"):
        rig.channel().cycle()
    assert len(rig.counts()["banepa"].source.error) < 600 and rig.open() == set()
    rig.later(3600)
    rig.channel().cycle()
    assert rig.open() == rig.wanted()


def test_a_class_that_vanished_is_emptied_once(rig):
    three(rig)
    rig.channel().cycle()
    off = {"building": {"enabled": False}}
    rig.later(60)
    rig.channel(detectors=off).cycle()
    emptied = lint(rig.frontend.uploads[-1].content)
    assert emptied.classes == {1: 8540, 2: 8540, 3: 8540} and emptied.errors == [] and rig.open() == set()
    for force in (False, True):
        rig.later(60)
        rig.channel(detectors=off).round(force=force)
    assert rig.posts == 2, "there is nothing left to declare, and a document without a class is never sent"
    rig.later(60)
    rig.channel().cycle()
    assert rig.open() == rig.wanted() and len(rig.open()) == 3, "enabled again"


def test_other_texts_of_a_class_are_sent_once(rig):
    three(rig)
    rig.channel().cycle()
    rig.later(60)
    for _ in range(2):
        rig.channel(source="https://example.org/us", resource="https://example.org/imagery").cycle()
    assert rig.posts == 2
    assert rig.frontend.state.classes[8540, 1].source == "https://example.org/us"
    assert rig.frontend.state.classes[8540, 1].texts["classtext"]["de"] == "Gebäude fehlt in OSM"


def test_a_source_without_news_is_sent_again_before_the_frontend_hides_it(rig):
    three(rig)
    channel = rig.channel()
    channel.cycle()
    for _ in range(100):
        rig.later(86_400)
        channel.cycle()
        assert len(rig.frontend.state.visible()) == 3
    assert rig.posts == 4


def test_what_people_close_over_there_stays_closed_over_there(rig):
    key, *_ = three(rig)
    channel = rig.channel()
    channel.cycle()
    (name,) = [uuid for uuid, one in rig.frontend.state.issues.items() if not one.elements]
    assert rig.frontend.state.close(name, "false") and not rig.frontend.state.close(name, "false")
    rig.later(60)
    shut(rig, key, reason="withdrawn")
    channel.cycle()
    rig.ledger.all("UPDATE discrepancy SET state = 'published', closed_as = NULL, closed = NULL RETURNING key")
    rig.later(60)
    channel.round(force=True)
    assert name not in rig.open() and len(rig.open()) == 2
    del rig.frontend.state.verdicts[name]
    rig.later(60)
    channel.round(force=True)
    assert name in rig.open() and isinstance(name, UUID)


def test_a_dry_run_says_what_would_be_sent_and_changes_nothing(rig, caplog):
    keys = three(rig)
    with caplog.at_level(logging.INFO):
        (told,) = rig.channel(dry_run=True).round(dry_run=True).told
        rig.channel(dry_run=True).cycle()
    assert (told.outcome, told.issues, told.added, told.block) == ("would send", 3, 3, "analyser")
    assert "3 issues, 3 new" in caplog.text and told.size > 1000
    assert rig.frontend.requests == [] and rig.counts() == {} and waiting(rig) == 0
    rig.channel().cycle()
    shut(rig, keys[0])
    (told,) = rig.channel().round(dry_run=True).told
    assert (told.issues, told.removed) == (2, 1) and waiting(rig) == 1 and rig.posts == 1


def test_two_processes_do_not_send_at_once(rig):
    three(rig)
    with rig.ledger.cursor() as guard:
        guard.execute("SELECT pg_advisory_xact_lock(1835099491, 6)")
        done = rig.channel().round()
    assert done.busy and rig.frontend.requests == []


def test_another_frontend_is_told_everything(rig):
    three(rig)
    rig.channel().cycle()
    rig.frontend.state.register("other", "banepa", "s3cret-code")
    rig.later(60)
    rig.channel(analyser="other").cycle()
    assert len(rig.frontend.state.open_of(2)) == 3


def test_a_stop_is_no_failure(rig):
    three(rig)
    channel = rig.channel()
    rig.stop.set()
    assert channel.cycle() is False
    assert rig.counts()["banepa"].source.attempts == 0 and rig.posts == 0
