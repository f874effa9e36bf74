"""What is let through as a change file, and what is not."""

from __future__ import annotations

import gzip
import os
from datetime import UTC, datetime

import pytest

from daemon.config import Replication
from daemon.errors import ChangeFileInvalid
from daemon.replication.changefile import PIECE, PROLOGUE, check, newest_object

NODE = b'<modify><node id="1" version="2" timestamp="2024-06-01T00:01:00Z" lat="1" lon="2"/></modify>'
OSC = b'<?xml version="1.0" encoding="UTF-8"?>\n<osmChange version="0.6">' + NODE + b"</osmChange>\n"
LARGE = OSC.replace(NODE, NODE * 20_000)
NOISE = OSC.replace(NODE, b"<!--" + os.urandom(300_000).hex().encode() + b"-->")


def checked(tmp_path, content, limit=10**8, **limits):
    path = tmp_path / "x.osc.gz"
    path.write_bytes(content)
    knobs = Replication(max_uncompressed=limit, **limits)
    check(path, "http://h/000/000/001.osc.gz", knobs)


@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(OSC),
        gzip.compress(LARGE),
        gzip.compress(NOISE),
        gzip.compress(b"<osmChange/>"),
        gzip.compress(b"\xef\xbb\xbf <?xml version='1.0'?><!--<!DOCTYPE--><?pi?>\n<osmChange></osmChange ><!--x-->\n"),
        gzip.compress(LARGE[:1000]) + gzip.compress(LARGE[1000:]),
        gzip.compress(OSC) + b"\0" * (PIECE + 512),
        gzip.compress(OSC, mtime=0, compresslevel=0),
    ],
    ids=["small", "large", "barely compressed", "empty", "prologue", "two members", "padded", "stored"],
)
def test_change_files_pass(tmp_path, content):
    checked(tmp_path, content)


def test_every_truncation_shows(tmp_path):
    whole = gzip.compress(OSC)
    for length in range(len(whole)):
        with pytest.raises(ChangeFileInvalid):
            checked(tmp_path, whole[:length])


@pytest.mark.parametrize("content", [LARGE, NOISE], ids=["large", "barely compressed"])
def test_truncation_is_called_by_its_name(tmp_path, content):
    whole = gzip.compress(content)
    for length in (len(whole) - 1, len(whole) - 8, len(whole) // 2, PIECE):
        with pytest.raises(ChangeFileInvalid, match=r"001.osc.gz: truncated: .*; nothing of it was applied"):
            checked(tmp_path, whole[: min(length, len(whole) - 1)])


def test_every_damaged_byte_of_the_data_shows(tmp_path):
    whole = gzip.compress(OSC)
    for place in range(10, len(whole)):
        with pytest.raises(ChangeFileInvalid):
            checked(tmp_path, whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "an empty file"),
        (b"<!DOCTYPE html><html>404</html>", "a web page"),
        (OSC, "XML that is not compressed"),
        (b"BZh91AY&SY", "not a gzip file: begins with 42 5a 68"),
        (gzip.compress(b""), "not an osmChange"),
        (gzip.compress(gzip.compress(OSC)), "not an osmChange"),
        (gzip.compress(b"<osm version='0.6'></osm>"), "not an osmChange: begins with"),
        (gzip.compress(b"<osmChanges></osmChanges>"), "not an osmChange"),
        (gzip.compress(b"<!DOCTYPE osmChange [<!ENTITY a 'b'>]>" + OSC[39:]), "document type or entity"),
        (gzip.compress(b"<?xml version='1.0'?><!-- x --><!DOCTYPE osmChange SYSTEM 'x'><osmChange/>"), "document type"),
        (gzip.compress(OSC.decode().encode("utf-16")), "not an osmChange"),
        (gzip.compress(b"<!--" + b"x" * PROLOGUE + b"-->" + OSC), "no osmChange within its first"),
        (gzip.compress(OSC[:-5]), "the XML breaks off"),
        (gzip.compress(LARGE[:-50]), "the XML breaks off"),
        (gzip.compress(OSC) + b"more", "something follows"),
        (gzip.compress(OSC) + b"\x1f", "truncated"),
    ],
)  # fmt: skip
def test_other_things_are_refused_with_the_reason(tmp_path, content, reason):
    with pytest.raises(ChangeFileInvalid) as caught:
        checked(tmp_path, content)
    assert str(caught.value).startswith("http://h/000/000/001.osc.gz: ") and reason in str(caught.value)


def test_a_bomb_is_refused_as_soon_as_it_is_too_large(tmp_path):
    bomb = gzip.compress(b"<osmChange>" + b" " * 50_000_000)
    with pytest.raises(ChangeFileInvalid, match="unpacks to more than the 1000000 bytes allowed"):
        checked(tmp_path, bomb, limit=1_000_000)
    checked(tmp_path, gzip.compress(OSC), limit=len(OSC))
    with pytest.raises(ChangeFileInvalid, match="unpacks to more"):
        checked(tmp_path, gzip.compress(OSC), limit=len(OSC) - 1)


def test_the_newest_object_is_found_wherever_it_stands(tmp_path):
    path = tmp_path / "x.osc.gz"
    early, late = b'timestamp="2024-06-01T00:01:00Z" ', b"timestamp='2024-06-02T03:04:05Z' "
    for before in range(PIECE - 40, PIECE + 5):
        path.write_bytes(gzip.compress(b" " * before + late + early, compresslevel=1))
        assert newest_object(path) == datetime(2024, 6, 2, 3, 4, 5, tzinfo=UTC)
    path.write_bytes(gzip.compress(b"<osmChange/>"))
    assert newest_object(path) is None
    path.write_bytes(gzip.compress(b'timestamp="9999-99-99T99:99:99Z"'))
    assert newest_object(path) is None


WAY = b'<way id="1" version="1">' + b'<nd ref="1"/>' * 2000 + b"</way>"
MEGABYTE = 2**20


@pytest.mark.parametrize(
    "inside",
    [
        b'<node id="1" user="' + b"x" * (2 * MEGABYTE) + b'"/>',
        b'<node id="1">' + b'<tag k="a" v="b"/>' * 150_000 + b"</node>",
        b'<way id="1">' + b'<nd ref="1"/>' * 150_000 + b"</way>",
        b"<!--" + b"<node " * 400_000 + b"-->",
        b"<![CDATA[" + b"<node " * 400_000 + b"]]>",
        b"<?x " + b"<node " * 400_000 + b"?>",
        b"x" * (2 * MEGABYTE),
        b"<a>" * 700_000,
        b"<!-- never closed " + b"<node " * 400_000,
    ],
    ids=["attribute", "tags", "nodes", "comment", "CDATA", "instruction", "text", "depth", "unclosed"],
)
def test_what_a_parser_would_have_to_hold_as_a_whole_is_limited(tmp_path, inside):
    for before in (b"", WAY * 30, b"<!-- a comment <node -->" * 5):
        with pytest.raises(ChangeFileInvalid, match="of more than the 1048576 bytes allowed; nothing"):
            checked(tmp_path, gzip.compress(OSC.replace(NODE, before + inside), 1), max_object=MEGABYTE)


def test_large_objects_and_comments_pass_up_to_the_limit(tmp_path):
    members = b'<relation id="1">' + b'<member type="way" ref="123456789" role="outer"/>' * 20_000 + b"</relation>"
    comment = b"<!--" + b"-" * 900_000 + b"-->"
    for content in (members, (WAY + members) * 3, comment + NODE + comment, NODE + b"<?p?>" + NODE * 100_000):
        checked(tmp_path, gzip.compress(OSC.replace(NODE, content), 1), max_object=MEGABYTE)


def test_markup_cut_in_two_is_seen(tmp_path):
    """Wherever the pieces end, ten thousand small objects are no large one, and a comment ends where it ends."""
    unit = b"<!--x--><way id='1'/><![CDATA[y]]><relation id='2'/>"
    for shift in range(0, 60, 7):
        content = OSC.replace(NODE, b" " * shift + unit * 30_000)
        checked(tmp_path, gzip.compress(content, 1), max_object=MEGABYTE, max_objects=4 * 30_000 + 1)
        with pytest.raises(ChangeFileInvalid, match=r"more than the 119999 objects allowed"):
            checked(tmp_path, gzip.compress(content, 1), max_object=MEGABYTE, max_objects=4 * 30_000 - 1)
