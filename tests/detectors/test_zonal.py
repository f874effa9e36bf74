"""What a raster says of areas, against sums done by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine, from_origin
from rasterio.warp import transform_geom
from shapely.geometry import box, mapping, shape

from detectors.errors import DatasetInvalid
from detectors.zonal import Witness


def write(path: Path, values: np.ndarray, *, crs: str | None = "EPSG:4326", transform=None, nodata=None) -> Path:
    profile = {"driver": "GTiff", "height": values.shape[0], "width": values.shape[1], "count": 1, "nodata": nodata}
    transform = transform or from_origin(10.0, 50.0, 0.1, 0.1)
    with rasterio.open(path, "w", dtype=values.dtype, crs=crs, transform=transform, **profile) as file:
        file.write(values, 1)
    return path


@pytest.fixture
def steps(tmp_path: Path) -> Path:
    """Four rows and five columns of 0.1 degrees: 0, 1, ... 19."""
    return write(tmp_path / "steps.tif", np.arange(20, dtype=np.float32).reshape(4, 5))


def test_each_pixel_counts_by_its_part_inside(steps):
    with Witness(steps) as witness:
        whole, half, inner = witness.ask([box(10, 49.6, 10.5, 50), box(10.05, 49.9, 10.15, 50), box(10.21, 49.81, 10.22,
                                                                                                    49.82)])
        assert whole == pytest.approx(9.5) and half == pytest.approx(0.5) and inner == pytest.approx(7.0)
        people = witness.ask([box(10, 49.6, 10.5, 50), box(10.05, 49.9, 10.15, 50)], "sum")
        assert people == pytest.approx([190.0, 0.5])


def test_two_halves_hold_as_many_people_as_the_whole(steps):
    cut = 10.2345
    with Witness(steps) as witness:
        parts = witness.ask([box(10, 49.6, cut, 50), box(cut, 49.6, 10.5, 50)], "sum")
    assert parts.sum() == pytest.approx(190.0)


def test_where_there_is_nothing_nothing_is_said(tmp_path):
    values = np.array([[1.0, -9.0], [3.0, np.nan]], np.float32)
    with Witness(write(tmp_path / "holes.tif", values, nodata=-9.0)) as witness:
        assert witness.ask([box(10, 49.8, 10.2, 50)]) == pytest.approx([2.0])
        assert np.isnan(witness.ask([box(10.1, 49.9, 10.2, 50), box(0, 0, 1, 1), box(179, -89, 180, -88)])).all()


def test_on_ground_that_is_all_alike_all_areas_are(tmp_path):
    with Witness(write(tmp_path / "alike.tif", np.full((40, 50), 0.1, np.float32))) as witness:
        corners = [(x, y) for x in np.linspace(10, 14, 13) for y in np.linspace(46.5, 49.5, 11)]
        areas = [box(x, y, x + 0.37, y + 0.33) for x, y in corners]
        assert set(witness.ask(areas)) == {float(np.float32(0.1))}


def test_another_coordinate_system_is_followed(tmp_path, steps):
    area = box(10.1, 49.7, 10.3, 49.9)
    there = shape(transform_geom("EPSG:4326", "EPSG:3857", mapping(area)))
    west, south, east, north = there.bounds
    values = np.full((10, 10), 5, np.uint8)
    values[:, 5:] = 9
    transform = from_origin(west, north, (east - west) / 10, (north - south) / 10)
    with Witness(write(tmp_path / "mercator.tif", values, crs="EPSG:3857", transform=transform)) as witness:
        assert witness.ask([area]) == pytest.approx([7.0], rel=1e-3)


@pytest.mark.parametrize(
    ("options", "band", "message"),
    [({"crs": None}, 1, "does not say where it lies"), ({}, 2, "has 1 band.*no band 2"),
     ({"transform": Affine(0.1, 0.02, 10, 0.02, -0.1, 50)}, 1, "is rotated")],
)
def test_what_cannot_be_asked_is_refused_by_name(tmp_path, options, band, message):
    path = write(tmp_path / "odd.tif", np.zeros((4, 4), np.uint8), **options)
    with pytest.raises(DatasetInvalid, match=message):
        Witness(path, band)
    (tmp_path / "text.tif").write_text("no raster")
    with pytest.raises(DatasetInvalid, match="cannot be read as a raster"):
        Witness(tmp_path / "text.tif")
    with pytest.raises(DatasetInvalid, match="cannot be read as a raster"):
        Witness(tmp_path / "absent.tif")
