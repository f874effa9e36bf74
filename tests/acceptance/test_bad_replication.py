"""Bad input from a replication server: it is named, nothing is lost, and the same cycle works once it is right again.

Every case starts at sequence 2 of 4 with tiles in the queue, spoils what comes next, and gives a user's command.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from http_server import Answer, Web
from installation import RESTING, Installation

from daemon.errors import ReplicationError

State = dict[str, Any]
WEB_PAGE = b"<!DOCTYPE html><html><body>maintenance</body></html>"


def test_an_undisturbed_cycle_ends_as_the_other_tests_suppose(following: Installation, undisturbed: State) -> None:
    following.configure()
    answer = following.mapgap("once")
    state = following.state()
    assert (answer.exit_code, state["position"], state["store"]) == (0, 4, undisturbed["store"]), answer.stderr
    assert state["queue"] == [] and state["ledger"]


def bomb(plain: int = 64 * 1024**2) -> bytes:
    """A small gzip file of a large osmChange."""
    packer = zlib.compressobj(9, wbits=zlib.MAX_WBITS | 16)
    blanks = packer.compress(b'<osmChange version="0.6">')
    for _ in range(plain // 1024**2):
        blanks += packer.compress(b" " * 1024**2)
    return blanks + packer.compress(b"</osmChange>") + packer.flush()


def change(inner: str) -> bytes:
    return gzip.compress(f'<?xml version="1.0"?>\n<osmChange version="0.6">{inner}</osmChange>'.encode())


BAD_CHANGE_FILES = {
    "truncated": (lambda good: good[: len(good) // 2], "truncated"),
    "empty": (lambda good: b"", "an empty file"),
    "a damaged byte": (lambda good: good[:60] + bytes([good[60] ^ 0xFF]) + good[61:], "damaged"),
    "not compressed": (gzip.decompress, "not compressed"),
    "something else": (lambda good: b"PK\x03\x04" + bytes(200), "not a gzip file"),
    "a web page": (lambda good: WEB_PAGE, "a web page"),
    "a bomb": (lambda good: bomb(), "unpacks to more than the 10000000 bytes allowed"),
    "larger than allowed": (lambda good: good + bytes(300_000), "more than the 300000 allowed"),
    "entities": (lambda good: gzip.compress(b'<!DOCTYPE x [<!ENTITY a "b">]><osmChange/>'), "document type"),
    "another document": (lambda good: gzip.compress(b'<osm version="0.6"></osm>'), "not an osmChange"),
    "XML that breaks off": (lambda good: gzip.compress(gzip.decompress(good)[:-30]), "the XML breaks off"),
    "XML that is none": (lambda good: change('<create><node id="1" <</create>'), "broken change file"),
    "an impossible number": (
        lambda good: change('<create><node id="1e9" version="1" lat="1" lon="2"/></create>'), "broken change file",
    ),
}


@pytest.mark.parametrize("name", BAD_CHANGE_FILES)
def test_a_bad_change_file_is_refused_and_nothing_is_lost(
    following: Installation, undisturbed: State, name: str
) -> None:
    spoil, said = BAD_CHANGE_FILES[name]
    following.configure(**RESTING, replication={"max_compressed": 300_000, "max_uncompressed": 10_000_000})
    path = following.change_file(3)
    good, before = path.read_bytes(), following.state()
    path.write_bytes(spoil(good))
    refused(following.mapgap("once"), said)
    assert following.state() == before
    path.write_bytes(good)
    goes_on(following, undisturbed)


def test_files_before_a_bad_one_are_applied_once_and_kept(following: Installation, undisturbed: State) -> None:
    path = following.change_file(4)
    good = path.read_bytes()
    path.write_bytes(good[:-9])
    for _ in range(2):
        refused(following.mapgap("once"), "004.osc.gz: truncated")
        assert following.position() == 3
    path.write_bytes(good)
    goes_on(following, undisturbed)


def test_a_server_ahead_of_its_data_is_caught_up_with_later(following: Installation, undisturbed: State) -> None:
    hidden = [(path, path.read_bytes()) for n in (3, 4) for path in (following.change_file(n), following.state_file(n))]
    before = following.state()
    for path, _ in hidden:
        path.unlink()
    refused(following.mapgap("once"), "the server is ahead of its data")
    assert following.state() == before
    for path, content in hidden:
        path.write_bytes(content)
    goes_on(following, undisturbed)


def test_a_hole_is_never_stepped_over(following: Installation, undisturbed: State) -> None:
    path = following.change_file(3)
    good, before = path.read_bytes(), following.state()
    path.unlink()
    refused(following.mapgap("once"), "its hole has to be filled")
    assert following.state() == before
    path.write_bytes(good)
    goes_on(following, undisturbed)


BAD_STATES = {
    "empty": (b"", "an empty file"),
    "a web page": (WEB_PAGE, "a web page or XML"),
    "no number": (b"timestamp=2024-06-01T00\\:04\\:00Z\n", "no sequenceNumber"),
    "a number that is none": (b"sequenceNumber=-4\ntimestamp=2024-06-01T00\\:04\\:00Z\n", "sequenceNumber is '-4'"),
    "no time": (b"sequenceNumber=4\ntimestamp=yesterday\n", "timestamp is 'yesterday'"),
    "far too large": (b"#" * 300_000, "more than the 262144 allowed"),
    "before what was applied": (b"sequenceNumber=1\ntimestamp=2024-06-01T00\\:01\\:00Z\n", None),
}


@pytest.mark.parametrize("name", BAD_STATES)
def test_a_bad_state_file_stops_nothing_for_good(following: Installation, undisturbed: State, name: str) -> None:
    content, said = BAD_STATES[name]
    path = following.state_file()
    good, before = path.read_bytes(), following.state()
    path.write_bytes(content)
    answer = following.mapgap("once")
    if said is None:  # one of several servers may be a little behind: nothing to do
        assert (answer.exit_code, following.position()) == (0, 2), answer.stderr
    else:
        refused(answer, said)
        assert following.state()["store"] == before["store"]
    path.write_bytes(good)
    goes_on(following, undisturbed)


def test_a_state_file_well_ahead_of_the_data_costs_nothing_of_it(following: Installation, undisturbed: State) -> None:
    following.state_file().write_bytes(b"sequenceNumber=900\ntimestamp=2024-06-02T00\\:01\\:00Z\n")
    for _ in range(2):
        refused(following.mapgap("once"), "the server is ahead of its data")
        assert following.state() == undisturbed


def test_another_server_than_the_one_followed_is_noticed(following: Installation) -> None:
    with following.database.transaction() as cursor:
        cursor.execute("UPDATE replication_state SET sequence = 5000")
    before = following.state()
    refused(following.mapgap("once"), "names another server")
    assert following.state() == before


def test_a_state_file_of_another_sequence_is_a_gap(following: Installation, undisturbed: State) -> None:
    path = following.state_file(3)
    good, before = path.read_bytes(), following.state()
    path.write_bytes(following.state_file(2).read_bytes())
    refused(following.mapgap("once"), "says it is sequence 2, expected 3")
    assert following.state() == before
    path.write_bytes(good)
    goes_on(following, undisturbed)


BAD_ANSWERS: dict[str, tuple[Callable[[Web], Answer], str, str]] = {
    "404 for the state": (lambda web: Answer(404), "state.txt", "404"),
    "500 for the state": (lambda web: Answer(500), "state.txt", "500"),
    "silence for the state": (lambda web: web.hang(), "state.txt", "nothing came for 0.3 s"),
    "a web page for the state": (lambda web: Answer(200, WEB_PAGE), "state.txt", "a web page or XML"),
    "401 for the state": (lambda web: Answer(401), "state.txt", "401"),
    "404 for a change file": (lambda web: Answer(404), "000/000/003.osc.gz", "its hole has to be filled"),
    "410 for a change file": (lambda web: Answer(410), "000/000/003.osc.gz", "If it has removed old files"),
    "500 for a change file": (lambda web: Answer(500), "000/000/003.osc.gz", "500"),
    "503 for a change file": (lambda web: Answer(503, headers={"Retry-After": "3600"}), "000/000/003.osc.gz", "503"),
    "silence for a change file": (lambda web: web.hang(), "000/000/003.osc.gz", "nothing came for 0.3 s"),
    "a web page for a change file": (lambda web: Answer(200, WEB_PAGE), "000/000/003.osc.gz", "a web page"),
    "a change file that breaks off": (
        lambda web: web.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n\x1f\x8b"), "000/000/003.osc.gz",
        "003.osc.gz",
    ),
    "a redirect out of the web": (
        lambda web: Answer(302, headers={"Location": "file:///etc/passwd"}), "000/000/003.osc.gz", "redirects to",
    ),
    "hanging up": (lambda web: web.raw(b""), "000/000/003.osc.gz", "003.osc.gz"),
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_a_bad_answer_of_a_server_is_named_and_nothing_is_lost(
    following: Installation, undisturbed: State, web: Web, name: str
) -> None:
    make, path, said = BAD_ANSWERS[name]
    serve(web, following.replication)
    patience = 0.3 if "silence" in name else 5.0
    following.configure(**RESTING, replication={"url": web.url("/minute"), "timeout": patience})
    before = following.state()
    web.script(f"/minute/{path}", make(web))
    refused(following.mapgap("once"), said)
    assert following.state() == before
    serve(web, following.replication)
    following.configure(**RESTING, replication={"url": web.url("/minute")})
    goes_on(following, undisturbed)


def test_a_server_that_is_away_is_named(following: Installation, undisturbed: State, web: Web) -> None:
    web.close()
    following.configure(**RESTING, replication={"url": web.url("/minute")})
    before = following.state()
    refused(following.mapgap("once"), "refused")
    assert following.state() == before


def test_every_failure_that_passes_is_told_from_those_that_do_not(following: Installation, web: Web) -> None:
    serve(web, following.replication)
    following.configure(**RESTING, replication={"url": web.url("/minute")})
    transient = {}
    for status in (404, 410, 401, 403, 500, 502, 503, 504, 429):
        web.put("/minute/state.txt", status=status)
        with following.pipeline() as pipeline, pytest.raises(ReplicationError) as caught:
            pipeline.follow()
        transient[status] = caught.value.transient
    assert transient == {
        404: False, 410: False, 401: False, 403: False, 500: True, 502: True, 503: True, 504: True, 429: True,
    }


def serve(web: Web, directory: Path) -> None:
    """Put every file of the directory below /minute."""
    for path in directory.rglob("*.*"):
        web.put(f"/minute/{path.relative_to(directory)}", path.read_bytes())


def refused(answer: Result, said: str, code: int = ReplicationError.exit_code) -> None:
    """It ended as it should: with its exit code and one message, without a traceback."""
    messages = [line for line in answer.stderr.splitlines() if line.startswith("mapgap: ")]
    assert answer.exit_code == code, answer.output
    assert len(messages) == 1 and said in messages[0], answer.stderr
    assert "Traceback" not in answer.output


def goes_on(installation: Installation, undisturbed: State) -> None:
    """The same cycle works, and ends where an undisturbed one would: the queue's generations count no file twice."""
    answer = installation.mapgap("once")
    assert answer.exit_code == 0, answer.stderr
    assert installation.state() == undisturbed
    assert not list((installation.directory / "mapgap-data" / "scratch").iterdir())
