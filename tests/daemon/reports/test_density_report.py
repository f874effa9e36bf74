"""How much is mapped against how much it shines: measured, kept, and acted upon."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import psycopg2
import pytest
import rasterio
import shapely
from click.testing import CliRunner, Result
from shapely.geometry import box

from daemon.__main__ import main
from daemon.config import load, parse, render
from daemon.current_map import open_current_map
from daemon.db import Database
from daemon.discrepancies.life import find
from daemon.errors import ConfigError, Osm2pgsqlUnusable
from daemon.reports.cells import groups_of_polygons, groups_of_tiles, read_polygons
from daemon.reports.ledger import correlations, write_run
from daemon.reports.mapped import measure
from daemon.reports.postgis import Tables, correlate_in_postgis, measure_in_postgis
from detectors.correlation import pearson, spearman
from detectors.density import QUANTITIES, amount_in
from detectors.training.geoiter.raster_wkb import Band, Raster, write_raster
from detectors.zonal import Witness

NOW = datetime(2024, 1, 1, tzinfo=UTC)


class House:
    """A configuration over the land, and the command."""

    def __init__(self, directory: Path, database: Database, land, **settings):
        self.config_path = directory / "config.toml"
        self.database = database
        self.land = land
        values = {
            "area": {"bbox": land.bbox, "name": "land"}, "database": {"dsn": database.dsn},
            "replication": {"url": (directory / "none").as_uri()},
            "detectors": {
                "building": {"enabled": False}, "density": {"enabled": True, "confidence": 0.5, **settings},
            },
        }
        self.config_path.write_text(render(parse(values, "test", directory)))

    def mapgap(self, *words: object) -> Result:
        return CliRunner().invoke(main, [*map(str, words), "--config", str(self.config_path)], prog_name="mapgap")

    def say(self, *words: object) -> str:
        done = self.mapgap(*words)
        assert done.exit_code == 0, done.output + str(done.exception)
        return done.output


@pytest.fixture
def house(tmp_path: Path, database: Database, land) -> House:
    made = House(tmp_path, database, land)
    made.say("bootstrap", land.extract)
    return made


def fields(land, path: Path) -> Path:
    """The land's fields as polygons with how many people live there."""
    west, south, east, _ = land.bbox
    step = (east - west) / 6
    features = [
        {"type": "Feature", "properties": {"name": f"field {c}-{r}", "people": 10 * c + r},
         "geometry": shapely.geometry.mapping(box(west + c * step, south + r * step, west + (c + 1) * step,
                                                  south + (r + 1) * step))}
        for c in range(6) for r in range(6)
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def test_a_run_writes_files_pictures_and_a_row_of_history(house, land, tmp_path):
    areas = fields(land, tmp_path / "fields.geojson")
    told = house.say("report", "density", "--raster", land.raster, "--polygons", areas, "--out", tmp_path / "out")
    worst = next(line for line in told.splitlines() if "field" in line)
    assert "field 4-2" in worst
    rows = {row["name"]: row for row in csv.DictReader((tmp_path / "out" / "density.csv").read_text().splitlines())}
    assert len(rows) == 36 and float(rows["field 3-4"]["witness"]) == pytest.approx(34.0)
    assert float(rows["field 4-2"]["mapped_per_km2"]) == 0.0 and float(rows["field 4-2"]["missing"]) > 5
    collection = json.loads((tmp_path / "out" / "density.geojson").read_text())
    assert collection["features"][0]["geometry"]["type"] == "Polygon" and collection["attribution"]
    for name in ("density-fit.png", "density-missing.png"):
        assert cv2.imread(str(tmp_path / "out" / name)).std() > 10
    house.say("report", "density", "--raster", land.raster, "--polygons", areas)
    with house.database.transaction() as cursor:
        cursor.execute("SELECT report, subject, cells, summary FROM report_run ORDER BY id")
        runs = cursor.fetchall()
    assert [run[:3] for run in runs] == [("density", "road_length by light.tif", 36)] * 2
    first, second = (run[3]["pearson"]["value"] for run in runs)
    assert first > 0.8 and second == pytest.approx(first)


def test_a_witness_of_other_ground_or_of_one_value_correlates_to_nothing(house, land, tmp_path):
    west, south, east, north = land.bbox
    for name, corner, said in (("elsewhere", (0.0, 0.0), True), ("alike", (west - 0.01, north + 0.01), False)):
        shape = {"driver": "GTiff", "count": 1, "height": 90, "width": 90, "dtype": "float32", "crs": "EPSG:4326"}
        transform = rasterio.transform.from_origin(*corner, (east - west + 0.02) / 90, (north - south + 0.02) / 90)
        with rasterio.open(tmp_path / f"{name}.tif", "w", transform=transform, **shape) as file:
            file.write(np.full((1, 90, 90), 0.1, np.float32))
        told = house.say("report", "density", "--raster", tmp_path / f"{name}.tif", "--zoom", "15")
        assert ("does it cover the area?" in told) == said and told.count("not known") == 2


def test_the_database_correlates_as_numpy_does(database, land):
    rng = np.random.default_rng(5)
    cells = next(groups_of_polygons([c for g in groups_of_tiles(box(*land.bbox), 14) for c in g], 90.0))
    light = rng.integers(0, 9, len(cells)).astype(float)
    light[3] = np.nan
    mapped = light + rng.normal(size=len(cells))
    with database.transaction() as cursor:
        run = write_run(cursor, "density", "x", cells, {"mapped": mapped, "witness": light}, {}, None, NOW)
        straight, ordered = correlations(cursor, run)
    for found, expected in ((straight, pearson(light, mapped)), (ordered, spearman(light, mapped))):
        assert found.rows == expected.rows == len(cells) - 1
        assert (found.value, found.low, found.high) == pytest.approx(
            (expected.value, expected.low, expected.high), abs=1e-12
        )


def test_even_columns_and_empty_grids_correlate_to_nothing_in_both(database, land):
    cells = next(groups_of_tiles(box(*land.bbox), 13))
    with database.transaction() as cursor:
        even = np.ones(len(cells))
        run = write_run(cursor, "density", "even", cells, {"mapped": even, "witness": even}, {}, None, NOW)
        assert [c.value for c in correlations(cursor, run)] == [None, None]
        run = write_run(cursor, "density", "none", [], {}, {}, None, NOW)
        assert [(c.value, c.rows) for c in correlations(cursor, run)] == [(None, 0)] * 2


def test_lit_but_empty_cells_open_and_close_when_somebody_maps_there(house, land, tmp_path):
    areas = fields(land, tmp_path / "fields.geojson")
    words = ("report", "density", "--raster", land.raster, "--polygons", areas, "--open")
    assert "1 opened, 0 seen again" in house.say(*words)
    assert "0 opened, 1 seen again" in house.say(*words)
    (feature,) = json.loads(house.say("export").split("\n1 disc")[0])["features"]
    assert feature["properties"]["kind"] == "empty" and feature["properties"]["evidence"]["unit"] == "km"
    config = load(house.config_path)
    with open_current_map(config) as current_map, house.database.transaction() as cursor:
        cursor.execute("SELECT key FROM discrepancy")
        (key,) = cursor.fetchone()
        assert current_map.still_holds(cursor, find(cursor, key)) is True
    full = type(land)(tmp_path, empty=frozenset())
    house.say("bootstrap", "--force", full.extract)
    with open_current_map(config) as current_map, house.database.transaction() as cursor:
        assert current_map.still_holds(cursor, find(cursor, key)) is False
    assert "1 withdrawn" in house.say(*words)


def test_the_cells_that_lack_most_are_looked_at_next(house, land, tmp_path):
    areas = fields(land, tmp_path / "fields.geojson")
    told = house.say("report", "density", "--raster", land.raster, "--polygons", areas, "--backfill", 1)
    with house.database.transaction() as cursor:
        cursor.execute("SELECT count(*), min(reason::text) FROM dirty_tile")
        tiles, reason = cursor.fetchone()
    assert reason == "backfill" and f"{tiles} tiles of the cells that lack most are queued" in told and tiles > 500


def test_a_property_of_the_polygons_is_a_witness_too(house, land, tmp_path):
    areas = fields(land, tmp_path / "fields.geojson")
    house.say("report", "density", "--polygons", areas, "--property", "people", "--counts", "--out", tmp_path / "out")
    rows = list(csv.DictReader((tmp_path / "out" / "density.csv").read_text().splitlines()))
    row = next(row for row in rows if row["name"] == "field 5-5")
    assert float(row["witness"]) == pytest.approx(55 / float(row["area_km2"]), rel=1e-4)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--polygons", "f.geojson"], 2, "give --raster FILE, or --polygons FILE --property NAME"),
        (["--raster", "absent.tif"], 7, "absent.tif: cannot be read as a raster"),
        (["--polygons", "f.geojson", "--property", "height"], 2, "no polygon has a number as its property 'height'"),
    ],
)
def test_wrong_words_are_answered_by_name(house, land, tmp_path, words, code, message):
    fields(land, tmp_path / "f.geojson")
    given = [str(tmp_path / word) if "." in word else word for word in words]
    done = house.mapgap("report", "density", *given)
    assert done.exit_code == code and message in done.output


def test_without_the_detector_the_store_would_lack_roads(tmp_path, database, land):
    values = {"area": {"bbox": land.bbox}, "database": {"dsn": database.dsn}}
    path = tmp_path / "config.toml"
    path.write_text(render(parse(values, "test", tmp_path)))
    done = CliRunner().invoke(main, ["report", "density", "--raster", str(land.raster), "--config", str(path)])
    assert done.exit_code == 2 and "detectors.density" in done.output and "bootstrap again" in done.output


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "not a GeoJSON"), ("[", "not a GeoJSON"), ('{"features": []}', "has no polygon"),
        ('{"features": [{"geometry": {"type": "Point", "coordinates": [1, 2]}}]}', "is no polygon"),
        ('{"features": [{"geometry": {"type": "Polygon", "coordinates": [[[1, 2], [999, 2], [1, 3], [1, 2]]]}}]}',
         "out of the world"),
        ('{"features": [' + ", ".join(['{"properties": {"name": "a"}, "geometry": {"type": "Polygon", "coordinates": '
                                      "[[[1, 2], [2, 2], [1, 3], [1, 2]]]}}"] * 2) + "]}", "one name"),
    ],
)
def test_polygon_files_that_are_none_are_refused(tmp_path, content, message):
    (tmp_path / "areas.geojson").write_text(content)
    with pytest.raises(ConfigError, match=message):
        read_polygons(tmp_path / "areas.geojson")


def test_postgis_finds_the_same_as_the_store(gis, house, land, tmp_path):
    cells, _ = read_polygons(fields(land, tmp_path / "fields.geojson"))
    quantity = QUANTITIES["road_length"]
    with open_current_map(load(house.config_path)) as current_map, house.database.transaction() as cursor:
        mapped = measure(cursor, current_map.store, cells, lambda c, f: amount_in(c.geometry, f, quantity) / c.area_km2)
        cursor.execute("SELECT tags ->> 'highway', geometry FROM osm_feature")
        roads = [(kind, shapely.from_wkb(bytes(wkb))) for kind, wkb in cursor.fetchall()]
    with Witness(land.raster) as witness:
        light = witness.ask([cell.geometry for cell in cells])
        values = witness._file.read(1)
    west, _, _, north = land.bbox
    link = psycopg2.connect(gis())
    with link, link.cursor() as cursor:
        cursor.execute("CREATE TABLE planet_osm_line (highway text, way geometry(LineString, 3857));"
                       "CREATE TABLE light (rast raster)")
        for kind, line in roads:
            cursor.execute(
                "INSERT INTO planet_osm_line VALUES (%s, ST_Transform(ST_SetSRID(%s::geometry, 4326), 3857))",
                (kind, shapely.to_wkb(line, hex=True)),
            )
        raster = Raster(values.shape, (west, north), (0.02, -0.02), 4326, (Band(values, None),))
        cursor.execute("INSERT INTO light VALUES (ST_RastFromWKB(%s))", (write_raster(raster),))
        tables = Tables(("public", "planet_osm_line"), ("public", "light"))
        there, shone = measure_in_postgis(cursor, tables, cells, quantity)
        assert there == pytest.approx(mapped, rel=5e-3) and shone == pytest.approx(light, rel=1e-6)
        found = correlate_in_postgis(cursor, there, shone)
        assert found == pytest.approx((pearson(shone, there).value, spearman(shone, there).value), abs=1e-12)
        with pytest.raises(Osm2pgsqlUnusable, match=r"public.planet_osm_line and public.dark cannot be compared"):
            measure_in_postgis(cursor, Tables(tables.features, ("public", "dark")), cells, quantity)
    link.close()
