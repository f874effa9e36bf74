"""Change files come in order, without a gap, the next ones fetched meanwhile."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest

from daemon.errors import ChangeFileInvalid, ReplicationMissing, ReplicationUnavailable, SequenceGap
from daemon.replication import follow
from daemon.replication.follow import PREFETCH


@pytest.fixture
def stop():
    return threading.Event()


def sequences(files):
    return [file.sequence for file in files]


def test_files_come_in_order_up_to_the_newest(minutes, source, stop, scratch):
    minutes.publish(1, 30)
    seen = []
    for file in follow(source, 3, 1000, stop):
        assert file.path.read_bytes() == minutes.change_file(file.sequence)
        assert file.timestamp == minutes.time_of(file.sequence)
        seen.append(file.sequence)
    assert seen == list(range(4, 31))
    assert list(scratch.iterdir()) == []


def test_no_more_come_or_are_fetched_than_asked_for(web, minutes, source, stop):
    minutes.publish(1, 30)
    assert sequences(follow(source, 0, 5, stop)) == [1, 2, 3, 4, 5]
    assert web.count(minutes.path(6, "osc.gz")) == 0
    assert sequences(follow(source, 0, 0, stop)) == []


def test_up_to_date_means_nothing_comes(minutes, source, stop):
    minutes.publish(1, 3)
    assert sequences(follow(source, 3, 10, stop)) == []
    assert sequences(follow(source, 4, 10, stop)) == []


def test_another_server_is_noticed(minutes, source, stop):
    minutes.publish(1, 3)
    with pytest.raises(SequenceGap, match="newest sequence is 3, but 6000000 was applied already"):
        next(follow(source, 6_000_000, 10, stop))


def test_the_next_files_are_fetched_while_one_is_in_use(web, minutes, source, stop):
    minutes.publish(1, 30)
    reached = threading.Event()
    last = minutes.path(1 + PREFETCH, "osc.gz")
    original = web._answer

    def answer(handler):
        original(handler)
        if handler.path == last:
            reached.set()

    web._answer = answer
    with closing(follow(source, 0, 100, stop)) as files:
        assert next(files).sequence == 1
        assert reached.wait(30)
        assert web.count(minutes.path(2 + PREFETCH, "osc.gz")) == 0


def test_leaving_early_leaves_no_file_behind(minutes, source, stop, scratch):
    minutes.publish(1, 30)
    with closing(follow(source, 0, 100, stop)) as files:
        next(files), next(files)
    assert list(scratch.iterdir()) == []


def test_files_before_a_bad_one_still_come(minutes, source, stop, scratch):
    minutes.publish(1, 9)
    minutes.put(4, "osc.gz", minutes.change_file(4)[:-1])
    seen = []
    with pytest.raises(ChangeFileInvalid, match=r"004.osc.gz: truncated"):
        for file in follow(source, 0, 100, stop):
            seen.append(file.sequence)
    assert seen == [1, 2, 3]
    assert list(scratch.iterdir()) == []


def test_a_hole_a_server_ahead_and_a_failing_one_end_it_with_their_names(minutes, source, stop):
    minutes.publish(1, 9)
    minutes.say(11)
    with pytest.raises(ReplicationMissing, match="tried again later"):
        list(follow(source, 7, 100, stop))
    minutes.put(5, "osc.gz", b"", 404)
    with pytest.raises(SequenceGap, match=r"005.osc.gz"):
        list(follow(source, 3, 100, stop))
    minutes.put(5, "osc.gz", b"", 503)
    with pytest.raises(ReplicationUnavailable):
        list(follow(source, 3, 100, stop))


def test_stop_ends_it_before_the_next_file(minutes, source, stop, scratch):
    minutes.publish(1, 30)
    seen = []
    for file in follow(source, 0, 100, stop):
        seen.append(file.sequence)
        if file.sequence == 3:
            stop.set()
    assert seen == [1, 2, 3]
    assert list(scratch.iterdir()) == []


def test_real_files_are_followed(data, open_source, stop):
    place = data / "osm/andorra_2018_2019/replication/day"
    if not place.is_dir():
        pytest.skip("osm/andorra_2018_2019 is not in the data")
    assert sequences(follow(open_source(place.as_uri()), 0, 1000, stop)) == list(range(1, 162))
