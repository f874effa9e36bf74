"""Pictures and the page: layers lie where they belong, kinds differ, and the page needs nothing from outside."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from daemon.page import write_page
from daemon.picture import KIND_COLOURS, NO_IMAGERY, OSM_COLOUR, View, draw_block, draw_layers, join
from daemon.tiling.grid import Block
from detectors.base import Chip, OsmFeature, Probabilities


@dataclass
class Found:
    key: str
    kind: str
    geometry: BaseGeometry
    confidence: float = 0.8
    state: str = "open"
    osm: str | None = None


def chip_of(block: Block, margin: int = 0, empty: bool = False) -> Chip:
    side = block.side * 256 + 2 * margin
    valid = np.full((side, side), not empty)
    return Chip(np.full((side, side, 3), 120, np.uint8), valid, block.mercator(margin), date(2024, 6, 2), "test")


def ground(chip: Chip, left: float, top: float, right: float, bottom: float) -> BaseGeometry:
    """Lon/lat box of pixels of a chip."""
    (west, north), (east, south) = chip.frame.pixels_to_local(np.array([[left, top], [right, bottom]], float))
    return chip.frame.to_lonlat(box(west, south, east, north))


def feature(geometry: BaseGeometry) -> OsmFeature:
    return OsmFeature("way", 7, 1, datetime(2024, 1, 1, tzinfo=UTC), {"building": "yes"}, geometry)


BLOCK = Block(19, 91_250, 55_250, 1)


def test_an_osm_outline_is_drawn_on_its_own_pixels_and_nowhere_else():
    chip = chip_of(BLOCK)
    layer = draw_layers(chip, None, [feature(ground(chip, 50, 60, 90, 100))], []).osm
    rows, columns = np.nonzero(layer[:, :, 3])
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == pytest.approx((50, 90, 60, 100), abs=3)
    assert layer[80, 70, 3] == 0
    assert tuple(layer[80, 50, :3]) == pytest.approx(OSM_COLOUR, abs=40)


@pytest.mark.parametrize("kind", sorted(KIND_COLOURS))
def test_each_kind_has_its_colour(kind):
    chip = chip_of(BLOCK)
    layer = draw_layers(chip, None, [], [Found("k", kind, ground(chip, 40, 40, 120, 120))]).discrepancies
    strong = layer[layer[:, :, 3] > 250][:, :3]
    assert (np.abs(strong.astype(int) - KIND_COLOURS[kind]).max(axis=1) < 30).any()


def test_the_mask_tints_where_the_network_is_sure_and_never_where_there_is_no_imagery():
    chip = chip_of(BLOCK)
    chip.valid[:, 200:] = False
    likely = np.zeros((256, 256), np.float32)
    likely[:, 100:] = 0.9
    probabilities = Probabilities(np.stack([1 - likely, likely]), ("background", "building"), "m@1")
    picture = draw_layers(chip, probabilities, [], [])
    assert picture.mask[10, 50, 3] == 0
    assert picture.mask[10, 150, 3] > 50
    assert picture.mask[10, 220, 3] == 0
    assert tuple(picture.imagery[10, 220]) == NO_IMAGERY


def test_a_block_is_drawn_with_a_legend_below_it():
    chip = chip_of(BLOCK)
    drawn = draw_block(chip, None, [], [])
    assert drawn.shape[1:] == (256, 3)
    assert drawn.shape[0] > 256
    assert (drawn[:256] == 120).all()


def test_geometry_far_outside_of_a_chip_harms_nothing():
    chip = chip_of(BLOCK)
    far = box(-170, -80, 170, 80)
    assert draw_layers(chip, None, [feature(far)], [Found("k", "missing", far.centroid)]).imagery.shape == (256, 256, 3)


def test_blocks_join_on_their_pixels_and_margins_keep_what_only_one_block_drew():
    west, east = Block(19, 91_250, 55_250, 1), Block(19, 91_251, 55_250, 1)
    left, right = chip_of(west, 16), chip_of(east, 16)
    drawn = draw_layers(left, None, [feature(ground(left, 240, 100, 270, 130))], [])
    whole = join([drawn, draw_layers(right, None, [], [])])
    assert whole.imagery.shape == (288, 544, 3)
    assert np.array_equal(whole.osm[:, :288], drawn.osm)


def test_empty_ground_around_the_imagery_is_cut_off():
    block = chip_of(Block(19, 91_250, 55_250, 2))
    block.valid[:, 256:] = False
    whole = join([draw_layers(block, None, [], [])])
    assert whole.imagery.shape == (512, 256 + 12, 3)
    assert whole.bounds[0] == pytest.approx(block.bounds[0])


class Page(HTMLParser):
    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def page_of(tmp_path, **options) -> tuple[str, Page]:
    chip = chip_of(BLOCK)
    place = ground(chip, 40, 40, 120, 120)
    found = [
        Found("bld:1", "gone", place, 0.91, "open", "way/42"),
        Found("<b>x", "missing", place, 0.5, "published", "javascript:x"),
    ]
    view = View(chip, None, [feature(place)], found)
    summary = {"sequence": 60, "per kind": [{"kind": "gone", "F1": 0.81234}], "<script>": "&"}
    write_page(tmp_path, [view, view], summary, ["© <Somebody>"], **options)
    text = (tmp_path / "index.html").read_text()
    return text, Page(text)


def test_the_page_loads_nothing_from_outside_and_runs_no_script(tmp_path):
    text, page = page_of(tmp_path)
    sources = [v for _, attrs in page.tags for k, v in attrs.items() if k in ("src", "srcset", "data", "xlink:href")]
    assert sources and all(s.startswith("data:image/") for s in sources)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert "url(" not in text and "@import" not in text


def test_the_page_lists_every_discrepancy_once_with_links_to_osm(tmp_path):
    text, page = page_of(tmp_path)
    assert text.count("<tr id=") == 2
    links = [attrs["href"] for tag, attrs in page.tags if tag == "a" and attrs["href"].startswith("http")]
    assert "https://www.openstreetmap.org/way/42" in links
    assert all(re.match(r"https://www\.openstreetmap\.org/(way/42$|#map=19/)", link) for link in links)
    assert "91 %" in page.text and "published" in page.text


def test_text_from_outside_is_shown_as_text(tmp_path):
    text, page = page_of(tmp_path)
    assert "<b>" not in text and "<Somebody>" not in text and "<script>" not in text
    assert "© <Somebody>" in page.text
    assert "0.812" in page.text


def test_layers_can_be_switched_one_by_one(tmp_path):
    text, page = page_of(tmp_path)
    boxes = [attrs["class"] for tag, attrs in page.tags if tag == "input"]
    assert boxes == [f"layer pick-{name}" for name in ("imagery", "mask", "osm", "discrepancies")]
    for name in ("imagery", "mask", "osm", "discrepancies"):
        assert f".pick-{name}:not(:checked)) .{name}" in text


def test_a_rendered_town_is_called_that_and_linked_to_no_real_map(tmp_path):
    text, page = page_of(tmp_path, rendered=True)
    assert "imagery on this page is rendered" in page.text
    assert "openstreetmap.org" not in text
    assert "rendered" not in page_of(tmp_path)[1].text


def test_places_far_apart_get_a_picture_each(tmp_path):
    views = [View(chip_of(Block(19, x, 55_250, 1)), None, [], []) for x in (91_250, 91_251, 200_000)]
    written = write_page(tmp_path, views, {}, [])
    assert [p.name for p in written] == ["index.html", "picture.png", "picture-2.png"]
    assert cv2.imread(str(tmp_path / "picture.png")).shape[1] == 512
    assert "map and ground agree" in (tmp_path / "index.html").read_text()


def test_no_block_is_an_error_that_says_so(tmp_path):
    with pytest.raises(ValueError, match="nothing was looked at"):
        write_page(tmp_path, [], {}, [])


@pytest.mark.parametrize(("bands", "depth"), [(1, np.uint16), (4, np.uint16), (2, np.uint8)])
def test_imagery_of_other_bands_and_depths_is_drawn_all_the_same(bands, depth):
    values = np.arange(64 * 64 * bands, dtype=np.uint32).reshape(64, 64, bands) % 3000
    chip = Chip(values.astype(depth), np.ones((64, 64), bool), (0.0, 0.0, 64.0, 64.0), None, "other")
    imagery = draw_layers(chip, None, [], []).imagery
    assert imagery.shape == (64, 64, 3) and imagery.dtype == np.uint8
    assert depth == np.uint8 or (imagery.min() == 0 and imagery.max() == 255)
