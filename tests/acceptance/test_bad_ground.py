"""Bad OSM files, bad imagery, bad models: each is named, nothing is lost, and the same step works with a good one."""

from __future__ import annotations

import json
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import Result
from http_server import Answer, Web
from installation import Installation
from osm_world import node, way, write_extract

from daemon.db import Database
from daemon.demo.place import Place
from daemon.errors import ConfigError, ImageryForbidden, OsmDataError
from daemon.tiling.grid import Block
from detectors.errors import ModelError
from detectors.segmentation import Bundle

FAR_AWAY = [node(1, 9.5, 47.1), node(2, 9.5, 47.2), node(3, 9.6, 47.2), way(1, [1, 2, 3, 1], tags={"building": "yes"})]

#: (west, south, east, north) in degrees.
TOWN = Place(2, 2).bbox

# -- OSM files ------------------------------------------------------------------------------------------------------


def spoilt_extract(installation: Installation, how: str) -> Path:
    path = installation.directory / f"{how.replace(' ', '-')}.osm.pbf"
    good = installation.base.read_bytes()
    if how == "far away":
        return write_extract(path, FAR_AWAY)
    if how != "absent":
        path.write_bytes({"empty": b"", "cut off": good[: len(good) // 2], "text": b"nothing of OSM\n" * 100}[how])
    return path


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("absent", "no such file"), ("empty", "empty.osm.pbf"), ("cut off", "cut-off.osm.pbf"),
        ("text", "text.osm.pbf"), ("far away", "nothing inside the area"),
    ],
)
def test_an_extract_that_will_not_do_leaves_the_store_as_it_was(
    installation: Installation, how: str, said: str
) -> None:
    installation.configure(area={"bbox": TOWN, "margin": 100.0})
    path = spoilt_extract(installation, how)
    refused(installation.mapgap("bootstrap", path), said, OsmDataError.exit_code)
    assert installation.position() is None
    refused(installation.mapgap("once"), "mapgap bootstrap", OsmDataError.exit_code)
    installation.bootstrap()
    before = installation.state()
    refused(installation.mapgap("bootstrap", path, "--force"), said, OsmDataError.exit_code)
    refused(installation.mapgap("bootstrap", installation.base), "bootstrapped already", OsmDataError.exit_code)
    assert installation.state() == before
    assert installation.mapgap("bootstrap", installation.base, "--force").exit_code == 0
    assert installation.state() == before


# -- imagery --------------------------------------------------------------------------------------------------------


def png_that_claims(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header promises so many pixels."""
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def grey(side: int) -> bytes:
    return cv2.imencode(".png", np.full((side, side, 3), 90, np.uint8))[1].tobytes()


BAD_TILES: dict[str, Callable[[bytes], bytes]] = {
    "cut off": lambda good: good[: len(good) // 2],
    "damaged": lambda good: good[:20] + bytes(b ^ 0x5A for b in good[20:400]) + good[400:],
    "text": lambda good: b"<html>no tile today</html>",
    "huge on disk": lambda good: good + bytes(2_000_000),
    "huge when unpacked": lambda good: png_that_claims(60_000, 60_000),
    "of another size": lambda good: grey(200),
    "a program": lambda good: b"\x7fELF" + bytes(4000),
}


@pytest.mark.parametrize("how", BAD_TILES)
def test_a_bad_tile_counts_as_no_imagery_and_the_rest_of_its_block_is_judged(
    looked: Installation, how: str
) -> None:
    looked.configure(client={"max_image": 1_000_000})
    path = looked.imagery / "19" / "365001" / "221001.jpg"
    good, before = path.read_bytes(), looked.state()
    assert set(results(looked).values()) == {"judged"} and len(before["ledger"]) > 10
    path.write_bytes(BAD_TILES[how](good))
    answer = looked.mapgap("backfill")
    assert answer.exit_code == 0, answer.stderr
    assert "tile 19/365001/221001 of rendered counts as no imagery" in answer.stderr
    assert results(looked) == {
        (365000, 221000): "judged", (365000, 221001): "judged", (365001, 221000): "judged",
        (365001, 221001): "no_imagery",
    }
    west, _, _, north = Block(19, 365001, 221001, 1).lonlat()
    in_it = f"SELECT key FROM discrepancy WHERE state <> 'closed' AND lon > {west} AND lat < {north}"
    kept = rows(looked, in_it)
    assert kept and kept == rows(looked, in_it + " AND last_seen = opened"), "it stays as it was said before"
    assert {key for key, *_ in before["ledger"]} <= {key for key, *_ in looked.state()["ledger"]}
    path.write_bytes(good)
    answer = looked.mapgap("backfill")
    assert answer.exit_code == 0 and "counts as no imagery" not in answer.stderr
    assert set(results(looked).values()) == {"judged"}
    assert live(looked) == {key for key, _, state, _ in before["ledger"] if state != "closed"}


def test_a_server_of_imagery_that_fails_keeps_the_block_in_the_queue(installation: Installation, web: Web) -> None:
    serve_tiles(web, installation)
    source = installation.source(url=web.url("/t/{z}/{x}/{y}.jpg"), min_zoom=19, max_zoom=19)
    installation.configure(
        imagery=[source], client={"cache": 0}, tiling={"retry_after": 1e-3, "attempts": 100}, area={"bbox": TOWN}
    )
    installation.bootstrap()
    for y in (221000, 221001):
        for x in (365000, 365001):
            web.script(f"/t/19/{x}/{y}.jpg", Answer(500))
    answer = installation.mapgap("once")
    assert answer.exit_code == 0 and "the block cannot be judged now" in answer.stderr
    before = installation.state()
    assert before["queue"] and before["ledger"] == []
    (reason,) = {error for (error,) in rows(installation, "SELECT error FROM dirty_tile")}
    assert reason.startswith("ImageryUnavailable: ") and "500" in reason
    refused(installation.mapgap("check"), "500", 6, first="FAIL imagery")
    serve_tiles(web, installation)
    answer = installation.mapgap("once")
    assert answer.exit_code == 0, answer.stderr
    assert installation.state()["queue"] == [] and installation.state()["ledger"]


def test_a_block_that_fails_for_ever_is_put_aside_with_its_reason(installation: Installation, web: Web) -> None:
    source = installation.source(url=web.url("/t/{z}/{x}/{y}.jpg"), min_zoom=19, max_zoom=19)
    installation.configure(imagery=[source], tiling={"retry_after": 1e-3, "attempts": 2})
    installation.bootstrap()
    for y in (221000, 221001):
        for x in (365000, 365001):
            web.put(f"/t/19/{x}/{y}.jpg", status=403)
    for _ in range(2):
        assert installation.mapgap("once").exit_code == 0
    assert {state for *_, state in installation.state()["queue"]} == {"dead"}
    answer = installation.mapgap("status", "--json")
    told = json.loads(answer.stdout)
    assert told["tiles"]["dead"] > 0 and "403" in told["dead"][0]["reason"]


@pytest.mark.parametrize("key", ["licence", "attribution", "osm_permission"])
def test_imagery_without_permission_is_never_looked_at(installation: Installation, key: str) -> None:
    installation.bootstrap()
    before = installation.state()
    good = installation.config_path.read_text()
    lines = [f'{key} = "  "' if line.startswith(f"{key} =") else line for line in good.splitlines()]
    installation.config_path.write_text("\n".join(lines))
    refused(installation.mapgap("once"), f"imagery[0].{key} (rendered): empty", ConfigError.exit_code)
    assert installation.state() == before


def test_servers_of_imagery_are_not_asked_without_a_contact(installation: Installation, web: Web) -> None:
    source = installation.source(url=web.url("/t/{z}/{x}/{y}.jpg"))
    installation.configure(imagery=[source], client={"contact": ""})
    refused(installation.mapgap("once"), "client.contact: empty", ImageryForbidden.exit_code)
    assert web.requests == []


# -- models ---------------------------------------------------------------------------------------------------------


def spoil_weights(bundle: Path) -> None:
    path = bundle / "model.onnx"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def cut_weights(bundle: Path) -> None:
    path = bundle / "model-0000.params"
    path.write_bytes(path.read_bytes()[:1000])


def edit_card(**changes: object) -> Callable[[Path], None]:
    def edit(bundle: Path) -> None:
        card = json.loads((bundle / "card.json").read_text())
        (bundle / "card.json").write_text(json.dumps({**card, **changes}))

    return edit


BAD_BUNDLES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a changed byte": (spoil_weights, "the file was changed or cut off"),
    "cut off": (cut_weights, "the file was changed or cut off"),
    "a file is missing": (lambda bundle: (bundle / "model.onnx").unlink(), "not readable"),
    "four bands": (edit_card(bands=4, mean=[1.0] * 4, std=[1.0] * 4), "takes 4"),
    "a newer format": (edit_card(format=99), "upgrade mapgap"),
    "a card that is none": (lambda bundle: (bundle / "card.json").write_text("{"), "not readable as JSON"),
    "another resolution": (edit_card(gsd_m=1.0, gsd_range_m=[0.9, 1.1]), "0.9"),
}


@pytest.mark.parametrize("how", BAD_BUNDLES)
def test_a_bad_model_is_refused_and_the_block_given_back(waiting: Installation, how: str) -> None:
    spoil, said = BAD_BUNDLES[how]
    bundle = waiting.directory / "bundle"
    shutil.copytree(Bundle.load("building").directory, bundle)
    waiting.configure(detectors={"building": {"model": str(bundle)}}, area={"bbox": TOWN})
    before = waiting.state()
    spoil(bundle)
    refused(waiting.mapgap("once"), said, ModelError.exit_code)
    assert waiting.state() == before
    assert rows(waiting, "SELECT DISTINCT attempts, worker FROM dirty_tile") == [(0, None)]
    refused(waiting.mapgap("check"), said, ModelError.exit_code, first="FAIL model")
    shutil.rmtree(bundle)
    shutil.copytree(Bundle.load("building").directory, bundle)
    answer = waiting.mapgap("once")
    assert answer.exit_code == 0, answer.stderr
    assert waiting.state()["queue"] == [] and waiting.state()["ledger"]


@pytest.fixture
def looked(installation: Installation) -> Installation:
    """Bootstrapped, and everything looked at once."""
    installation.bootstrap()
    answer = installation.mapgap("backfill")
    assert answer.exit_code == 0, answer.stderr
    return installation


@pytest.fixture
def waiting(installation: Installation) -> Installation:
    """All change files are applied, nothing was looked at."""
    installation.configure(area={"bbox": TOWN})
    with installation.pipeline() as pipeline:
        pipeline.store.bootstrap(installation.database, installation.base)
        pipeline.follow()
    assert installation.state()["queue"]
    return installation


def serve_tiles(web: Web, installation: Installation) -> None:
    for path in installation.imagery.rglob("*.jpg"):
        web.put(f"/t/{path.relative_to(installation.imagery)}", path.read_bytes())


def rows(installation: Installation, sql: str) -> list[tuple]:
    db: Database = installation.database
    with db.transaction() as cursor:
        cursor.execute(sql + " ORDER BY 1")
        return cursor.fetchall()


def results(installation: Installation) -> dict[tuple[int, int], str]:
    """What became of each tile at the last look."""
    return {(x, y): result for x, y, result in rows(installation, "SELECT x, y, result::text FROM looked_tile")}


def live(installation: Installation) -> set[str]:
    return {key for key, _, state, _ in installation.state()["ledger"] if state != "closed"}


def refused(answer: Result, said: str, code: int, first: str = "mapgap: ") -> None:
    """It ended with its exit code and a message that says it, without a traceback."""
    assert answer.exit_code == code, answer.output
    messages = [line for line in answer.output.splitlines() if line.startswith(first)]
    assert len(messages) == 1 and "Traceback" not in answer.output, answer.output
    assert said in answer.output[answer.output.index(messages[0]) :], answer.output
