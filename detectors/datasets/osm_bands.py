"""The map drawn as bands of an image, for networks that see pixels and map together.

    building            255 where a mapped outline covers the pixel's centre, else 0
    building_distance   signed distance to the nearest mapped wall, positive inside: 128 + 4 a metre, saturated at
                        0 (32 m or more from any building) and 255 (31.75 m or more inside)

Both hold numbers of 0..255 whatever the type of the imagery's pixels. A map in use is never whole and never exact, so
a share of the buildings is left out, and each of the others is drawn a little beside its place; which, a seed says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import shapely

from detectors.datasets.place import Place
from detectors.datasets.targets import draw_mask
from detectors.errors import DatasetInvalid

OSM_BANDS = ("building", "building_distance")
#: "building_distance": value at a wall, and steps a metre.
WALL, STEPS_PER_METRE = 128, 4
#: Farther from a building than this, "building_distance" says no more; metres.
REACH_M = WALL / STEPS_PER_METRE


def with_osm_bands(place: Place, bands: Sequence[str], omission: float, seed: int, *, jitter_m: float = 0.0) -> Place:
    """The place with its outlines appended to its pixels as bands, as an imperfect map would show them.

    Args:
        bands: names out of OSM_BANDS; appended in this order.
        omission: share of the buildings, 0..1, that the map lacks.
        seed: the same seed leaves out the same buildings.
        jitter_m: standard deviation of each building's shift along both axes, true metres.

    Raises:
        DatasetInvalid: the place has no outlines but a mask, or a band is unknown.
    """
    check_drawable(place, bands)
    mapped = spoil_outlines(place.outlines, omission, jitter_m / place.gsd, np.random.default_rng(seed))
    drawn = draw_osm_bands(mapped, place.valid.shape, place.gsd, bands)
    return replace(place, pixels=np.dstack([place.pixels, drawn.astype(place.pixels.dtype)]))


def check_drawable(place: Place, bands: Sequence[str]) -> None:
    """Raises:
        DatasetInvalid: as `with_osm_bands`.
    """
    if unknown := set(bands) - set(OSM_BANDS):
        raise DatasetInvalid(f"osm_bands: no band {sorted(unknown)[0]!r}; there are {', '.join(OSM_BANDS)}")
    if place.mask is not None:
        raise DatasetInvalid(f"{place.name}: has a mask and no outlines, so no map can be drawn from it; osm_bands "
                             "need data sets with outlines of single buildings")


def spoil_outlines(outlines: np.ndarray, omission: float, jitter_px: float, random: np.random.Generator) -> np.ndarray:
    """Polygons (pixel coordinates) without a share of them, the others shifted; draws equally often for each."""
    kept = random.random(len(outlines)) >= omission
    shifts = random.normal(0, 1, (len(outlines), 2)) * jitter_px
    if not jitter_px:
        return outlines[kept]
    corners, owners = shapely.get_coordinates(outlines, return_index=True)
    return shapely.set_coordinates(outlines.copy(), corners + shifts[owners])[kept]


def draw_osm_bands(outlines: np.ndarray, shape: tuple[int, int], gsd: float, bands: Sequence[str]) -> np.ndarray:
    """uint8 [H, W, B] of mapped outlines (pixel coordinates), which may lie outside of the image.

    Args:
        gsd: true metres a pixel.
    """
    reach = round(REACH_M / gsd) + 1 if "building_distance" in bands else 0
    height, width = shape
    moved = shapely.transform(outlines, lambda points: points + reach)
    inside = draw_mask(moved, (height + 2 * reach, width + 2 * reach))
    centre = (slice(reach, reach + height), slice(reach, reach + width))
    planes = {
        "building": lambda: inside[centre] * np.uint8(255),
        "building_distance": lambda: np.clip(np.rint(WALL + STEPS_PER_METRE * gsd * signed_distance(inside)[centre]),
                                             0, 255).astype(np.uint8),
    }
    return np.dstack([planes[band]() for band in bands])


def signed_distance(inside: np.ndarray) -> np.ndarray:
    """float32 [H, W]: pixels from each centre to the nearest edge of a mask (bool), positive inside of it.

    Exact Euclidean distance to the nearest centre of the other kind, less the half pixel between it and the edge
    (Kervadec et al. 2019, arXiv:1812.07032, take the same, with the opposite sign). As far as the image is large
    where there is no edge in it.
    """
    if inside.all() or not inside.any():
        return np.full(inside.shape, (1 if inside.any() else -1) * max(inside.shape), dtype=np.float32)
    within, beyond = (
        cv2.distanceTransform(part.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for part in (inside, ~inside)
    )
    return np.where(inside, within - 0.5, 0.5 - beyond).astype(np.float32)
