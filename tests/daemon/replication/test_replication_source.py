"""ReplicationSource against a web server and against directories, well-behaved and not."""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import sys
import threading
from datetime import timedelta

import osmium
import pytest
from http_server import Answer, Web

from daemon.config import Replication, parse
from daemon.errors import (
    ChangeFileInvalid,
    ReplicationMissing,
    ReplicationRefused,
    ReplicationUnavailable,
    SequenceGap,
    StateInvalid,
    TooFarBehind,
)
from daemon.replication import ReplicationSource, State

PAGE = b"<!DOCTYPE html><html>Maintenance</html>"


def test_newest_and_single_states_are_read(minutes, source):
    minutes.publish(1, 3)
    assert source.newest() == State(3, minutes.time_of(3))
    assert source.state(2) == State(2, minutes.time_of(2))


def test_a_change_file_is_there_within_the_with_only(minutes, source, scratch):
    minutes.publish(1, 1)
    with source.fetch(1) as file:
        assert (file.sequence, file.timestamp) == (1, minutes.time_of(1))
        assert file.path.read_bytes() == minutes.change_file(1)
        assert [o.id for o in osmium.FileProcessor(str(file.path))] == [1]
    assert list(scratch.iterdir()) == []


def test_a_change_file_is_removed_when_applying_it_fails(minutes, source, scratch):
    minutes.publish(1, 1)
    with pytest.raises(ZeroDivisionError), source.fetch(1):
        raise ZeroDivisionError
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("suffix", ["", "/", "//"])
def test_a_slash_at_the_end_of_the_url_does_not_matter(web, minutes, open_source, suffix):
    minutes.publish(1, 1)
    assert open_source(web.url("/minute" + suffix)).newest().sequence == 1


def test_a_key_in_the_url_goes_with_every_request_and_into_no_message(web, minutes, open_source):
    minutes.publish(1, 1)
    source = open_source(web.url("/minute?key=hunter2", "joe:hunter2"))
    with source.fetch(1):
        pass
    assert all(path.endswith("?key=hunter2") for path, _ in web.requests)
    minutes.put(1, "osc.gz", b"spoilt")
    for sequence in (1, 2):
        with pytest.raises((ChangeFileInvalid, ReplicationMissing)) as caught, source.fetch(sequence):
            pass
        assert "hunter2" not in str(caught.value) and "000/000/00" in str(caught.value)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, ReplicationMissing), (410, ReplicationMissing), (401, ReplicationRefused), (403, ReplicationRefused),
        (400, ReplicationRefused), (429, ReplicationUnavailable), (500, ReplicationUnavailable),
        (502, ReplicationUnavailable), (504, ReplicationUnavailable),
    ],
)  # fmt: skip
def test_every_status_has_its_name(web, minutes, source, status, error):
    minutes.publish(1, 1)
    minutes.put(1, "osc.gz", b"", status)
    with pytest.raises(error, match=f"000/000/001.osc.gz: HTTP {status}"), source.fetch(1):
        pass
    web.put("/minute/state.txt", b"", status)
    with pytest.raises(error, match=f"state.txt: HTTP {status}"):
        source.newest()


def test_a_server_that_recovers_is_not_noticed(web, minutes, open_source, fetchers):
    minutes.publish(1, 1)
    half = web.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n" + minutes.change_file(1)[:30])
    web.script(minutes.path(1, "osc.gz"), Answer(500), Answer(503), half, Answer(body=minutes.change_file(1)))
    with open_source(fetcher=fetchers(retries=3)).fetch(1) as file:
        assert file.path.read_bytes() == minutes.change_file(1)


def test_a_server_that_is_away_or_silent_is_unavailable(web, open_source, fetchers):
    web.script("/minute/state.txt", web.hang())
    with pytest.raises(ReplicationUnavailable, match="nothing came"):
        open_source(fetcher=fetchers(timeout=0.1)).newest()
    gone = Web()
    gone.close()
    with pytest.raises(ReplicationUnavailable, match="connection refused") as caught:
        open_source(gone.url("/minute")).newest()
    assert caught.value.transient


def test_a_web_page_instead_of_files_is_named(web, minutes, source, scratch):
    minutes.publish(1, 1)
    minutes.put(1, "osc.gz", PAGE)
    with pytest.raises(ChangeFileInvalid, match=r"001.osc.gz: a web page, not a gzip file; nothing of it was applied"):
        source.fetch(1).__enter__()
    minutes.put(1, "osc.gz", minutes.change_file(1))
    minutes.put(1, "state.txt", PAGE)
    with pytest.raises(StateInvalid, match=r"001.state.txt: a web page"), source.fetch(1):
        pass
    web.put("/minute/state.txt", PAGE)
    with pytest.raises(StateInvalid, match=r"minute/state.txt: a web page"):
        source.newest()
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (gzip.compress(b"<osmChange/>")[:-4], "truncated"),
        (b"not gzip", "not a gzip file"),
        (gzip.compress(b"<osmChange>" + b" " * 2_000_000), "unpacks to more than the 1000000 bytes allowed"),
        (b"\x1f\x8b" + os.urandom(200_000), "more than the 100000 allowed"),
    ],
    ids=["truncated", "no gzip", "bomb", "large"],
)
@pytest.mark.parametrize("scheme", ["http", "file"])
def test_spoilt_change_files_are_refused(web, minutes, open_source, scratch, tmp_path, content, reason, scheme):
    minutes.publish(1, 1)
    minutes.put(1, "osc.gz", content)
    (tmp_path / "000/000").mkdir(parents=True)
    (tmp_path / "000/000/001.osc.gz").write_bytes(content)
    url = f"file://{tmp_path}" if scheme == "file" else web.url("/minute")
    source = open_source(url, max_compressed=100_000, max_uncompressed=1_000_000)
    with pytest.raises(ChangeFileInvalid, match=reason), source.fetch(1):
        pass
    assert list(scratch.iterdir()) == []


def test_a_state_file_of_another_sequence_is_a_gap(minutes, source):
    minutes.publish(1, 3)
    minutes.put(2, "state.txt", minutes.state_file(3))
    with pytest.raises(SequenceGap, match=r"002.state.txt: says it is sequence 3, expected 2"), source.fetch(2):
        pass


def test_without_a_state_file_the_newest_object_tells_the_time(minutes, source):
    minutes.publish(1, 3)
    minutes.put(2, "state.txt", b"", 404)
    with source.fetch(2) as file:
        assert file.timestamp == minutes.time_of(2) - timedelta(seconds=7)
    minutes.put(2, "osc.gz", gzip.compress(b"<osmChange/>"))
    with source.fetch(2) as file:
        assert file.timestamp is None


def test_a_server_ahead_of_its_data_says_so_and_catches_up(minutes, source):
    minutes.publish(1, 3)
    minutes.say(5)
    with pytest.raises(ReplicationMissing, match=r"speaks of sequence 5 .* tried again later"), source.fetch(4):
        pass
    minutes.put(5, "state.txt", minutes.state_file(5))
    with pytest.raises(ReplicationMissing, match="tried again later"), source.fetch(5):
        pass
    minutes.publish(4, 5)
    with source.fetch(4), source.fetch(5):
        pass


def test_a_file_after_the_newest_is_not_there_yet(minutes, source):
    minutes.publish(1, 3)
    with pytest.raises(ReplicationMissing, match="has got to sequence 3"), source.fetch(4):
        pass


def test_a_hole_is_a_gap(minutes, source):
    minutes.publish(1, 3)
    minutes.publish(5, 9)
    with pytest.raises(SequenceGap, match=r"004.osc.gz: HTTP 404 .* has later ones, up to 9"), source.fetch(4):
        pass


def test_files_that_were_removed_are_a_gap(minutes, source):
    minutes.publish(1000, 1003)
    with pytest.raises(TooFarBehind, match="bootstrap from a newer extract"), source.fetch(17):
        pass


def test_sequences_that_cannot_be_are_refused(source):
    for sequence in (-1, 10**9):
        with pytest.raises(ValueError, match="not within"), source.fetch(sequence):
            pass


def test_sequence_at_is_the_last_one_not_younger(minutes, source):
    minutes.publish(0, 20)
    for sequence in range(21):
        for seconds in (0, 1, 59):
            assert source.sequence_at(minutes.time_of(sequence) + timedelta(seconds=seconds)) == sequence
    assert source.sequence_at(minutes.time_of(4000)) == 20
    assert source.sequence_at(minutes.time_of(7).replace(tzinfo=None)) == 7
    with pytest.raises(TooFarBehind, match="oldest state there is, sequence 0"):
        source.sequence_at(minutes.time_of(-1))


@pytest.mark.parametrize("hole", [{9}, {10, 11}, {5, 10, 15, 16, 17}, {1, 2, 3, 18, 19}, set(range(1, 20, 2))])
def test_sequence_at_looks_across_holes(minutes, source, hole):
    minutes.publish(0, 20)
    for sequence in hole:
        minutes.put(sequence, "state.txt", b"", 404)
    for sequence in range(21):
        there = max(s for s in range(sequence + 1) if s not in hole)
        assert source.sequence_at(minutes.time_of(sequence)) == there


def test_sequence_at_manages_where_old_files_were_removed(web, minutes, source):
    minutes.publish(5_000_000, 5_000_040)
    assert source.sequence_at(minutes.time_of(5_000_017)) == 5_000_017
    assert len(web.requests) < 150
    with pytest.raises(TooFarBehind, match=r"sequence 5000000 of .* bootstrap from a newer file"):
        source.sequence_at(minutes.time_of(4_999_999))


def test_sequence_at_before_the_first_file_of_a_server(minutes, source):
    minutes.publish(1, 5)
    assert source.sequence_at(minutes.start) == 0
    with pytest.raises(TooFarBehind, match="oldest state there is, sequence 1"):
        source.sequence_at(minutes.start - timedelta(days=1))


def test_sequence_at_names_a_server_that_fails(web, minutes, source):
    minutes.publish(0, 20)
    minutes.put(9, "state.txt", PAGE)
    with pytest.raises(StateInvalid):
        source.sequence_at(minutes.time_of(3))
    minutes.put(9, "state.txt", b"", 500)
    with pytest.raises(ReplicationUnavailable):
        source.sequence_at(minutes.time_of(3))


def test_local_failures_have_the_same_names(open_source, tmp_path):
    base = tmp_path / "mi nute"
    (base / "000/000").mkdir(parents=True)
    source = open_source(base.as_uri())
    with pytest.raises(ReplicationMissing, match=r"state.txt: no such file"):
        source.newest()
    (base / "state.txt").mkdir()
    with pytest.raises(ReplicationRefused):
        source.newest()
    (base / "state.txt").rmdir()
    os.mkfifo(base / "state.txt")
    with pytest.raises(ReplicationRefused, match="not a regular file"):
        source.newest()
    (base / "state.txt").unlink()
    (base / "state.txt").write_bytes(b"x" * 10**6)
    with pytest.raises(StateInvalid, match="1000000 bytes, more than"):
        source.newest()
    with pytest.raises(ReplicationMissing):
        open_source(f"file://{tmp_path}/none").newest()


@pytest.mark.parametrize("url", ["file://relative/minute", "file:///a%00b", "http://[::1/minute"])
def test_urls_that_cannot_be_used_are_refused(open_source, url):
    with pytest.raises(ReplicationRefused, match=r"file|http|unreadable"):
        open_source(url)


@pytest.mark.parametrize(("contact", "agent"), [("me@home.org", r"mapgap/\S+ \(\+me@home.org\)"), ("☃", r"mapgap/\S+")])
def test_a_source_is_opened_from_the_configuration(web, minutes, tmp_path, contact, agent):
    minutes.publish(1, 2)
    settings = {"replication": {"url": web.url("/minute")}, "client": {"contact": contact}, "data_dir": "here"}
    with ReplicationSource.open(parse(settings, "test", tmp_path)) as source, source.fetch(2) as file:
        assert file.path.parent == tmp_path / "here/scratch"
    assert all(re.fullmatch(agent, headers["User-Agent"]) for _, headers in web.requests)


def test_a_stopped_source_is_unavailable(web, minutes, tmp_path):
    minutes.publish(1, 2)
    stop = threading.Event()
    stop.set()
    settings = {"replication": {"url": web.url("/minute")}}
    stopped = pytest.raises(ReplicationUnavailable, match="the daemon stops")
    with ReplicationSource.open(parse(settings, "test", tmp_path), stop) as source, stopped:
        source.newest()
    assert web.requests == []


def test_a_scratch_directory_that_cannot_be_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ReplicationRefused, match=r"scratch: no place for change files"):
        ReplicationSource(Replication(url="file:///x"), None, tmp_path / "file/scratch")


def test_a_web_source_needs_a_fetcher(scratch):
    with pytest.raises(ValueError, match="Fetcher"):
        ReplicationSource(Replication(url="http://example.org/minute"), None, scratch)


def test_a_full_disk_is_named(small_disk, tmp_path, minutes):
    (tmp_path / "000/000").mkdir(parents=True)
    (tmp_path / "000/000/001.osc.gz").write_bytes(b"\x1f\x8b" + os.urandom(1_000_000))
    small_disk(
        """
        from daemon.config import Replication, parse
        from daemon.errors import StorageFull
        from daemon.replication import ReplicationSource
        source = ReplicationSource(Replication(url=URL), None, DISK)
        try:
            with source.fetch(1):
                raise AssertionError("fetched")
        except StorageFull as error:
            assert "make room in" in str(error)
        assert list(DISK.iterdir()) == []
        """,
        URL=tmp_path.as_uri(),
    )


def test_what_a_killed_process_left_is_swept_and_nothing_else(open_source, scratch):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    scratch.mkdir()
    left = scratch / f"{dead.pid}-17-abc.osc.gz"
    ours = scratch / f"{os.getpid()}-18-abc.osc.gz"
    other = scratch / "precious.osc.gz"
    for path in (left, ours, other):
        path.touch()
    open_source("file:///nowhere")
    assert sorted(scratch.iterdir()) == sorted([ours, other])


@pytest.mark.parametrize(
    ("place", "newest"),
    [
        ("replay_buildings/replication/minute", 18),
        ("osm/andorra_2018_2019/replication/day", 161),
        ("osm/monaco_2012_2015/replication/day", 209),
    ],
)
def test_real_directories_are_read_from_end_to_end(data, open_source, place, newest, scratch):
    if not (data / place).is_dir():
        pytest.skip(f"{place} is not in the data")
    source = open_source((data / place).as_uri())
    assert source.newest().sequence == newest
    assert source.sequence_at(source.state(0).timestamp) == 0
    assert source.sequence_at(source.state(newest // 2).timestamp) == newest // 2
    for sequence in range(1, newest + 1):
        with source.fetch(sequence) as file:
            assert file.timestamp == source.state(sequence).timestamp
            assert file.path.stat().st_size > 0
    assert list(scratch.iterdir()) == []
