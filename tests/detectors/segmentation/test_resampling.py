"""Imagery beyond what a network was shown is brought to it, and the answer comes back on the chip's own grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from detectors.base import Chip
from detectors.segmentation import Bundle, OpenvinoEngine, segment
from detectors.segmentation.resampling import factor_for, resample, restore


@pytest.fixture(scope="module")
def wide(tiny_bundle) -> Bundle:
    """The tiny bundle, trained at about 0.3 m, allowed from 0.1 to 0.7 m."""
    gsd = tiny_bundle.card.gsd_m
    card = tiny_bundle.card.model_copy(update={"gsd_range_m": (0.1, 0.7), "trained_range_m": (gsd, gsd)})
    return replace(tiny_bundle, card=card)


def town(side: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Bright roofs on dark ground, drawn at `scale` pixels for each of the network's own; and where they are."""
    random = np.random.default_rng(4)
    size = round(side * scale)
    roofs = np.zeros((size, size), bool)
    for left in range(8, side - 40, 48):
        for top in range(8, side - 40, 48):
            edge = [round(v * scale) for v in (top, top + 28, left, left + 28)]
            roofs[edge[0] : edge[1], edge[2] : edge[3]] = True
    image = np.where(roofs, 175, 70)[..., None] + random.normal(0, 8, (size, size, 3))
    return np.clip(image, 0, 255).astype(np.uint8), roofs


def chip_of(pixels: np.ndarray, gsd: float, valid: np.ndarray | None = None) -> Chip:
    height, width = pixels.shape[:2]
    valid = np.ones((height, width), bool) if valid is None else valid
    return Chip(pixels, valid, (0.0, 0.0, width * gsd, height * gsd), None, "drawn")


@pytest.mark.parametrize("scale", [0.45, 1.0, 2.5])
def test_roofs_are_found_at_any_resolution_that_the_card_allows(wide, scale):
    pixels, roofs = town(200, scale)
    answer = segment(chip_of(pixels, wide.card.gsd_m / scale), wide, OpenvinoEngine(wide, precision="f32"))
    assert answer.values.shape == (3, *roofs.shape) and answer.values.dtype == np.float16
    found = wide.footprint_of(answer.values) > 0.5
    assert (found & roofs).sum() / (found | roofs).sum() > 0.75
    np.testing.assert_allclose(answer.values.astype(np.float32).sum(axis=0), 1, atol=5e-3)


def test_within_the_trained_range_nothing_is_resampled(wide):
    low, high = 0.2, 0.3
    card = wide.card.model_copy(update={"trained_range_m": (low, high)})
    assert [factor_for(gsd, card) for gsd in (0.2, 0.25, 0.3, 0.305)] == [1.0] * 4
    assert factor_for(0.1, card) == pytest.approx(0.5) and factor_for(0.6, card) == pytest.approx(2.0)
    assert factor_for(0.5, card.model_copy(update={"trained_range_m": ()})) == 1.0


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("factor", [0.4, 1.7])
def test_missing_pixels_do_not_bleed_into_their_neighbours(factor, dtype):
    pixels = np.full((40, 60, 5), 200, dtype)
    valid = np.ones((40, 60), bool)
    valid[:, 30:] = False
    pixels[~valid] = 9
    seen = resample(chip_of(pixels, 0.25, valid), factor)
    assert seen.pixels.shape == (round(40 * factor), round(60 * factor), 5) and seen.pixels.dtype == dtype
    assert (seen.pixels[seen.valid] == 200).all()
    assert seen.valid.mean() == pytest.approx(0.5, abs=0.03)
    assert seen.frame.gsd == pytest.approx(0.25 / factor, rel=0.03)


def test_invalid_ground_stays_background_after_resampling(wide):
    pixels, _ = town(120, 2.0)
    valid = np.zeros(pixels.shape[:2], bool)
    valid[:, :100] = True
    answer = segment(chip_of(pixels, wide.card.gsd_m / 2, valid), wide, OpenvinoEngine(wide, precision="f32"))
    assert (answer.values[0][~valid] == 1).all() and (answer.values[1:][:, ~valid] == 0).all()


def test_a_single_pixel_survives():
    assert restore(np.ones((2, 1, 1), np.float16), (3, 2)).shape == (2, 3, 2)
    assert resample(chip_of(np.zeros((1, 1, 3), np.uint8), 0.01), 0.1).valid.shape == (1, 1)
