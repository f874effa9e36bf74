"""Land cover from an extract and Sentinel-2 imagery of one date or several to claims, on real ground.

The shipped model is good at woods, and knows water. Of the village it sees too little for a settlement to be found, so
that nothing is said of settlements here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner
from osm_world import write_extract
from shapely.geometry import shape
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


Build = Callable[..., House]


@pytest.fixture
def build(data: Path, database: Database, tmp_path: Path) -> Build:
    """Makes an installation that sees some dates, with a map that says of parcels what their number is changed to."""

    def make(scenes: Sequence[int], said: dict[int, dict[str, str] | None], zoom: int = 14) -> House:
        write_dates(data, scenes, tmp_path / "s2.tif")
        pieces = parcels(data)
        areas = {
            number: (piece.geometry, tags) for number, piece in enumerate(pieces, 1)
            if (tags := said.get(number, TAGS[piece.code])) is not None
        }
        header = {"osmosis_replication_sequence_number": "0", "osmosis_replication_timestamp": "2020-06-01T00:00:00Z"}
        write_extract(tmp_path / "base.osm.pbf", drawn(areas), header)
        (tmp_path / "replication").mkdir()
        (tmp_path / "replication" / "state.txt").write_text("sequenceNumber=0\ntimestamp=2020-06-01T00\\:00\\:00Z\n")
        (tmp_path / "config.toml").write_text(f"""
            [area]
            name = "hills"
            bbox = [14.5513, 45.8658, 14.5643, 45.8751]
            [database]
            dsn = "{database.dsn}"
            [replication]
            url = "{(tmp_path / 'replication').as_uri()}"
            fresh_within = 1e10
            [tiling]
            zoom = {zoom}
            block = 2
            [[imagery]]
            name = "s2"
            kind = "geotiff"
            url = "s2.tif"
            bands = {list(range(1, len(BAND_ORDER) * len(scenes) + 1))}
            depth = 16
            acquired = 2024-06-02
            licence = "Copernicus Sentinel data terms"
            attribution = "contains modified Copernicus Sentinel data"
            osm_permission = "https://wiki.openstreetmap.org/wiki/Sentinel-2"
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
        house = House(tmp_path)
        for words in (("bootstrap", str(tmp_path / "base.osm.pbf")), ("backfill",), ("once",)):
            house.mapgap(*words)
        return house

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
    check = house.mapgap("check", fails=True)
    assert "landcover: landcover@" in check


def test_a_date_under_cloud_hides_and_invents_nothing(build: Build, largest) -> None:
    """What the clouded date shows of the wood is something else: nobody is told that the wood is missing, nor gone."""
    number, wood = largest(WOOD, 0)
    house = build((UNSEEN, CLOUDED), {number: None})
    assert [c for c in house.claims() if c.kind != "missing" or share(c, wood) < 0.2] == []


def test_imagery_of_another_resolution_is_refused_with_what_to_do(build: Build) -> None:
    house = build((UNSEEN,), {}, zoom=17)
    assert "set tiling.zoom = 14" in house.mapgap("check", fails=True)
