"""Geometry of ways that were drawn badly."""

from __future__ import annotations

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from daemon.osm.elements import NODE, NodeTable, Way
from daemon.osm.geometry import PRECISION, build_ways


def house(*corners: tuple[float, float]) -> BaseGeometry | None:
    """What a building through these points (lon, lat) and back to the first looks like."""
    nodes = np.ones(len(corners), NODE)
    nodes["id"] = np.arange(1, len(corners) + 1)
    nodes["lon"], nodes["lat"] = np.round(np.array(corners).T * PRECISION)
    refs = [*nodes["id"].tolist(), 1]
    (geometry,), _ = build_ways([Way(1, 1, 0, {"building": "yes"}, refs)], NodeTable(nodes))
    return geometry


def test_a_house_that_crosses_itself_is_all_that_it_goes_around() -> None:
    bow = house((8.0, 47.0), (8.0030001, 47.0020001), (8.003, 47.0), (8.0, 47.001))
    assert bow.is_valid and len(bow.geoms) == 2


def test_where_a_house_crosses_itself_is_a_place_that_a_node_could_have() -> None:
    bow = house((8.0, 47.0), (8.0030001, 47.0020001), (8.003, 47.0), (8.0, 47.001))
    places = shapely.get_coordinates(bow)
    assert np.array_equal(places, np.round(places * PRECISION) / PRECISION)


def test_a_spike_of_a_house_has_no_width() -> None:
    spiked = house((8.0203, 47.0281), (8.0003, 47.0081), (8.0223, 47.0301), (8.0303, 47.0181))
    assert spiked.geom_type == "Polygon"
    assert spiked.equals(house((8.0203, 47.0281), (8.0223, 47.0301), (8.0303, 47.0181)))


def test_a_house_without_ground_is_none() -> None:
    assert house((8.0, 47.0), (8.1, 47.1), (8.2, 47.2)) is None
