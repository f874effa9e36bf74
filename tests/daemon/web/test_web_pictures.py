"""Pictures of single discrepancies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rasterio
from claims import Ledger, gone, house, missing
from http_server import Answer, Web
from rasterio.transform import from_bounds
from web_server import Served, backend_of, serving

from daemon.config import parse
from daemon.eyes import _encode, _key
from daemon.picture import KIND_COLOURS, MASK_COLOUR
from daemon.tiling.grid import Block, tile_at
from detectors.base import Claim
from detectors.segmentation import Bundle

ROOF = (200, 60, 40)  # red, green, blue
SHED = house(12, -12)
BLOCK = Block.of(tile_at(SHED.centroid.x, SHED.centroid.y, 19), 2)


def source(url: str) -> dict[str, Any]:
    return {
        "name": "flat", "kind": "xyz", "url": url, "licence": "MIT", "attribution": "nobody",
        "osm_permission": "made up", "acquired": "2024-06-02", "min_zoom": 19, "max_zoom": 19,
    }


def sections(url: str, **client: Any) -> Mapping[str, Any]:
    return {
        "imagery": [source(url)], "tiling": {"block": 2, "margin": 32}, "client": {
            "contact": "tests@example.org", "rate": 1e6, "retries": 0, **client,
        },
    }


def tile() -> bytes:
    """Of one colour, nearly: a tile without any grain counts as blank."""
    grain = np.random.default_rng(7).integers(-2, 3, (256, 256, 1))
    return cv2.imencode(".png", (np.array(ROOF[::-1]) + grain).astype(np.uint8))[1].tobytes()


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Imagery of one colour around the corner where all is drawn."""
    directory, first = tmp_path_factory.mktemp("ground"), next(BLOCK.tiles())
    for x in range(first.x - 3, first.x + 5):
        for y in range(first.y - 3, first.y + 5):
            path = directory / "imagery" / "19" / str(x) / f"{y}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(tile())
    return directory


@pytest.fixture(scope="module")
def one_painted(one_ledger: Ledger, ground: Path) -> Iterator[Served]:
    with serving(backend_of(one_ledger.database, ground, sections=sections("imagery"))) as served:
        yield served


@pytest.fixture
def painted(one_painted: Served, ledger: Ledger) -> Served:
    """A server with imagery over an empty ledger."""
    return one_painted


def look_at(served: Served, key: str, search: str = "") -> tuple[np.ndarray, list[str]]:
    """The picture as uint8 [H, W, 3 or 4] in red, green, blue order, and its layers."""
    answer = served.get(f"/api/v1/discrepancies/{key}/picture.png?{search}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/png"
    pixels = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_UNCHANGED)
    order = cv2.COLOR_BGRA2RGBA if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB
    return cv2.cvtColor(pixels, order), answer.headers["X-Layers"].split(",")


def has(pixels: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool(np.all(np.abs(pixels[:, :, :3].astype(int) - colour) <= 3, axis=2).any())


def test_a_picture_shows_the_ground_and_what_is_claimed_of_it(painted: Served, ledger: Ledger) -> None:
    (key,) = ledger.open(missing(SHED))
    pixels, layers = look_at(painted, key, "size=200")
    assert pixels.shape == (200, 200, 3) and layers == ["imagery", "osm", "claim"]  # no mask is kept
    assert has(pixels, ROOF) and has(pixels, KIND_COLOURS["missing"])
    only, layers = look_at(painted, key, "layers=imagery&size=200")
    assert layers == ["imagery"] and (np.abs(only.astype(int) - ROOF) <= 2).all()


def test_the_mask_is_what_a_network_said_before(painted: Served, ledger: Ledger) -> None:
    (key,) = ledger.open(missing(SHED))
    chip = painted.backend.imagery.chip(BLOCK, 32)
    bundle = Bundle.load("building")
    steps = np.zeros((len(bundle.card.classes), *chip.valid.shape), np.uint8)
    steps[bundle.card.classes.index("building")] = 255
    painted.backend.imagery.cache.put(_key(bundle, chip, False), _encode(steps))
    pixels, layers = look_at(painted, key, "layers=mask&size=200")
    assert layers == ["mask"] and pixels.shape[2] == 4 and has(pixels, MASK_COLOUR)


@pytest.mark.parametrize(("kind", "cover", "class_name", "shown"), [
    ("missing", "forest", "forest", True), ("settlement", "built_up", "artificial", True),
    ("gone", "forest", "grass", False),
])
def test_the_mask_of_land_cover_is_the_cover_that_is_claimed(
    ledger: Ledger, tmp_path: Path, kind: str, cover: str, class_name: str, shown: bool
) -> None:
    block = Block.of(tile_at(SHED.centroid.x, SHED.centroid.y, 14), 1)
    west, south, east, north = block.mercator(32)
    pixels = np.random.default_rng(7).integers(300, 3000, (12, 320, 320), np.uint16)
    with rasterio.open(tmp_path / "s2.tif", "w", "GTiff", 320, 320, 12, crs="EPSG:3857", dtype="uint16",
                       transform=from_bounds(west, south, east, north, 320, 320)) as scene:
        scene.write(pixels)
    told = {
        "imagery": [{
            **source("s2.tif"), "kind": "geotiff", "depth": 16, "bands": list(range(1, 13)), "min_zoom": 0,
            "max_zoom": 22,
        }],
        "tiling": {"zoom": 14, "block": 1, "margin": 32},
        "detectors": {"building": {"enabled": False}, "landcover": {"enabled": True}},
    }
    osm = "way/1" if kind == "gone" else None
    claim = Claim("landcover", kind, house(0, 0, 400, 400), osm, 0.8, None, {"cover": cover})
    (key,) = ledger.look(claim, detector="landcover", prefix="lnd").opened
    with serving(backend_of(ledger.database, tmp_path, sections=told)) as served:
        chip, bundle = served.backend.imagery.chip(block, 32), Bundle.load("landcover")
        steps = np.zeros((len(bundle.card.classes), *chip.valid.shape), np.uint8)
        steps[bundle.card.classes.index(class_name)] = 255
        served.backend.imagery.cache.put(_key(bundle, chip, False), _encode(steps))
        picture, layers = look_at(served, key, "layers=mask&size=200")
        assert layers == ["mask"] and (picture[:, :, 3] > 0).all() == shown and has(picture, MASK_COLOUR)
        assert look_at(served, key, "size=200")[1] == ["imagery", "mask", "osm", "claim"]


def test_what_needs_no_ground_is_drawn_without_it(ledger: Ledger, tmp_path: Path) -> None:
    (key,) = ledger.open(gone(SHED, "way/1"))
    with serving(backend_of(ledger.database, tmp_path)) as served:
        pixels, layers = look_at(served, key, "layers=osm,claim&size=128")
        assert layers == ["osm", "claim"] and pixels.shape == (128, 128, 4)
        assert (pixels[:, :, 3] == 0).mean() > 0.5 and has(pixels, KIND_COLOURS["gone"])
        answer = served.get(f"/api/v1/discrepancies/{key}/picture.png")
        assert answer.status_code == 404 and "no imagery" in answer.json()["detail"]


def test_a_place_without_imagery_has_no_picture(painted: Served, ledger: Ledger) -> None:
    (key,) = ledger.open(missing(house(12, 3000)))
    answer = painted.get(f"/api/v1/discrepancies/{key}/picture.png")
    assert answer.status_code == 404 and "no imagery of this place" in answer.json()["detail"]
    assert painted.get(f"/api/v1/discrepancies/{key}/picture.png?layers=mask,claim").status_code == 404


def test_a_picture_is_small_and_a_large_claim_is_made_to_fit(ledger: Ledger, ground: Path) -> None:
    small, large = ledger.open(missing(SHED), missing(house(20, -20, 60, 60)))
    with serving(backend_of(ledger.database, ground, sections=sections("imagery"), max_picture=100)) as served:
        assert look_at(served, small, "size=4096")[0].shape == (100, 100, 3)
        pixels, _ = look_at(served, large, "layers=claim")
    assert pixels.shape == (100, 100, 4)
    columns = np.flatnonzero(pixels[:, :, 3].any(axis=0))
    assert 50 < columns[-1] - columns[0] < 90


@pytest.mark.parametrize(("search", "status"), [
    ("layers=roofs", 400), ("layers=", 400), ("size=1", 422), ("size=100000", 422), ("layers=" + "x" * 100, 422),
])
def test_what_cannot_be_drawn_is_said_to(painted: Served, ledger: Ledger, search: str, status: int) -> None:
    (key,) = ledger.open(missing(SHED))
    assert painted.get(f"/api/v1/discrepancies/{key}/picture.png?{search}").status_code == status


def test_a_picture_that_is_known_is_not_sent_again_nor_drawn(painted: Served, ledger: Ledger, ground: Path) -> None:
    (key,) = ledger.open(missing(SHED))
    path = f"/api/v1/discrepancies/{key}/picture.png?layers=imagery,claim"
    first = painted.get(path)
    (ground / "imagery").rename(ground / "elsewhere")
    try:
        assert painted.get(path).content == first.content
    finally:
        (ground / "elsewhere").rename(ground / "imagery")
    again = painted.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304 and again.content == b""


def test_imagery_that_does_not_come_in_time_is_asked_for_once_and_shown_when_it_is_there(
    ledger: Ledger, web: Web, tmp_path: Path
) -> None:
    (key,) = ledger.open(missing(SHED))
    first = next(BLOCK.tiles())
    for x in range(first.x - 1, first.x + 3):
        for y in range(first.y - 1, first.y + 3):
            web.put(f"/19/{x}/{y}", tile(), headers={"Content-Type": "image/png"})
    web.script(f"/19/{first.x}/{first.y}", web.hang(), Answer(200, tile(), {"Content-Type": "image/png"}))
    told = sections(web.url("/{z}/{x}/{y}"), timeout=5.0)
    path = f"/api/v1/discrepancies/{key}/picture.png?layers=imagery"
    with serving(backend_of(ledger.database, tmp_path, sections=told, picture_timeout=0.3)) as served:
        answer = served.get(path)
        assert answer.status_code == 503 and int(answer.headers["Retry-After"]) > 0, answer.text
        assert "127.0.0.1" not in answer.text and str(web.port) not in answer.text
        for _ in range(20):
            if (answer := served.get(path)).status_code == 200:
                break
        assert answer.status_code == 200
    assert web.requests[0][1]["User-Agent"].startswith("mapgap/")


def test_imagery_without_permission_is_not_shown(tmp_path: Path, ledger: Ledger) -> None:
    config = parse({"data_dir": "data", "imagery": [source("http://127.0.0.1:1/{z}/{x}/{y}")]}, "a test", tmp_path)
    (key,) = ledger.open(missing(SHED))
    sections = {"imagery": [config.imagery[0].model_dump(exclude_none=True)]}  # no client.contact: nobody may be asked
    with serving(backend_of(ledger.database, tmp_path, sections=sections)) as served:
        assert served.get(f"/api/v1/discrepancies/{key}/picture.png").status_code == 404
