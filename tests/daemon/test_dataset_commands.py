"""Data sets on the command line: built from imagery and map, reported on, and searched for doubtful labels."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rasterio
from click.testing import CliRunner, Result
from installation import Installation
from osm_world import node, way, write_extract
from shapely.geometry import box, mapping, shape

from daemon.__main__ import main
from daemon.datasets import build as building
from daemon.datasets.labelling import LABELLINGS
from daemon.demo.place import Place as Town
from daemon.osm import AreaOfInterest, OsmStore
from daemon.tiling.grid import Block, Tile, lonlat_to_mercator
from detectors.base import Frame
from detectors.datasets import UNKNOWN, Place, Source, read_source

#: The installation's town, see conftest.py of all tests.
COLUMNS, ROWS, ZOOM = 2, 2, 19
TILES = sorted((tile.x, tile.y) for tile in Town(COLUMNS, ROWS).tiles)


def area() -> tuple[float, float, float, float]:
    """Degrees of the town's tiles."""
    boxes = [Block(ZOOM, x, y, 1).lonlat() for x, y in TILES]
    wests, souths, easts, norths = zip(*boxes, strict=True)
    return min(wests), min(souths), max(easts), max(norths)


def area_option() -> str:
    return "--area=" + ",".join(f"{value:.12f}" for value in area())


def places_of(out: Path, split: str) -> list[Place]:
    import tomllib

    entries = tomllib.loads((out / "sources.toml").read_text())["sources"]
    return [place for keys in entries if keys["path"] == split
            for place in read_source(out, Source.model_validate(keys))]


def seed_with(test: int, side: int = 1) -> int:
    """A seed under which so many of the town's blocks are for testing."""
    from detectors.datasets.splits import draw_split

    blocks = {(x // side, y // side) for x, y in TILES}
    return next(seed for seed in range(200)
                if sum(draw_split(seed, *block, {"test": 0.4}) == "test" for block in blocks) == test)


@pytest.fixture
def build(installation: Installation, tmp_path: Path) -> Callable[..., tuple[Result, Path]]:
    def run(*words: object, out: str = "set") -> tuple[Result, Path]:
        where = (area_option(), "--out", tmp_path / out)
        return installation.mapgap("dataset", "build", "--imagery", "rendered", *where, *words), tmp_path / out

    return run


def test_imagery_and_outlines_of_the_store_become_tiles(installation: Installation, build: Callable):
    installation.bootstrap()
    answer, out = build("--block", 2, "--test", 0)
    assert answer.exit_code == 0, answer.stderr
    (place,) = places_of(out, "train")
    assert place.pixels.shape == (512, 512, 3) and place.valid.all()
    x, y = TILES[0]
    source = cv2.imread(str(next((installation.imagery / f"19/{x}").glob(f"{y}.*"))))[..., ::-1]
    assert np.array_equal(place.pixels[:256, :256], source)
    with installation.database.transaction() as cursor:
        cursor.execute("SELECT count(*) FROM osm_feature WHERE tags ? 'building'")
        (mapped,) = cursor.fetchone()
    assert 0.5 * mapped <= len(place.outlines) <= 1.05 * mapped, "one that crosses itself is two"
    assert 0.02 < (place.truth() == 1).mean() < 0.6
    assert place.provenance.imagery_licence == "MIT" and place.provenance.labels_licence == "ODbL 1.0"


def test_labels_lie_where_the_map_has_them(installation: Installation, build: Callable):
    installation.bootstrap()
    _, out = build("--block", 2, "--test", 0)
    (directory,) = (path for path in (out / "train").iterdir() if path.is_dir())
    (place,) = places_of(out, "train")
    frame = Frame(place.bounds, place.valid.shape)
    features = json.loads((directory / "labels.geojson").read_text())["features"]
    inside = 0
    for feature in features:
        centre = shape(feature["geometry"]).representative_point()
        east, north = lonlat_to_mercator(centre.x, centre.y)
        column = int((east - place.bounds[0]) / (place.bounds[2] - place.bounds[0]) * frame.shape[1])
        row = int((place.bounds[3] - north) / (place.bounds[3] - place.bounds[1]) * frame.shape[0])
        if 0 <= row < 512 and 0 <= column < 512:
            assert place.truth()[row, column] == 1
            inside += 1
    assert inside > 3


def test_training_tiles_that_touch_the_test_are_left_out(installation: Installation, build: Callable):
    """All four blocks of one tile touch each other: those of the training give way."""
    installation.bootstrap()
    answer, out = build("--block", 1, "--test", 0.4, "--seed", seed_with(1))
    assert answer.exit_code == 0, answer.stderr
    assert len(places_of(out, "test")) == 1 and not (out / "train").exists()
    assert "3 tiles of the training that touch a test block" in answer.stdout


def test_a_report_says_what_was_made(installation: Installation, build: Callable):
    installation.bootstrap()
    answer, out = build("--block", 2, "--test", 0)
    assert "train: 1 places, 0.2" in answer.stdout and "licence: MIT" in answer.stdout
    assert "no block fell to the test" in answer.stdout
    assert (out / "report.txt").read_text() in answer.stdout
    assert cv2.imread(str(out / "report.png")).shape[2] == 3


def test_a_build_goes_on_where_it_was_stopped(installation: Installation, build: Callable,
                                              monkeypatch: pytest.MonkeyPatch):
    installation.bootstrap()
    options = ("--block", 1, "--test", 0)
    whole, complete = build(*options, out="whole")
    assert whole.exit_code == 0, whole.stderr
    real, written = building.write_tiles, []

    def fail_at_third(directory: Path, name: str, *rest: Any) -> None:
        if len(written) == 2:
            raise OSError(28, "No space left on device", str(directory))
        written.append(name)
        real(directory, name, *rest)

    monkeypatch.setattr(building, "write_tiles", fail_at_third)
    broken, out = build(*options)
    assert broken.exit_code == 8 and not (out / "sources.toml").exists()
    assert len([p for p in (out / "train").iterdir() if not p.name.startswith(".")]) == 2
    monkeypatch.setattr(building, "write_tiles", lambda d, name, *rest: (written.append(name), real(d, name, *rest)))
    again, out = build(*options)
    assert again.exit_code == 0, again.stderr
    assert len(written) == len(set(written)) == 4, "nothing is written twice"
    assert contents(out) == contents(complete)


def contents(directory: Path) -> Mapping[str, bytes]:
    """All files of a data set but the order in which blocks were done."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_a_directory_with_something_else_in_it_is_left_alone(installation: Installation, build: Callable,
                                                             tmp_path: Path):
    installation.bootstrap()
    assert build("--block", 2, "--test", 0)[0].exit_code == 0
    other, _ = build("--block", 1, "--test", 0)
    assert other.exit_code == 1 and "block was 2, now 1" in other.stderr
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years of work")
    foreign, _ = build(out="mine")
    assert foreign.exit_code == 1 and "not empty" in foreign.stderr
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_only_tiles_that_lie_in_the_area_as_a_whole_are_taken(installation: Installation, tmp_path: Path):
    """A polygon file that holds the western column, and half of the eastern one."""
    installation.bootstrap()
    west, south, east, north = area()
    polygon = tmp_path / "area.geojson"
    polygon.write_text(json.dumps(mapping(box(west, south, west + 0.75 * (east - west), north))))
    out = tmp_path / "set"
    answer = installation.mapgap("dataset", "build", "--imagery", "rendered", "--area", polygon, "--block", 2, "--test",
                                 0, "--out", out)
    assert answer.exit_code == 0, answer.stderr
    assert "2 tiles at the edge of the area" in answer.stdout
    (place,) = places_of(out, "train")
    assert place.valid.shape == (512, 256)


def test_ground_of_which_the_store_knows_nothing_is_refused(installation: Installation, build: Callable):
    west, south, east, north = area()
    installation.configure(area={"bbox": [west, south, (west + east) / 2, north]})
    installation.bootstrap()
    answer, out = build()
    assert answer.exit_code == 2 and "reaches beyond the area of the configuration" in answer.stderr
    assert not out.exists()


def test_imagery_without_licence_is_refused(installation: Installation, build: Callable):
    installation.bootstrap()
    text = installation.config_path.read_text()
    installation.config_path.write_text(text.replace('licence = "MIT"', 'licence = ""'))
    answer, out = build()
    assert answer.exit_code in (2, 6) and "licence" in answer.stderr
    assert not out.exists()


def test_an_unknown_source_and_an_empty_store_are_said(installation: Installation, build: Callable, tmp_path: Path):
    answer, _ = build()
    assert answer.exit_code == 5 and "mapgap bootstrap" in answer.stderr
    installation.bootstrap()
    answer = installation.mapgap("dataset", "build", "--imagery", "bing", area_option(), "--out", tmp_path / "x")
    assert answer.exit_code == 2 and "'bing': no such source" in answer.stderr and "rendered" in answer.stderr
    answer = installation.mapgap("dataset", "build", "--imagery", "rendered", "--area=1,1,1.001,1.001", "--out",
                                 tmp_path / "x")
    assert answer.exit_code == 7 and "no tile of zoom 19" in answer.stderr
    answer, _ = build("--detector", "road")
    assert answer.exit_code == 5 and "--osm FILE" in answer.stderr


@pytest.fixture
def crossroads(tmp_path: Path) -> Path:
    """An OSM file with a road across the town from west to east, and a wood over its northern half."""
    west, south, east, north = area()
    middle = (south + north) / 2
    things = [
        node(1, west, (south + middle) / 2), node(2, east, (south + middle) / 2),
        node(11, west, middle), node(12, east, middle), node(13, east, north), node(14, west, north),
        way(21, [1, 2], tags={"highway": "residential", "width": "8"}),
        way(22, [11, 12, 13, 14, 11], tags={"landuse": "forest"}),
    ]
    return write_extract(tmp_path / "crossroads.osm.pbf", things)


def test_roads_are_drawn_as_wide_as_tagged(build: Callable, crossroads: Path):
    answer, out = build("--detector", "road", "--osm", crossroads, "--block", 2, "--test", 0)
    assert answer.exit_code == 0, answer.stderr
    (place,) = places_of(out, "train")
    assert place.classes == ("background", "road")
    thickness = (place.truth() == 1).sum(axis=0)
    assert np.abs(thickness * place.gsd - 8).max() < 2 * place.gsd
    assert (place.truth()[:256] == 0).all(), "the road is in the southern half"
    (image,) = (out / "train/images").iterdir()
    with rasterio.open(image) as file:
        assert file.crs.to_epsg() == 3857 and file.count == 4


def test_land_cover_is_drawn_where_it_is_mapped(installation: Installation, crossroads: Path, tmp_path: Path):
    ground = AreaOfInterest.from_bbox(area(), 100.0)
    store = OsmStore(ground, LABELLINGS["landcover"].selects)
    store.bootstrap(installation.database, crossroads)
    order, out = building.Order(ground, "rendered", "landcover", ZOOM, 2, test=0.0), tmp_path / "set"
    building.build(installation.config, order, out, store, installation.database, lambda done, total: None)
    (place,) = places_of(out, "train")
    truth = place.truth()
    assert (truth[:250] == place.classes.index("forest")).all() and (truth[262:] == UNKNOWN).all()


def test_doubts_name_the_sample_whose_labels_were_removed(installation: Installation, build: Callable, tmp_path: Path):
    """A quarter of the town loses its outlines: there the shipped network disagrees most."""
    installation.bootstrap()
    _, out = build("--block", 2, "--test", 0)
    (directory,) = (path for path in (out / "train").iterdir() if path.is_dir())
    before = doubts_of(out / "train", tmp_path / "before")
    labels = json.loads((directory / "labels.geojson").read_text())
    west, south, east, north = Block(ZOOM, *TILES[3], 1).lonlat()
    kept = [f for f in labels["features"] if not _within(f, west, south, east, north)]
    assert len(kept) < len(labels["features"]), "the town's south-east has houses"
    (directory / "labels.geojson").write_text(json.dumps(labels | {"features": kept}))
    rows = doubts_of(out / "train", tmp_path / "doubts")
    assert len(rows) == 4
    assert (rows[0]["column"], rows[0]["row"]) == ("256", "256")
    assert (rows[0]["labelled"], rows[0]["predicted"]) == ("background", "building")
    losses = [float(row["loss"]) for row in rows]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] > 1.2 * next(float(row["loss"]) for row in before if (row["column"], row["row"]) == ("256", "256"))
    first = json.loads((tmp_path / "doubts/doubts.geojson").read_text())["features"][0]
    assert shape(first["geometry"]).bounds == pytest.approx((west, south, east, north), abs=1e-9)
    assert cv2.imread(str(tmp_path / "doubts/doubts.png")) is not None


def doubts_of(directory: Path, out: Path) -> list[dict[str, str]]:
    answer = run("dataset", "doubts", "building", directory, "--out", out, "--side", 256)
    assert answer.exit_code == 0, answer.stderr
    return list(csv.DictReader((out / "doubts.csv").read_text().splitlines()))


def _within(feature: Mapping[str, Any], west: float, south: float, east: float, north: float) -> bool:
    point = shape(feature["geometry"]).representative_point()
    return west <= point.x <= east and south <= point.y <= north


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [*map(str, words)], prog_name="mapgap")


def test_any_readable_set_can_be_reported_on(data: Path, tmp_path: Path):
    directory = data / "landcover/s2_slovenia"
    (tmp_path / "slovenia.toml").write_text("""
        [[sources]]
        path = "landcover/s2_slovenia"
        reader = "raster"
        use = "test"
        images = "scene4_13band.tif"
        label_file = "lulc.tif"
        bands = 13
        label_classes = {"1" = "cultivated", "2" = "forest", "3" = "grass", "4" = "shrub", "8" = "artificial"}
        imagery = "Copernicus Sentinel"
        imagery_licence = "free"
        labels = "Slovenian land use"
        labels_licence = "MIT"
    """)
    picture = tmp_path / "balance.png"
    answer = run("dataset", "report", directory, "--source", tmp_path / "slovenia.toml", "--picture", picture, "--json")
    assert answer.exit_code == 0, answer.stderr
    record = json.loads(answer.stdout)
    assert record["pixels"]["forest"] == 7601 and record["unknown"] == 155 and record["forms"] == {
        "13 bands of uint16": 1}
    assert cv2.imread(str(picture)) is not None
    answer = run("dataset", "report", data / "roads/massachusetts/test", "--reader", "massachusetts")
    assert answer.exit_code == 0 and "11 places, 1 m a pixel" in answer.stdout


def test_what_cannot_be_read_ends_in_a_line_and_a_code(tmp_path: Path):
    answer = run("dataset", "report", tmp_path, "--reader", "no such reader")
    assert answer.exit_code == 7 and "no reader 'no such reader'" in answer.stderr
    answer = run("dataset", "report", tmp_path, "--reader", "tiles")
    assert answer.exit_code == 7 and str(tmp_path) in answer.stderr
    (tmp_path / "source.toml").write_text("reader = 'tiles'\nzoom = 'nineteen'\n")
    answer = run("dataset", "report", tmp_path)
    assert answer.exit_code == 7 and "zoom" in answer.stderr


def test_the_readers_are_listed():
    answer = run("dataset", "readers")
    assert answer.exit_code == 0
    for name in ("tiles", "geotiff", "massachusetts", "spacenet", "isprs", "eurosat", "deepsat", "coco", "labelmaker"):
        assert f"\n{name} " in f"\n{answer.stdout}"


def test_the_real_replay_becomes_a_data_set(data: Path, installation: Installation, tmp_path: Path):
    """Real imagery and real outlines of Banepa, from the OSM file itself."""
    replay = data / "replay_buildings"
    installation.configure(imagery=[installation.source(url=str(replay / "imagery"))])
    out = tmp_path / "banepa"
    answer = installation.mapgap("dataset", "build", "--imagery", "rendered", "--zoom", 19, "--block", 2, "--seed", 3,
                                 "--area=85.5189514,27.6312238,85.5230713,27.6342655", "--out", out, "--osm",
                                 replay / "base.osm.pbf")
    assert answer.exit_code == 0, answer.stderr
    train, test = places_of(out, "train"), places_of(out, "test")
    assert train and test
    assert 0.2 < np.mean([(p.truth() == 1).sum() / p.valid.sum() for p in train]) < 0.7
    tiles = {name: {Tile(ZOOM, *map(int, path.stem.split("-")[1:3])) for path in (out / name).glob("*/tiles/*.png")}
             for name in ("train", "test")}
    assert not any(abs(a.x - b.x) <= 1 and abs(a.y - b.y) <= 1 for a in tiles["train"] for b in tiles["test"])
