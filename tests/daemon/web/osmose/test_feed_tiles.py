"""Issues by map tile: GeoJSON, points and heat."""

from __future__ import annotations

import mapbox_vector_tile
import pytest
from claims import LAT, LON, gone, house, missing
from shapely.geometry import box

from daemon.tiling.grid import Tile, tile_at


@pytest.fixture
def shown(feed):
    return feed.show(missing(house(50, 50)), gone(house(80, 50), "way/5"))


def tile(z: int) -> Tile:
    return tile_at(LON + 0.0006, LAT + 0.0004, z)


def test_a_tile_holds_the_issues_in_it_and_no_others(feed, shown):
    (far,) = feed.show(missing(box(85.9, 27.9, 85.9001, 27.9001)))
    for z in (10, 14, 18):
        inside = {f["properties"]["uuid"] for f in feed.json(f"/issues/{tile(z)}.geojson")["features"]}
        assert inside == {uuid for uuid in (*shown, far) if tile_at(*place(feed, uuid), z) == tile(z)}
    assert len(feed.json(f"/issues/{tile(14)}.geojson")["features"]) == 2


def place(feed, uuid) -> tuple[float, float]:
    ((lon, lat),) = feed.ledger.all("SELECT lon, lat FROM discrepancy WHERE uuid = %s", uuid)
    return lon, lat


def test_the_first_column_and_row_of_the_world_are_tiles_like_others(feed, shown):
    """x=0 or y=0 made the Osmose server give the whole world."""
    (west,) = feed.show(missing(box(-179.99, 20.0, -179.9899, 20.0001)))
    found = tile_at(-179.99, 20.0, 10)
    assert found.x == 0
    assert [f["properties"]["uuid"] for f in feed.json(f"/issues/{found}.geojson")["features"]] == [west]
    (north,) = feed.show(missing(box(10.0, 85.04, 10.0001, 85.0401)))
    found = tile_at(10.0, 85.04, 7)
    assert found.y == 0
    assert [f["properties"]["uuid"] for f in feed.json(f"/issues/{found}.geojson")["features"]] == [north]
    for z in (7, 14, 18):
        assert feed.json(f"/issues/{z}/0/0.geojson")["features"] == []


@pytest.mark.parametrize("ending", ["json", "geojson"])
@pytest.mark.parametrize("path", ["6/1/1", "19/1/1", "0/0/0", "99999999/1/1", "14/-1/5", "14/99999/5", "14/5/16384"])
def test_where_there_is_nothing_to_show_the_collection_is_empty(feed, shown, path, ending):
    answer = feed.get(f"/issues/{path}.{ending}")
    assert (answer.status_code, answer.json()) == (200, {"type": "FeatureCollection", "features": []})


@pytest.mark.parametrize("path", [
    "6/1/1.mvt", "19/1/1.mvt", "14/0/0.mvt", "14/-1/5.mvt", "99999999/1/1.mvt", "14/0/0.heat.mvt", "19/1/1.heat.mvt",
    "14/16384/1.heat.mvt", "-1/0/0.heat.mvt",
])
def test_where_there_is_nothing_to_show_there_is_no_vector_tile(feed, shown, path):
    answer = feed.get(f"/issues/{path}")
    assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.parametrize("path", ["a/1/1.json", "14/1/x.mvt", "14/1.5/1.geojson", f"14/{'9' * 5000}/1.json"])
def test_what_is_no_number_is_refused(feed, path):
    assert feed.status(f"/issues/{path}") in (414, 422)


def test_points_lie_where_the_issues_are(feed, shown):
    answer = feed.get(f"/issues/{tile(16)}.mvt")
    assert answer.headers["content-type"] == "application/vnd.mapbox-vector-tile"
    layers = mapbox_vector_tile.decode(answer.content, default_options={"y_coord_down": True})
    assert list(layers) == ["issues"]
    assert layers["issues"]["extent"] == 4096 and layers["issues"]["version"] == 2
    features = layers["issues"]["features"]
    assert {f["properties"]["uuid"] for f in features} == set(shown)
    for feature in features:
        properties = feature["properties"]
        assert properties.keys() == {"uuid", "item", "class"} and properties["item"] == 8540
        lon, lat = place(feed, properties["uuid"])
        deep = tile_at(lon, lat, 28)  # 4096 = 2 ** 12 places along a tile of zoom 16
        assert feature["geometry"]["coordinates"] == [deep.x - (tile(16).x << 12), deep.y - (tile(16).y << 12)]
    assert len({feature["id"] for feature in features}) == 2


def test_a_full_tile_says_so(feed, shown):
    layers = mapbox_vector_tile.decode(feed.get(f"/issues/{tile(14)}.mvt?limit=1").content)
    assert len(layers["issues"]["features"]) == 1
    (middle,) = layers["limit"]["features"]
    assert middle["geometry"]["coordinates"] == [2048, 2048]
    assert "limit" not in mapbox_vector_tile.decode(feed.get(f"/issues/{tile(14)}.mvt?limit=2").content)


def test_tiles_are_filtered_and_limited(feed, shown):
    path = f"/issues/{tile(14)}.geojson"
    assert [f["properties"]["class"] for f in feed.json(f"{path}?class=2")["features"]] == [2]
    assert feed.json(f"{path}?item=7010,4xxx")["features"] == []
    assert len(feed.json(f"{path}?limit=1")["features"]) == 1
    assert [f["properties"]["class"] for f in feed.json(f"{path}?osm_type=way&osm_id=5")["features"]] == [2]
    assert feed.json("/issues/14/0/0.geojson?osm_type=way&osm_id=5")["features"] == []
    assert feed.status(f"{path}?status=unknown") == 422
    feed.get(f"/issue/{shown[0]}/false")
    assert [f["properties"]["uuid"] for f in feed.json(f"{path}?status=false")["features"]] == [shown[0]]


def test_squares_are_warm_where_issues_are(feed, shown):
    feed.show(*(missing(house(30 + 12 * (i % 4), 65 + 12 * (i // 4))) for i in range(12)))
    answer = feed.get(f"/issues/{tile(14)}.heat.mvt")
    layers = mapbox_vector_tile.decode(answer.content, default_options={"y_coord_down": True})
    assert layers["issues"]["extent"] == 32
    fine, coarse = tile(19), tile(14)
    expected = {(fine.x - coarse.x * 32, fine.y - coarse.y * 32)}
    squares = {tuple(feature["geometry"]["coordinates"][0][0]) for feature in layers["issues"]["features"]}
    assert all(abs(x - ex) <= 2 and abs(y - ey) <= 2 for x, y in squares for ex, ey in expected)
    for feature in layers["issues"]["features"]:
        assert 1 <= feature["properties"]["count"] <= 255
        assert feature["properties"]["color"] in (0xFF00FF, 0xFF3300)
        xs, ys = zip(*feature["geometry"]["coordinates"][0], strict=True)
        assert max(xs) - min(xs) == max(ys) - min(ys) == 1


def test_the_world_has_a_heat_map(feed, shown):
    assert feed.status("/issues/0/0/0.heat.mvt") == 200
    assert feed.status("/issues/0/0/0.heat.mvt?item=") == 204
