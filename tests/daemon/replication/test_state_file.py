"""state.txt in all the forms that servers write, and in those they should not."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.errors import StateInvalid
from daemon.replication.state import LAST_SEQUENCE, State, parse_state, path_sequence, sequence_path

WHEN = datetime(2024, 6, 1, 0, 18, tzinfo=UTC)


@pytest.mark.parametrize(
    "content",
    [
        b"#Sat Jun 01 00:18:02 UTC 2024\nsequenceNumber=18\ntimestamp=2024-06-01T00\\:18\\:00Z\n",
        b"timestamp=2024-06-01T00:18:00Z\r\nsequenceNumber=18\r\n",
        b"# original OSM minutely replication sequence 6071489\nsequenceNumber=18\ntimestamp=2024-06-01T00\\:18\\:00Z",
        b"#x\ntxnMaxQueried=83957\nsequenceNumber=18\ntimestamp=2024-06-01T00\\:18\\:00Z\ntxnReadyList=\ntxnActiveList=1,2\n",
        b"! comment\n  sequenceNumber : 000000018 \n\ntimestamp = 2024-06-01T00\\:18\\:00Z  \n",
        b"sequenceNumber 18\ntimestamp 2024-06-01T02\\:18\\:00+02\\:00\n",
        b"\xef\xbb\xbfsequenceNumber=18\ntimestamp=2024-06-01T00\\:18\\:00\n",
        b"sequenceNumber=17\nsequenceNumber=18\ntimestamp=2024-06-01T00\\:18\\:00Z\n",
    ],
    ids=["osmosis", "plain CRLF", "geofabrik", "extras", "spaces", "offset", "BOM", "twice"],
)
def test_state_files_are_read(content):
    assert parse_state(content, "http://h/state.txt") == State(18, WHEN)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "no sequenceNumber; found an empty file"),
        (b"  <!DOCTYPE html><html>Not here</html>", "a web page"),
        (b"\x1f\x8b\x08\x00binary", "no sequenceNumber"),
        (b"timestamp=2024-06-01T00\\:18\\:00Z\n", "no sequenceNumber"),
        (b"#sequenceNumber=1\ntimestamp=2024-06-01T00\\:18\\:00Z\n", "no sequenceNumber"),
        (b"sequenceNumber=18\n", "no timestamp"),
        (b"sequenceNumber=\ntimestamp=2024-06-01T00\\:18\\:00Z\n", "sequenceNumber is ''"),
        (b"sequenceNumber=-1\ntimestamp=2024-06-01T00\\:18\\:00Z\n", "'-1', expected 0 to 999999999"),
        (b"sequenceNumber=1e3\ntimestamp=2024-06-01T00\\:18\\:00Z\n", "'1e3'"),
        (b"sequenceNumber=1000000000\ntimestamp=2024-06-01T00\\:18\\:00Z\n", "'1000000000'"),
        (b"sequenceNumber=" + b"9" * 100_000 + b"\ntimestamp=2024-06-01T00\\:18\\:00Z\n", "'9999"),
        (b"sequenceNumber=18\ntimestamp=yesterday\n", "timestamp is 'yesterday'"),
        (b"sequenceNumber=18\ntimestamp=2024-13-01T00\\:18\\:00Z\n", "timestamp is '2024-13"),
        (b"sequenceNumber=18\ntimestamp=0000-01-01T00\\:18\\:00Z\n", "timestamp is '0000"),
        (b"sequenceNumber=18\ntimestamp=0001-01-01T00\\:18\\:00+10\\:00\n", "timestamp is '0001"),
    ],
)  # fmt: skip
def test_what_is_no_state_file_is_refused_with_its_address_and_what_was_found(content, found):
    with pytest.raises(StateInvalid) as caught:
        parse_state(content, "http://h/state.txt")
    assert str(caught.value).startswith("http://h/state.txt: ") and found in str(caught.value)
    assert len(str(caught.value)) < 300


@given(st.binary(max_size=300))
def test_any_bytes_are_a_state_or_named_invalid(content):
    with suppress(StateInvalid):
        assert isinstance(parse_state(content, "x"), State)


@given(st.integers(0, LAST_SEQUENCE))
def test_paths_lead_back_to_their_sequence(sequence):
    assert path_sequence(f"replication/minute/{sequence_path(sequence)}.osc.gz") == sequence


def test_paths_are_those_of_the_planet():
    assert sequence_path(1) == "000/000/001"
    assert sequence_path(6071489) == "006/071/489"
    assert sequence_path(LAST_SEQUENCE) == "999/999/999"
    assert path_sequence("006/071/489.state.txt") == 6071489
    for sequence in (-1, LAST_SEQUENCE + 1):
        with pytest.raises(ValueError, match="not within"):
            sequence_path(sequence)
    for path in ("1/2/3", "000/000/001/x", "0000/000/001", "/000/001", "٠٠٠/٠٠٠/٠٠١"):
        with pytest.raises(ValueError, match="does not end like"):
            path_sequence(path)
