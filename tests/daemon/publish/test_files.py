"""The publishing directory is kept in step with the ledger, each file whole or as it was."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from claims import gone, house, later, missing
from feeds import CONTEXT, lint_osmose, read_geojson, read_maproulette

from daemon.config import Publish
from daemon.discrepancies.life import close
from daemon.discrepancies.model import ClosedAs, State
from daemon.errors import PublishError, StorageFull
from daemon.publish import files
from daemon.publish.files import FILES, write_files


def all_hold(cursor, discrepancies) -> set[str]:
    return set()


def put(ledger, directory, *, no_longer_hold=all_hold, context=CONTEXT, **knobs):
    return write_files(
        ledger.database, Publish(dir=directory, **knobs), context, no_longer_hold=no_longer_hold, sequence=4
    )


def test_what_is_sure_enough_is_published_and_in_all_three_files(ledger, tmp_path):
    sure, unsure = ledger.open(missing(house(50, 50), 0.9), gone(house(90, 50), "way/1", 0.3))
    directory = tmp_path / "feeds" / "banepa"
    report = put(ledger, directory)
    assert report.shown == (sure,) and report.count == 1 and len(report.written) == 3 and not report.fixed
    assert list(read_geojson((directory / "discrepancies.geojson").read_bytes())) == [sure]
    assert list(read_maproulette((directory / "maproulette.geojsonl").read_bytes())) == [sure]
    assert len(lint_osmose((directory / "osmose.xml").read_bytes())) == 1
    assert ledger.find(sure).state is State.PUBLISHED and ledger.find(unsure).state is State.OPEN
    assert ledger.events(sure) == ["opened", "published"]
    assert sorted(os.listdir(directory)) == sorted(FILES), "no draft is left"
    assert {oct((directory / name).stat().st_mode & 0o777) for name in FILES} == {"0o644"}


def test_files_that_would_say_the_same_are_not_touched(ledger, tmp_path):
    ledger.open(missing(house(50, 50), 0.9))
    put(ledger, tmp_path)
    before = {path: path.stat().st_ino for path in tmp_path.iterdir()}
    report = put(ledger, tmp_path, context=replace(CONTEXT, generated=later(3600)))
    assert not report.written and len(report.unchanged) == 3 and not report.shown
    assert {path: path.stat().st_ino for path in tmp_path.iterdir()} == before


def test_what_closes_leaves_the_files_and_what_lost_confidence_stays(ledger, tmp_path):
    first, second = ledger.open(missing(house(50, 50), 0.9), missing(house(90, 50), 0.9))
    put(ledger, tmp_path)
    with ledger.cursor() as cursor:
        close(cursor, [first], "fixed", now=later(1))
    ledger.look(missing(house(90, 50), 0.2), judged=lambda *_: False)
    report = put(ledger, tmp_path, context=replace(CONTEXT, generated=later(2)))
    assert len(report.written) == 3
    assert list(read_geojson((tmp_path / "discrepancies.geojson").read_bytes())) == [second]
    assert len(lint_osmose((tmp_path / "osmose.xml").read_bytes())) == 1


def test_the_current_map_is_asked_before_anybody_is(ledger, tmp_path):
    stays, goes = ledger.open(missing(house(50, 50), 0.9), missing(house(90, 50), 0.9))
    asked = []

    def ask(cursor, discrepancies):
        asked.append([d.key for d in discrepancies])
        return {goes}

    report = put(ledger, tmp_path, no_longer_hold=ask)
    assert report.shown == (stays,) and report.fixed == (goes,)
    assert ledger.find(goes).closed_as is ClosedAs.FIXED and ledger.events(goes) == ["opened", "closed"]
    assert list(read_geojson((tmp_path / "discrepancies.geojson").read_bytes())) == [stays]
    put(ledger, tmp_path, no_longer_hold=ask)
    assert asked == [sorted([stays, goes])], "only what is to be shown for the first time"


def test_many_are_published_in_portions(ledger, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "AT_ONCE", 2)
    keys = ledger.open(*(missing(house(30 * n, 50), 0.9) for n in range(1, 6)))
    portions = []

    def ask(cursor, discrepancies):
        portions.append(len(discrepancies))
        return {keys[0]}

    report = put(ledger, tmp_path, no_longer_hold=ask)
    assert portions == [2, 2, 1] and report.fixed == (keys[0],) and sorted(report.shown) == sorted(keys[1:])
    assert read_geojson((tmp_path / "discrepancies.geojson").read_bytes()).keys() == set(keys[1:])


def test_a_dry_run_says_what_would_be_and_changes_nothing(ledger, tmp_path):
    sure, wrong = ledger.open(missing(house(50, 50), 0.9), missing(house(90, 50), 0.9))
    directory = tmp_path / "feeds"
    report = put(ledger, directory, dry_run=True, no_longer_hold=lambda *_: {wrong})
    assert report.dry_run and report.shown == (sure,) and report.fixed == (wrong,) and report.count == 1
    assert [path.name for path in report.written] == list(FILES)
    assert not directory.exists()
    assert ledger.find(sure).state is State.OPEN and ledger.events(wrong) == ["opened"]


def test_without_a_directory_nothing_is_published(ledger):
    (key,) = ledger.open(missing(house(50, 50), 0.9))
    assert put(ledger, None).shown == ()
    assert ledger.find(key).state is State.OPEN


def test_a_directory_that_cannot_be_written_is_named_and_nothing_counts_as_published(ledger, tmp_path):
    (key,) = ledger.open(missing(house(50, 50), 0.9))
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(PublishError, match="taken"):
        put(ledger, tmp_path / "taken")
    (tmp_path / "feeds" / "osmose.xml").mkdir(parents=True)
    with pytest.raises(PublishError, match="feeds"):
        put(ledger, tmp_path / "feeds")
    assert ledger.find(key).state is State.OPEN


def test_a_full_disk_is_named_and_leaves_the_files_as_they_were(ledger, tmp_path, monkeypatch):
    """/dev/full is a disk without a byte left."""
    put(ledger, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    (key,) = ledger.open(missing(house(50, 50), 0.9))
    (tmp_path / ".discrepancies.geojson.new").symlink_to(Path("/dev/full"))
    with pytest.raises(StorageFull, match="no space left"):
        put(ledger, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert ledger.find(key).state is State.OPEN
    assert put(ledger, tmp_path).shown == (key,)


def test_a_draft_that_a_crash_left_is_no_obstacle(ledger, tmp_path):
    ledger.open(missing(house(50, 50), 0.9))
    (tmp_path / ".osmose.xml.new").write_text("<analysers> half a file" * 1000)
    put(ledger, tmp_path)
    assert len(lint_osmose((tmp_path / "osmose.xml").read_bytes())) == 1
    assert sorted(os.listdir(tmp_path)) == sorted(FILES)
