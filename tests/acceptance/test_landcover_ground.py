"""Land cover from an extract and Sentinel-2 imagery of one date or several to claims, on real ground.

In Slovenia the shipped model judges a date that it was not trained on: woods it knows there, and that they are no
lakes. Villages and waters of some size are at hand in Amazonia only, on ground that it was trained on: there the test
is of the way from imagery to claim, not of the model.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner
from osm_world import Thing, node, way, write_extract
from shapely.geometry import box, shape
from shapely.geometry.base import BaseGeometry
from slovenia import BAND_ORDER, CLOUDED, MEADOW, TAGS, TRAINED_ON, UNSEEN, WOOD, drawn, parcels, write_dates

from daemon.__main__ import main
from daemon.db import Database


@dataclass(frozen=True)
class Claim:
    """What the export says of one."""

    kind: str
    cover: str
    osm: str | None
    dates: int | str
    geometry: BaseGeometry


@dataclass(frozen=True)
class House:
    """An installation for land cover."""

    directory: Path

    def mapgap(self, *words: str, fails: bool = False) -> str:
        config = ("--config", str(self.directory / "config.toml"))
        answer = CliRunner().invoke(main, [*words, *config], prog_name="mapgap")
        assert fails or answer.exit_code == 0, answer.output
        return answer.output

    def claims(self) -> list[Claim]:
        """All that is claimed."""
        out = self.directory / "claims.geojson"
        self.mapgap("export", "--out", str(out))
        return [
            Claim(p["kind"], p["evidence"]["cover"], p["osm"], p["evidence"]["dates"], shape(f["geometry"]))
            for f in json.loads(out.read_text())["features"] for p in [f["properties"]]
        ]


def install(
    house: House, database: Database, dates: int, bbox: Sequence[float], things: Iterable[Thing], zoom: int = 14
) -> House:
    """Set up, bootstrap and look once at s2.tif in the directory of the house."""
    header = {"osmosis_replication_sequence_number": "0", "osmosis_replication_timestamp": "2020-06-01T00:00:00Z"}
    base, feed = house.directory / "base.osm.pbf", house.directory / "replication"
    write_extract(base, things, header)
    feed.mkdir()
    (feed / "state.txt").write_text("sequenceNumber=0\ntimestamp=2020-06-01T00\\:00\\:00Z\n")
    (house.directory / "config.toml").write_text(f"""
        [area]
        name = "here"
        bbox = {list(bbox)}
        [database]
        dsn = "{database.dsn}"
        [replication]
        url = "{feed.as_uri()}"
        fresh_within = 1e10
        [tiling]
        zoom = {zoom}
        block = 2
        [[imagery]]
        name = "s2"
        kind = "geotiff"
        url = "s2.tif"
        bands = {list(range(1, len(BAND_ORDER) * dates + 1))}
        depth = 16
        acquired = 2024-06-02
        licence = "Copernicus Sentinel data terms"
        attribution = "contains modified Copernicus Sentinel data"
        osm_permission = "a test"
        [detectors]
        engine = "openvino"
        threads = 1
        [detectors.building]
        enabled = false
        [detectors.landcover]
        enabled = true
        [publish]
        dir = "feed"
        min_confidence = 0.0
    """)
    for words in (("bootstrap", str(base)), ("backfill",), ("once",)):
        house.mapgap(*words)
    return house


Build = Callable[..., House]


@pytest.fixture
def build(data: Path, database: Database, tmp_path: Path) -> Build:
    """Makes an installation that sees some dates, with a map that says of parcels what their number is changed to."""

    def make(scenes: Sequence[int], said: dict[int, dict[str, str] | None], zoom: int = 14) -> House:
        write_dates(data, scenes, tmp_path / "s2.tif")
        areas = {
            number: (piece.geometry, tags) for number, piece in enumerate(parcels(data), 1)
            if (tags := said.get(number, TAGS[piece.code])) is not None
        }
        bbox = (14.5513, 45.8658, 14.5643, 45.8751)
        return install(House(tmp_path), database, len(scenes), bbox, drawn(areas), zoom)

    return make


@pytest.fixture(scope="module")
def largest(data: Path) -> Callable[[int, int], tuple[int, BaseGeometry]]:
    """Number and ground of the n-th largest parcel of a cover."""
    pieces = list(enumerate(parcels(data), 1))

    def find(code: int, place: int) -> tuple[int, BaseGeometry]:
        ranked = sorted((p for p in pieces if p[1].code == code), key=lambda p: -p[1].hectares)
        number, piece = ranked[place]
        return number, piece.geometry

    return find


def share(claim: Claim, ground: BaseGeometry) -> float:
    """Of the ground, how much is claimed."""
    return claim.geometry.intersection(ground).area / ground.area


@pytest.mark.parametrize("scenes", [(UNSEEN,), (UNSEEN, *TRAINED_ON)], ids=["one date", "three dates"])
def test_planted_errors_are_found_and_nothing_else(build: Build, largest, scenes: Sequence[int]) -> None:
    """A wood is left out, another is said to be a lake, and a meadow a wood."""
    (left_out, wood), (drowned, lake), (planted, meadow) = largest(WOOD, 0), largest(WOOD, 2), largest(MEADOW, 0)
    house = build(scenes, {left_out: None, drowned: {"natural": "water"}, planted: {"natural": "wood"}})
    claims = house.claims()
    assert sorted((c.kind, c.cover) for c in claims) == [
        ("gone", "forest"), ("gone", "water"), ("missing", "forest"), ("missing", "forest"),
    ]
    one, other, dry, bare = (next(c for c in claims if c.kind == kind and c.cover == cover and share(c, ground) > 0.4)
                             for kind, cover, ground in (("missing", "forest", wood), ("missing", "forest", lake),
                                                         ("gone", "water", lake), ("gone", "forest", meadow)))
    assert one is not other and {c.osm for c in (one, other)} == {None}
    assert (dry.osm, bare.osm) == (f"way/{drowned}", f"relation/{planted}"), "the meadow has holes"
    assert share(dry, lake) > 0.9 and all(share(c, wood) < 0.05 for c in (other, dry, bare))
    assert {c.dates for c in claims} == {1 if len(scenes) == 1 else "several"}
    assert "landcover: landcover@" in house.mapgap("check", fails=True)


def test_a_date_under_cloud_hides_and_invents_nothing(build: Build, largest) -> None:
    """What the clouded date shows of the wood is something else: nobody is told that the wood is missing, nor gone."""
    number, wood = largest(WOOD, 0)
    house = build((UNSEEN, CLOUDED), {number: None})
    assert [c for c in house.claims() if c.kind != "missing" or share(c, wood) < 0.2] == []


def test_imagery_of_another_resolution_is_refused_with_what_to_do(build: Build) -> None:
    house = build((UNSEEN,), {}, zoom=17)
    assert "set tiling.zoom = 14" in house.mapgap("check", fails=True)


@pytest.mark.parametrize("mapped", [False, True], ids=["nothing mapped", "one road mapped"])
def test_a_village_without_a_road_is_a_settlement_and_the_river_is_missing(
    data: Path, database: Database, tmp_path: Path, mapped: bool
) -> None:
    place = data / "landcover" / "s2_amazon"
    shutil.copy(place / "sentinel2_12band.tif", tmp_path / "s2.tif")
    known: dict[str, list[BaseGeometry]] = {}
    for feature in json.loads((place / "training_polygons.geojson").read_text())["features"]:
        known.setdefault(feature["properties"]["class"], []).append(shape(feature["geometry"]))
    bbox = (-56.3737, -1.48, -56.3515, -1.4587)
    things = list(drawn({1: (box(*bbox), {"natural": "wood"})}))
    if mapped:
        ends = [(village.centroid.x, village.centroid.y) for village in known["village"][:2]]
        things += [node(5000 + i, *end) for i, end in enumerate(ends)]
        things.append(way(2, [5000, 5001], tags={"highway": "residential"}))
    house = install(House(tmp_path), database, 1, bbox, things)
    claims = house.claims()
    missing = [c for c in claims if (c.kind, c.cover) == ("missing", "water")]
    assert all(max(share(c, water) for c in missing) > 0.5 for water in known["water"])
    settlements = [c for c in claims if c.kind == "settlement"]
    told = [max((share(c, village) for c in settlements), default=0) > 0.5 for village in known["village"]]
    assert told == [not mapped] * len(told), "the villages grow into one another"
    if not mapped:
        assert "Unmapped settlement" in house.mapgap("export", "--format", "osmose")
