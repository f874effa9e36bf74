"""XYZ tiles with outlines: one place, many places, and tiles that do not belong together."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import shapely
from shapely.geometry import mapping

from detectors.base import Frame
from detectors.datasets import UNKNOWN, LazyPlaces
from detectors.datasets.tiles import tile_bounds
from detectors.errors import DatasetInvalid

X, Y, ZOOM, SIDE = 386690, 220241, 19, 32


@pytest.fixture
def write_place(write_image: Callable) -> Callable[..., Path]:
    """Tiles at these offsets, and a house of 8 x 8 px in the first (unless it is to be empty)."""

    def write(directory: Path, *offsets: tuple[int, int], empty: bool = False, zoom: int = ZOOM) -> Path:
        for column, row in offsets or ((0, 0),):
            tile = np.full((SIDE, SIDE, 3), 100 + column, np.uint8)
            write_image(directory / f"tiles/OAM-{X + column}-{Y + row}-{zoom}.png", tile)
        frame = Frame(tile_bounds(zoom, X, Y), (SIDE, SIDE))
        ring = np.array([[4, 4], [12, 4], [12, 12], [4, 12]], dtype=float)
        house = frame.to_lonlat(shapely.Polygon(frame.pixels_to_local(ring)))
        features = [] if empty else [{"type": "Feature", "properties": {}, "geometry": mapping(house)}]
        (directory / "labels.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
        return directory

    return write


def test_tiles_become_one_mosaic_and_gaps_are_not_valid(tmp_path: Path, write_place: Callable, read: Callable):
    (place,) = read(write_place(tmp_path / "town", (0, 0), (2, 1)), "tiles", zoom=ZOOM)
    assert place.pixels.shape == (2 * SIDE, 3 * SIDE, 3) and place.columns == 3
    assert place.valid.sum() == 2 * SIDE**2
    assert (place.truth() == 1).sum() == 64 and place.truth()[4:12, 4:12].all()
    assert (place.truth()[:SIDE, SIDE:] == UNKNOWN).all()


def test_a_directory_of_places_is_read_one_by_one(tmp_path: Path, write_place: Callable, read: Callable):
    """Ground without any building is worth learning from, too."""
    write_place(tmp_path / "set/a")
    write_place(tmp_path / "set/b", empty=True)
    first, second = read(tmp_path / "set", "tiles", zoom=ZOOM)
    assert (first.name, second.name) == ("a", "b")
    assert (first.truth() == 1).sum() == 64 and (second.truth() == 0).all()


def test_the_only_zoom_need_not_be_named(tmp_path: Path, write_place: Callable, read: Callable):
    directory = write_place(tmp_path / "town")
    assert read(directory, "tiles")[0].valid.all()
    write_place(directory, zoom=20)
    with pytest.raises(DatasetInvalid, match="zoom 19, 20; say which"):
        read(directory, "tiles")


def test_a_single_place_without_labels_is_refused(tmp_path: Path, write_place: Callable, read: Callable):
    with pytest.raises(DatasetInvalid, match="no polygons"):
        read(write_place(tmp_path / "town", empty=True), "tiles", zoom=ZOOM)


def test_tiles_at_both_ends_of_the_world_make_no_mosaic(tmp_path: Path, write_place: Callable, read: Callable):
    with pytest.raises(DatasetInvalid, match="px with 3 bands; at most"):
        read(write_place(tmp_path / "town", (0, 0), (-300_000, 0)), "tiles", zoom=ZOOM)


def test_a_tile_beyond_the_edge_of_the_world_is_refused(tmp_path: Path, write_place: Callable, read: Callable):
    with pytest.raises(DatasetInvalid, match="a tile beyond"):
        read(write_place(tmp_path / "town", (0, 0), (300_000, 0)), "tiles", zoom=ZOOM)


def test_tiles_of_different_sizes_are_refused(tmp_path: Path, write_place: Callable, write_image: Callable,
                                              read: Callable):
    directory = write_place(tmp_path / "town")
    write_image(directory / f"tiles/OAM-{X + 1}-{Y}-{ZOOM}.png", np.zeros((16, 16, 3), np.uint8))
    with pytest.raises(DatasetInvalid, match="16 x 16 px, but others have 32 x 32"):
        read(directory, "tiles", zoom=ZOOM)


def test_places_can_be_sliced_and_know_whose_they_are(tmp_path: Path, write_place: Callable):
    from detectors.datasets import Source, read_source

    for name in "abc":
        write_place(tmp_path / f"set/{name}")
    source = Source(path="set", use="train", zoom=ZOOM, imagery="i", imagery_licence="CC0", labels="l",
                    labels_licence="ODbL")
    places = read_source(tmp_path, source)
    assert isinstance(places, LazyPlaces) and [p.name for p in places[1:]] == ["b", "c"]
    assert places[-1].name == "c" and places[0].provenance.labels_licence == "ODbL"
    with pytest.raises(IndexError):
        places[3]


def test_the_real_banepa_is_as_it_was(data: Path, read: Callable):
    (place,) = read(data / "buildings/banepa", "tiles", zoom=19)
    assert place.pixels.shape == (2560, 3072, 3) and place.columns == 6
    assert (place.truth() == 1).mean() == pytest.approx(0.4960, abs=0.0005)
