"""STAC items, item collections and catalogues: each item with its own day and place, none leading astray."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from ground import ORIGIN
from rasters import bands, expected, place, write

from daemon.errors import ImageryUnavailable
from daemon.imagery import stac
from daemon.tiling.grid import Block, Tile

Z, X, Y = ORIGIN
AREA = {"bbox": list(Block(Z, X, Y, 1).lonlat())}


def item(name: str, href: str, column: int = 0, row: int = 0, side: int = 2, **properties) -> dict:
    """An item over `side` x `side` tiles of the picture."""
    west, south, _, _ = Block(Z, X + column, Y + row + side - 1, 1).lonlat()
    _, _, east, north = Block(Z, X + column + side - 1, Y + row, 1).lonlat()
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": name, "bbox": [west, south, east, north],
        "geometry": {"type": "Polygon", "coordinates": [ring]}, "properties": properties, "links": [],
        "assets": {"thumbnail": {"href": "t.png", "type": "image/png"},
                   "visual": {"href": href, "type": "image/tiff; application=geotiff; profile=cloud-optimized"}},
    }


def part(path: Path, pixels: np.ndarray, column: int, row: int, side: int = 2, **profile) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    inner = pixels[row * 256 : (row + side) * 256, column * 256 : (column + side) * 256]
    return write(path, bands(inner), place(column, row), tiled=True, **profile)


@pytest.fixture
def scenes(picture, tmp_path):
    """Two scenes, of 2019 and 2022; the younger has a hole, and lies half a scene further east."""
    part(tmp_path / "assets" / "old.tif", picture, 0, 0)
    holed = picture.copy()
    holed[:100, 256:356] = 7
    part(tmp_path / "assets" / "new.tif", np.minimum(holed, 250) + np.uint8(5) * (holed != 7), 1, 0, nodata=7)
    return [item("old", "./assets/old.tif", 0, datetime="2019-05-04T10:00:00Z", license="CC-BY-4.0"),
            item("new", "assets/new.tif", 1, datetime="2022-03-02T00:00:00Z", gsd=0.4)]


def test_the_newest_is_taken_and_what_it_lacks_comes_from_the_others(opened, settings, picture, scenes, tmp_path):
    path = tmp_path / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": scenes}))
    imagery = opened(settings(path, kind="stac"), area=AREA)
    assert imagery.check() == []
    lighter = picture.astype(int) + 5
    alone = imagery.chip(Block(Z, X + 2, Y, 1), 0)
    assert np.abs(alone.pixels - lighter[:256, 512:768]).max() <= 0 and alone.acquired == date(2022, 3, 2)
    both = imagery.chip(Block(Z, X + 1, Y, 1), 0)
    wanted = lighter[:256, 256:512]
    wanted[:100, :100] = picture[:100, 256:356]
    inner = np.s_[4:, 4:]
    assert both.valid.all() and np.abs(both.pixels[110:] - wanted[110:]).max() <= 0
    assert np.abs(both.pixels[inner][:90, :90].astype(int) - wanted[inner][:90, :90]).max() <= 0
    assert both.acquired == date(2019, 5, 4), "as old as the oldest that it is made of"
    assert imagery.chip(Block(Z, X, Y, 1), 0).acquired == date(2019, 5, 4)
    assert imagery.coverage(Z) >= {Tile(Z, X + i, Y + j) for i in range(3) for j in range(2)}
    assert not imagery.chip(Block(Z, X + 5, Y, 1), 0).valid.any()


def test_an_item_without_a_day_is_as_old_as_the_source_says(opened, settings, picture, tmp_path):
    part(tmp_path / "a.tif", picture, 0, 0)
    for properties, acquired, known in (
        ({"datetime": None}, None, None),
        ({"datetime": None}, date(2018, 1, 1), date(2018, 1, 1)),
        ({"datetime": None, "start_datetime": "2020-02-01T00:00:00Z", "end_datetime": "2021-01-01T00:00:00Z"},
         date(2018, 1, 1), date(2020, 2, 1)),
    ):
        (tmp_path / "i.json").write_text(json.dumps(item("a", "a.tif", **properties)))
        imagery = opened(settings(tmp_path / "i.json", kind="stac", acquired=acquired))
        assert imagery.chip(Block(Z, X, Y, 1), 0).acquired == known


def test_catalogues_are_followed_to_their_items(opened, settings, picture, scenes, tmp_path):
    for scene in scenes:
        for asset in scene["assets"].values():
            asset["href"] = "../../" + asset["href"]
        folder = tmp_path / "items" / scene["id"]
        folder.mkdir(parents=True)
        (folder / "item.json").write_text(json.dumps(scene))
    links = [{"rel": "item", "href": f"items/{s['id']}/item.json"} for s in scenes]
    collection = {"type": "Collection", "id": "c", "license": "CC-BY-4.0", "links": links}
    (tmp_path / "collection.json").write_text(json.dumps(collection))
    child = [{"rel": "child", "href": "./collection.json"}, {"rel": "self", "href": "https://example.org/c.json"}]
    (tmp_path / "catalog.json").write_text(json.dumps({"type": "Catalog", "id": "a", "links": child}))
    imagery = opened(settings(tmp_path / "catalog.json", kind="stac"), area=AREA)
    assert imagery.check() == [] and imagery.chip(Block(Z, X // 2, Y // 2, 2), 0).valid.any()
    before = imagery.content_of("paint", Z)
    (tmp_path / "collection.json").write_text(json.dumps(collection | {"links": links[:1]}))
    assert opened(settings(tmp_path / "catalog.json", kind="stac")).content_of("paint", Z) != before


def test_bands_of_several_assets_are_stacked(opened, settings, picture, tmp_path):
    one = item("s2", "red.tif", datetime="2023-01-01")
    one["assets"] = {name: {"href": f"{name}.tif"} for name in ("red", "green", "nir")}
    deep = bands(picture[:512, :512]).astype(np.uint16) * 40
    for index, name in enumerate(one["assets"]):
        write(tmp_path / f"{name}.tif", deep[index : index + 1], tiled=True)
    (tmp_path / "i.json").write_text(json.dumps(one))
    source = settings(tmp_path / "i.json", kind="stac", assets=["nir", "red"], bands=[1, 2], depth=16)
    chip = opened(source).chip(Block(Z, X, Y, 1), 0)
    assert (chip.pixels == deep[[2, 0], :256, :256].transpose(1, 2, 0)).all()
    (line,) = opened(settings(tmp_path / "i.json", kind="stac", assets=["blue"], name="b"), area=AREA).check()
    assert "has no asset 'blue'; it has: red, green, nir" in line


def test_a_server_is_followed_to_its_files(web, opened, settings, picture, tmp_path):
    cog = part(tmp_path / "a.tif", picture, 0, 0).read_bytes()
    web.put("/stac/item.json", json.dumps(item("a", "../cogs/a.tif", datetime="2021-06-05")).encode())
    web.script("/cogs/a.tif", web.parts(cog))
    imagery = opened(settings(web.url("/stac/item.json"), kind="stac"), area=AREA)
    assert imagery.check() == []
    chip = imagery.chip(Block(Z, X, Y, 1), 0)
    assert (chip.pixels == expected(picture, 0, 0)).all() and chip.acquired == date(2021, 6, 5)


def test_an_api_is_read_page_by_page_from_its_collection_on(web, opened, settings, picture, tmp_path):
    pages = 3
    cog = part(tmp_path / "a.tif", picture, 0, 0).read_bytes()
    web.script("/cogs/a.tif", web.parts(cog))
    collection = {"type": "Collection", "id": "c", "license": "CC-BY-4.0",
                  "links": [{"rel": "items", "href": web.url("/c/items")}]}
    web.put("/c", json.dumps(collection).encode())
    for number in range(pages):
        links = [{"rel": "next", "href": web.url(f"/c/{number + 1}"), "method": "GET"}] if number + 1 < pages else []
        found = [item("a", web.url("/cogs/a.tif"), datetime="2021-06-05")] if number + 1 == pages else []
        page = {"type": "FeatureCollection", "features": found, "links": [{"rel": "self", "href": "x"}, *links]}
        web.put(f"/c/{number}" if number else "/c/items", json.dumps(page).encode())
    chip = opened(settings(web.url("/c"), kind="stac"), area=AREA).chip(Block(Z, X, Y, 1), 0)
    assert (chip.pixels == expected(picture, 0, 0)).all()


def test_catalogues_that_name_each_other_come_to_an_end(opened, settings, picture, tmp_path):
    part(tmp_path / "a.tif", picture, 0, 0)
    (tmp_path / "i.json").write_text(json.dumps(item("a", "a.tif")))
    for name, other in (("one", "two"), ("two", "one")):
        links = [{"rel": "child", "href": f"{other}.json"}, {"rel": "item", "href": "i.json"}]
        (tmp_path / f"{name}.json").write_text(json.dumps({"type": "Catalog", "id": name, "links": links}))
    imagery = opened(settings(tmp_path / "one.json", kind="stac"))
    assert imagery.chip(Block(Z, X, Y, 1), 0).valid.all()


@pytest.mark.parametrize(
    ("href", "said"),
    [
        ("../outside.tif", "only what lies in"),
        ("/etc/passwd", "only what lies in"),
        ("file:///etc/passwd", "only what lies in"),
        ("s3://bucket/a.tif", "only what lies in"),
        ("link.tif", "only what lies in"),
        ("absent.tif", "no such file"),
    ],
)
def test_a_document_of_this_machine_names_only_what_lies_below_it(opened, settings, picture, tmp_path, href, said):
    part(tmp_path / "outside.tif", picture, 0, 0)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link.tif").symlink_to(tmp_path / "outside.tif")
    (tmp_path / "in" / "i.json").write_text(json.dumps(item("a", href)))
    (line,) = opened(settings(tmp_path / "in" / "i.json", kind="stac"), area=AREA).check()
    assert said in line


@pytest.mark.parametrize("href", ["file:///etc/passwd", "/vsicurl/http://127.0.0.1/a.tif", "s3://bucket/a.tif"])
def test_a_document_of_a_server_names_no_files_of_this_machine(web, opened, settings, href):
    web.put("/item.json", json.dumps(item("a", href)).encode())
    (line,) = opened(settings(web.url("/item.json"), kind="stac"), area=AREA).check()
    assert "which is no http:// or https:// URL" in line


@pytest.mark.parametrize("href", ["http://127.0.0.1:9/{apikey}.tif", "http://127.0.0.1:9/%7Bapikey%7D.tif"])
def test_a_key_does_not_go_to_those_whom_a_document_names(opened, settings, tmp_path, monkeypatch, href):
    monkeypatch.setenv("PAINT_KEY", "s3cret")
    (tmp_path / "i.json").write_text(json.dumps(item("a", href)))
    (line,) = opened(settings(tmp_path / "i.json", kind="stac", key_env="PAINT_KEY"), area=AREA).check()
    assert "the key is not for those whom others name" in line and "s3cret" not in line


def test_a_document_of_the_open_internet_does_not_lead_into_a_private_network(
    web, opened, settings, picture, tmp_path, monkeypatch
):
    cog = part(tmp_path / "a.tif", picture, 0, 0).read_bytes()
    web.put("/item.json", json.dumps(item("a", web.url("/a.tif"))).encode())
    web.script("/a.tif", web.parts(cog))
    source = settings(web.url("/item.json"), kind="stac")
    imagery = opened(source)
    asked = []
    # As if the server stood on the open internet while its document is read, and in a private network after that.
    monkeypatch.setattr(imagery._fetcher, "_private", lambda address: bool(asked) or asked.append(address))
    with pytest.raises(ImageryUnavailable, match="leads to a private address; refused"):
        imagery._sources[0].tile(Tile(Z, X, Y))
    assert web.count("/a.tif") == 0 and web.count("/item.json") == 1


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("[1, 2]", "no STAC item"),
        ("{", "not JSON that can be read"),
        ("[" * 100_000, "not JSON that can be read"),
        ('{"type": "Feature", "assets": {"a": {"href": "a.tif"}}}', "does not say where it lies"),
        ('{"type": "Feature", "assets": {"a": {"href": "a.png"}}, "bbox": [0, 0, 1, 1]}', "no item with an asset"),
        ('{"type": "Feature", "assets": 5}', "no item with an asset"),
        ('{"type": "Catalog", "links": [{"rel": "child", "href": "i.json"}]}', "no item with an asset"),
    ],
)
def test_what_is_no_stac_is_named(opened, settings, tmp_path, document, said):
    (tmp_path / "i.json").write_text(document)
    (line,) = opened(settings(tmp_path / "i.json", kind="stac"), area=AREA).check()
    assert said in line and "i.json" in line


def test_another_licence_than_the_document_states_is_found(opened, settings, scenes, tmp_path):
    (tmp_path / "i.json").write_text(json.dumps(scenes[0]))
    (line,) = opened(settings(tmp_path / "i.json", kind="stac", licence="CC0-1.0"), area=AREA).check()
    assert "licence is 'CC0-1.0', but" in line and "'CC-BY-4.0'" in line


def test_more_scenes_than_stay_open(web, opened, settings, picture, tmp_path, monkeypatch):
    """Files are closed and opened again while several threads read them, here and on servers."""
    monkeypatch.setattr(stac, "MOST_OPEN", 1)
    features = []
    for row in range(3):
        for column in range(3):
            path = part(tmp_path / f"{row}{column}.tif", picture, 2 * column, 2 * row)
            web.script(f"/{path.name}", web.parts(path.read_bytes()))
            href = path.name if (row + column) % 2 else web.url(f"/{path.name}")
            features.append(item(path.stem, href, 2 * column, 2 * row, datetime="2021-01-01"))
    (tmp_path / "i.json").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    imagery = opened(settings(tmp_path / "i.json", kind="stac"))
    chip = imagery.chip(Block(Z, X // 4, Y // 4, 4), 256)
    inner = chip.pixels[256:, 256:]
    assert chip.valid[256:, 256:].all() and (inner == picture[: inner.shape[0], : inner.shape[1]]).all()
