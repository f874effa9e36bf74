"""The area of interest: what it is read from, and what belongs to it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import shapely
from shapely.geometry import LineString, Point, box

from daemon.errors import ConfigError
from daemon.osm import AreaOfInterest

POLY = """village
1
   8.0 47.0
   8.2 47.0
   8.2 47.2
   8.0 47.2
   8.0 47.0
END
!2
   8.05 47.05
   8.1 47.05
   8.1 47.1
END
island
   9.0E+00 47.0
   9.1 47.0
   9.1 47.1
END
END
"""


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_poly_file_has_rings_and_holes(tmp_path: Path) -> None:
    area = AreaOfInterest.from_file(written(tmp_path / "area.poly", POLY), 0.0)
    lon, lat = np.array([8.01, 8.09, 9.09, 8.5]), np.array([47.01, 47.06, 47.05, 47.05])
    assert area.covers(lon, lat).tolist() == [True, False, True, False]
    assert area.bounds == (8.0, 47.0, 9.1, 47.2)


@pytest.mark.parametrize("wrapped", ["bare", "feature", "collection"])
def test_geojson_gives_the_same_area_as_a_poly_file(tmp_path: Path, wrapped: str) -> None:
    poly = AreaOfInterest.from_file(written(tmp_path / "area.poly", POLY), 500.0)
    geometry = shapely.geometry.mapping(poly.geometry)
    feature = {"type": "Feature", "properties": {}, "geometry": geometry}
    document = {
        "bare": geometry,
        "feature": feature,
        "collection": {"type": "FeatureCollection", "features": [feature, {"type": "Feature", "geometry": None}]},
    }[wrapped]
    area = AreaOfInterest.from_file(written(tmp_path / "area.geojson", json.dumps(document)), 500.0)
    assert area.describe() == poly.describe()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "empty"),
        ("name\n1\n 8 47\n 9 47\n 9 48\nEND\n", "without END"),
        ("name\n1\n 8 47\n 9 47\nEND\nEND\n", "line 5: 2 different points"),
        ("name\n1\n 8 47\n 9 north\n 9 48\nEND\nEND\n", "line 4: expected longitude and latitude"),
        ("name\n1\n 8 47\n 9 470\n 9 48\nEND\nEND\n", "line 4: 9.0, 470.0 is not"),
        ("name\n1\n 8 47\n nan 47\n 9 48\nEND\nEND\n", "line 4"),
        ("name\n1\n 8 47\n 9 48\n 9 47\n 8 48\nEND\nEND\n", "Self-intersection"),
        ("name\n!1\n 8 47\n 9 47\n 9 48\nEND\nEND\n", "no ring that is not a hole"),
        ("name\n1\n 8 47\n 9 47\n 9 48\nEND\n!2\n 7 46\n 10 46\n 10 49\n 7 49\nEND\nEND\n", "nothing remains"),
        ("name\n1\n 8 47\n 9 47\n 9 48\nEND\nEND\nmore\n", "line 8: text after"),
        ("{", "not JSON"),
        ('{"type": "Feature"}', "no Polygon"),
        ('{"type": "Polygon", "coordinates": 3}', "not a list of rings"),
        ('{"type": "Polygon", "coordinates": [[["a", 1], [2, 3], [4, 5]]]}', "expected pairs of numbers"),
        ('{"type": "FeatureCollection", "features": [{"type": "Point", "coordinates": [1, 2]}]}', "features[0]"),
        ('{"type": "FeatureCollection"}', "without features"),
        ("[1, 2]", "not a GeoJSON object"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_a_broken_polygon_file_is_refused_with_the_place_of_its_fault(tmp_path: Path, text: str, expected: str) -> None:
    path = written(tmp_path / "area.poly", text)
    with pytest.raises(ConfigError) as caught:
        AreaOfInterest.from_file(path, 0.0)
    assert str(path) in str(caught.value) and expected in str(caught.value)


def test_a_missing_polygon_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.poly"):
        AreaOfInterest.from_file(tmp_path / "nowhere.poly", 0.0)


def test_the_margin_is_at_least_as_wide_as_asked_for() -> None:
    square = AreaOfInterest.from_bbox((10.0, 60.0, 10.2, 60.1), 1000.0)
    triangle = AreaOfInterest(shapely.Polygon([(10, 60), (10.2, 60), (10.1, 60.1)]), 1000.0)
    east = 990 / 111_320 / np.cos(np.radians(60.1))
    up = 990 / 111_320
    lon, lat = np.array([10 - east, 10.1, 10.1, 10.1]), np.array([60.0, 60.0 - up, 60.1 + up, 59.9])
    for area in (square, triangle):
        assert area.keeps(lon, lat).tolist() == [True, True, True, False]
        assert area.covers(lon, lat).tolist() == [False] * 4


def test_features_count_when_they_touch_the_area_itself() -> None:
    geometries = np.array([
        box(8.05, 47.05, 8.06, 47.06), LineString([(7.9, 47.1), (8.3, 47.1)]),
        LineString([(7.99, 47.19), (8.01, 47.22)]), Point(8.2, 47.2), Point(8.2001, 47.2), None,
    ], dtype=object)
    expected = [True, True, False, True, False, False]
    assert AreaOfInterest.from_bbox((8, 47, 8.2, 47.2), 5000.0).touches(geometries).tolist() == expected
    ring = shapely.Polygon([(8, 47), (8.2, 47), (8.2, 47.2), (8.1, 47.2), (8, 47.2)]).union(box(30, 1, 31, 2))
    assert AreaOfInterest(ring, 5000.0).touches(geometries).tolist() == expected


def test_another_area_or_margin_is_described_otherwise() -> None:
    one = AreaOfInterest.from_bbox((8, 47, 9, 48), 1000.0).describe()
    assert one == AreaOfInterest.from_bbox((8, 47, 9, 48), 1000).describe()
    assert json.loads(json.dumps(one)) == one
    triangle = AreaOfInterest(shapely.Polygon([(8, 47), (9, 47), (9, 48)]), 1000.0).describe()
    other = AreaOfInterest(shapely.Polygon([(8, 47), (9, 48), (8, 48)]), 1000.0).describe()
    bare = AreaOfInterest.from_bbox((8, 47, 9, 48), 0).describe()
    assert len({json.dumps(description) for description in (one, bare, triangle, other)}) == 4
